/* `hybrid-image prune`: removes images that nobody needs. */
#ifndef HYBRID_PRUNE_H
#define HYBRID_PRUNE_H

#include <stdint.h>

#include "runtime/image/helper/staging.h"

/*
 * Removes images without a name that no workload uses; all: also those with names. Whatever no
 * image uses goes with them. *removed: malloc'd lines, as of collect_remove_image; *bytes: what the
 * store has become smaller by. Takes the store's lock. Returns 0, or -1 with *err.
 */
int prune_images(const struct store *store, const char *root, bool all, char **removed,
                 int64_t *bytes, struct error *err);

#endif
