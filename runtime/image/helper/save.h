/* `hybrid-image save`: images of the store become an OCI archive, byte for byte as they came. */
#ifndef HYBRID_SAVE_H
#define HYBRID_SAVE_H

#include "error.h"

struct save_options {
    const char *output; /* NULL: standard output */
    const char *root;   /* where workloads are, for collect_garbage; NULL: unknown */
    char *const *names; /* of images; ends with NULL */
};

/*
 * Writes the archive: the same images give the same bytes. A file appears complete or not at all.
 * Returns the exit status, or -1 with *err.
 */
int save_run(const char *store_path, const struct save_options *options, struct error *err);

#endif
