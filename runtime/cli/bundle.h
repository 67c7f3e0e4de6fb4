/* An OCI bundle: a directory with config.json and a root file system. */
#ifndef HYBRID_CLI_BUNDLE_H
#define HYBRID_CLI_BUNDLE_H

#include "cli.h"
#include "plan.h"

struct bundle {
    char *path;        /* absolute, without symbolic links */
    char *config_text; /* with what the policy has added */
    json_t *decision;  /* of the policy; NULL: there is none */
    struct plan plan;
    uint8_t *filter;
};

/*
 * Loads a bundle for this runtime, and makes it the working directory: its configuration's relative
 * paths begin there. One that asks for an isolation that cannot be had is refused, and one that the
 * policy does not let run. id: of the container, for the audit file. Returns 0, or -1
 * with *err. bundle_free is safe either way.
 */
int bundle_load(const struct cli *cli, const char *id, const char *path, struct bundle *bundle,
                struct error *err);
void bundle_free(struct bundle *bundle);

#endif
