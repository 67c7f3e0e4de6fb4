/* What the store occupies, and how much of it is of use. */
#ifndef HYBRID_USAGE_H
#define HYBRID_USAGE_H

#include "index.h"

/* Whoever knows the workloads tells which images and layers they use. */
struct usage_view {
    bool (*uses_image)(void *context, const struct index_entry *entry);
    bool (*uses_layer)(void *context, const char *diff_id);
    void *context;
};

struct usage {
    size_t images, active; /* by configuration: however many names they have */
    int64_t bytes;
    int64_t reclaimable; /* what `image prune --all` would bring */
};

/* Measures a store; one that does not exist is empty. Returns 0, or -1 with *err. */
int usage_measure(const char *store_dir, const struct usage_view *view, struct usage *usage,
                  struct error *err);

#endif
