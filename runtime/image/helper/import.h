/* `hybrid-image import`: the tree of an archive or a directory becomes an image of one layer. */
#ifndef HYBRID_IMPORT_H
#define HYBRID_IMPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct import_options {
    const char *path; /* a tar (plain, gzip or zstd), a directory, or "-": standard input */
    const char *name;
    const char *const *changes; /* see change.h */
    size_t change_count;
    const char *message; /* of the history; NULL: where it comes from */
    const char *root;    /* where workloads are, for collect_garbage; NULL: unknown */
    bool quiet;
};

/* Prints "Imported image: REF" (unless quiet). Returns the exit status, or -1 with *err. */
int import_run(const char *store_path, const struct import_options *options, struct error *err);

#endif
