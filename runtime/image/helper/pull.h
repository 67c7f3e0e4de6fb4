/* `hybrid-image pull`: an image of a registry becomes one of the store, or nothing changes. */
#ifndef HYBRID_PULL_H
#define HYBRID_PULL_H

#include <stdbool.h>

#include "error.h"

struct pull_options {
    const char *name;
    const char *platform; /* --platform; NULL: this machine's */
    const char *settings; /* path of registries.json */
    const char *root;     /* where workloads are, for collect_garbage; NULL: unknown */
    bool plain_http;
    bool quiet;
    bool missing; /* somebody asked to run it, and it is not here: failures say so */
};

/*
 * Pulls the image and prints "Pulled image: REF" (unless quiet). Gives up privileges, and the
 * network, on the way. Returns the exit status, or -1 with *err.
 */
int pull_run(const char *store_path, const struct pull_options *options, struct error *err);

#endif
