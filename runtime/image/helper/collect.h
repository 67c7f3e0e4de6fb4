/* Removing images, and whatever no image uses any more. */
#ifndef HYBRID_COLLECT_H
#define HYBRID_COLLECT_H

#include <jansson.h>

#include "runtime/image/helper/staging.h"
#include "runtime/image/index.h"

/*
 * Removes blobs and layers that no index entry leads to. Layers that a workload below `root` names
 * in its state.json (NULL: do not look) stay: it can be started again. The store's lock is held.
 * Returns 0, or -1 with *err: then nothing more than unused files has been removed.
 */
int collect_garbage(const struct store *store, const char *root, struct error *err);

/*
 * Removes the image `name`: the reference alone if it is one of several, with an id prefix all of
 * them. force: also if a workload uses it. Prints nothing; what was removed is appended to
 * *removed (malloc'd lines "Untagged: REF"/"Deleted: sha256:ID"). Returns 0, or -1 with *err.
 */
int collect_remove_image(const struct store *store, const char *root, const char *name, bool force,
                         char **removed, struct error *err);

struct workload_visit {
    int (*visit)(const char *id, const json_t *state, void *context, struct error *err);
    void *context;
};

/*
 * Calls visit for the state of each workload below root, until it returns something else than 0.
 * A state that comes, goes or is being written meanwhile uses no image that is removed here: its
 * command resolves the image under its own name and fails or succeeds there.
 */
int collect_visit_workloads(const char *root, const struct workload_visit *visit,
                            struct error *err);

/* Fails if a workload uses the image under this name, or by its id. Returns 0, or -1 with *err. */
int collect_check_users(const char *root, const struct index_entry *entry, struct error *err);

/*
 * Removes an index entry; last: no other leads to its image. Appends to *removed as above. The
 * store's lock is held. Returns 0, or -1 with *err.
 */
int collect_remove_entry(const struct store *store, const struct index_entry *entry, bool last,
                         char **removed, struct error *err);

#endif
