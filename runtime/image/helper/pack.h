/* A directory of the host as a layer archive: the same tree gives the same bytes. */
#ifndef HYBRID_PACK_H
#define HYBRID_PACK_H

#include "runtime/image/helper/blob.h"

/*
 * Packs all that is below path - owners, times, links, extended attributes; other file systems
 * that are mounted there and sockets are left out - into a tar, received into the staging
 * directory. Returns 0, or -1 with *err.
 */
int pack_directory(const struct staging *staging, const char *path, struct blob *blob,
                   struct error *err);

#endif
