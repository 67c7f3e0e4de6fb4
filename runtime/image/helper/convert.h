/* Converts layers side by side, a process each: as many as there are processors. */
#ifndef HYBRID_CONVERT_H
#define HYBRID_CONVERT_H

#include <sys/types.h>

#include "runtime/image/helper/layer.h"
#include "runtime/image/helper/progress.h"

enum layer_state {
    LAYER_READY,  /* its blob is here */
    LAYER_ABSENT, /* its blob is yet to come */
    LAYER_CONVERTING,
    LAYER_DONE,
};

struct layer_job {
    char diff_id[STORE_DIGEST_HEX + 1];
    struct blob blob;
    enum layer_state state;
    bool keep_blob; /* only the blob is missing: there is nothing to convert */
    bool asked;     /* of the feed */
    pid_t worker;
    int pipe; /* reports of the worker */
};

/* Brings absent blobs while others are converted. */
struct layer_feed {
    int fd; /* readable when `take` has something to do */
    /* Asks for more. Returns 0, or -1 with *err. */
    int (*ask)(void *context, struct layer_job *jobs, size_t count, struct error *err);
    /* Takes what has come; a job whose blob is complete becomes ready, or done. The same. */
    int (*take)(void *context, const struct progress *progress, struct layer_job *jobs,
                size_t count, struct error *err);
    void *context;
};

/*
 * Converts jobs, those that are absent as soon as feed (NULL: none is absent) has brought them.
 * Returns 0 when all are done, or -1 with the first error; no worker is left then.
 */
int convert_layers(const struct staging *staging, struct layer_job *jobs, size_t count,
                   const struct layer_feed *feed, bool quiet, struct error *err);

#endif
