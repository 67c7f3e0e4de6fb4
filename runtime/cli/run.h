/* `hybrid run`, for the verbs that look at a run without running it. */
#ifndef HYBRID_RUN_H
#define HYBRID_RUN_H

#include "run_options.h"

/*
 * Prints what the policy decides about `hybrid run` with these settings and operands (IMAGE
 * [COMMAND...]). Returns 0, an exit status whose cause has been told (a pull failed), or -1 with
 * *err: what `run` would say.
 */
int run_explain(const struct cli *cli, const struct run_settings *settings, char **operands,
                struct error *err);

#endif
