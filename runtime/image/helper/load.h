/* `hybrid-image load`: an archive or layout becomes images of the store, or nothing changes. */
#ifndef HYBRID_LOAD_H
#define HYBRID_LOAD_H

#include "runtime/image/helper/staging.h"

struct load_options {
    const char *path; /* "-": standard input */
    const char *name; /* --name: instead of the archive's own names; NULL: those */
    const char *root; /* where workloads are, for collect_garbage; NULL: unknown */
    bool quiet;
};

/*
 * Loads all images of options->path and prints "Loaded image: REF" lines. Handles SIGINT, SIGTERM
 * and SIGHUP: the store is then as before. Returns the exit status, or -1 with *err.
 */
int load_run(const char *store_path, const struct load_options *options, struct error *err);

#endif
