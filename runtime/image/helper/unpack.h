/*
 * Applies one layer (OCI image-spec 1.1, layer.md) to an empty tree, in the form overlayfs reads: a
 * whiteout is a character device 0:0, an opaque directory has trusted.overlay.opaque=y. The archive
 * is hostile; all that it can reach is the tree.
 */
#ifndef HYBRID_UNPACK_H
#define HYBRID_UNPACK_H

#include <stdint.h>

#include "runtime/image/helper/archive.h"
#include "runtime/image/helper/erofs.h"

enum { UNPACK_MAX_ENTRIES = 2000000 };
#define UNPACK_MAX_BYTES (64LL << 30) /* of file content, holes included */

struct unpack {
    struct tree tree;
    struct erofs erofs;
    uint64_t entries;
    int64_t bytes;
};

/* fd, spool_fd: as of erofs_begin(). Returns 0, or -1 with *err. */
int unpack_begin(struct unpack *unpack, int fd, int spool_fd, struct error *err);

/* Applies one entry; its content is read from archive. Returns 0, or -1 with *err naming it. */
int unpack_entry(struct unpack *unpack, struct archive *archive, struct archive_entry *entry,
                 struct error *err);

/* Writes what is left to write of the layer's file. Returns 0, or -1 with *err. */
int unpack_finish(struct unpack *unpack, struct error *err);
void unpack_free(struct unpack *unpack);

#endif
