/* What the policy decided, for people: `run --dry-run`, `policy explain`. */
#ifndef HYBRID_CLI_POLICY_PRINT_H
#define HYBRID_CLI_POLICY_PRINT_H

#include "cli.h"
#include "runtime/launch/run_policy.h"

/* The decision and its floors as lines; nothing where there is no policy. */
void policy_print_decision(const struct run_policy *policy, FILE *out);

/* How each rule fared, and the decision. trace: of run_policy_explain; format: of cli_formats. */
void policy_print_explanation(const struct run_policy *policy, const struct run_options *options,
                              const json_t *trace, const char *format, FILE *out);

#endif
