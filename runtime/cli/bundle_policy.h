/* The policy as containers of bundles meet it, which engines create and change. */
#ifndef HYBRID_CLI_BUNDLE_POLICY_H
#define HYBRID_CLI_BUNDLE_POLICY_H

#include "cli.h"

/*
 * Decides about a bundle, records it in the audit file, and writes the floors into its
 * configuration. vm: one is asked for. *decision receives what the state is to keep, a new
 * reference, NULL without a policy. Returns 0, or -1 with *err: refused, or a VM is needed, which
 * a bundle cannot be yet.
 */
int bundle_policy_enforce(const struct cli *cli, const char *id, bool vm, json_t *config,
                          json_t **decision, struct error *err);

/*
 * Decides about a further process in a container, an OCI process object of an engine, and writes
 * the floors into it. config: of the container. Returns 0, or -1 with *err.
 */
int bundle_policy_enforce_process(const struct cli *cli, const json_t *config, json_t *process,
                                  struct error *err);

/* Whether new limits keep the policy's. Returns 0, or -1 with *err. */
int bundle_policy_check_resources(const struct cli *cli, const json_t *resources,
                                  struct error *err);

#endif
