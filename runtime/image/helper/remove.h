/* Removing images: `hybrid-image rmi` and `prune`. Costs what is removed: see links.h. */
#ifndef HYBRID_REMOVE_H
#define HYBRID_REMOVE_H

#include <stdint.h>

#include "runtime/image/helper/staging.h"

struct removed {
    char *text;    /* malloc'd lines "Untagged: REF"/"Deleted: sha256:ID"; NULL: none */
    int64_t bytes; /* what the store has become smaller by */
};

/*
 * Removes the image `name`: the reference alone if it is one of several, with an id prefix all of
 * them. force: also if a workload below `root` uses it. Adds to *removed, also on failure. Takes
 * the store's lock. Returns 0, or -1 with *err.
 */
int remove_image(const struct store *store, const char *root, const char *name, bool force,
                 struct removed *removed, struct error *err);

/*
 * Removes images without a name that no workload uses; all: also those with names. With them goes
 * what workloads have used that are gone. The same.
 */
int remove_unused(const struct store *store, const char *root, bool all, struct removed *removed,
                  struct error *err);

#endif
