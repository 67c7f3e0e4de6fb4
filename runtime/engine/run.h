/* hybrid run --bundle: create, start, wait and delete in one call. */
#ifndef HYBRID_ENGINE_RUN_H
#define HYBRID_ENGINE_RUN_H

#include <stdbool.h>

#include "engine.h"

struct engine_run_options {
    struct engine_create_options create;
    bool detach;       /* return when it has been started */
    bool no_subreaper; /* for callers of runc: we never are one */
    bool keep;         /* do not delete it at its end */
};

/* Returns the exit status of the container (0 if detached), or -1 with *err and nothing left. */
int engine_run(const struct runtime *runtime, const char *id,
               const struct engine_run_options *options, struct error *err);

#endif
