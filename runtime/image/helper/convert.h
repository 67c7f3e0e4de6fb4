/* Converts layers side by side, a process each: as many as there are processors. */
#ifndef HYBRID_CONVERT_H
#define HYBRID_CONVERT_H

#include <sys/types.h>

#include "runtime/image/helper/layer.h"
#include "runtime/image/helper/progress.h"

struct layer_job {
    char diff_id[STORE_DIGEST_HEX + 1];
    struct blob blob;
    pid_t worker; /* 0: not started, -1: done */
    int pipe;     /* reports of the worker */
};

/* Returns 0 when all are converted, or -1 with the first error; no worker is left then. */
int convert_layers(const struct staging *staging, struct layer_job *jobs, size_t count, bool quiet,
                   struct error *err);

#endif
