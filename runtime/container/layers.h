/*
 * Mounted layers: each EROFS file once, at <root>/layers/<diff id>, shared by all containers. The
 * users are counted by shared flocks on <root>/layers/<diff id>.lock, which the kernel drops with
 * the process: who finds that nobody else holds one takes the mount away.
 */
#ifndef HYBRID_CONTAINER_LAYERS_H
#define HYBRID_CONTAINER_LAYERS_H

#include <stddef.h>

#include "error.h"

struct layers {
    char **paths; /* mount points, lowest first */
    int *lock_fds;
    size_t count;
    int directory_fd; /* <root>/layers */
};

/*
 * Mounts what is not mounted yet. files: absolute paths of EROFS files, lowest first; ids: their
 * names. Returns 0, or -1 with *err and nothing held.
 */
int layers_acquire(const char *root, const char *const *files, const char *const *ids, size_t count,
                   struct layers *layers, struct error *err);

/* Gives the layers back; the last user unmounts. Safe on a zeroed struct. */
void layers_release(struct layers *layers);

/* Takes away every mount below <root>/layers that nobody uses. */
void layers_reap(const char *root);

#endif
