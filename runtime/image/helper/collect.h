/*
 * Removing whatever no image and no workload uses, by looking at everything: for what a command
 * that did not come to its end has left, and for stores whose links (links.h) do not tell. What
 * comes to its end needs none of this.
 */
#ifndef HYBRID_COLLECT_H
#define HYBRID_COLLECT_H

#include <stdint.h>

#include "runtime/image/helper/staging.h"

/*
 * Removes blobs and layers that no index entry leads to, but layers that a workload below `root`
 * names in its state.json: it can be started again. Then makes the links right; if that fails, the
 * next command goes this way again, and *unlinked (optional) says why (exit code 0: it did not).
 * lock: what store_lock returned. Adds to *bytes what has been freed. Returns 0, or -1 with *err:
 * then nothing more than unused files has been removed; so also where root is NULL, for what
 * workloads use is not known then.
 */
int collect_garbage(const struct store *store, int lock, const char *root, int64_t *bytes,
                    struct error *unlinked, struct error *err);

#endif
