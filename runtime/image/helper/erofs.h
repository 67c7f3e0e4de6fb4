/*
 * Writes a layer as one EROFS file, while its archive is being read: whole blocks of content go to
 * the file as they come. Inodes follow behind all content, since only the end of the archive tells
 * what names what; until then they are in memory, and the tails that will lie beside them (what
 * fills no whole block, so most small files) in a second file, the spool. The same tree and
 * content, given in the same order, make the same file.
 */
#ifndef HYBRID_EROFS_H
#define HYBRID_EROFS_H

#include "error.h"
#include "runtime/image/helper/erofs_format.h"
#include "runtime/image/helper/tree.h"

struct erofs {
    int fd;
    int spool_fd;
    uint64_t blocks;  /* of the file, so far */
    uint64_t spooled; /* bytes of the spool that are in use */
};

/* fd, spool_fd: two empty files, which stay the caller's. */
void erofs_begin(struct erofs *erofs, int fd, int spool_fd);

/*
 * Makes room for the content of a file of inode->size bytes, whose attributes are set already. What
 * is not written stays a hole and reads as zeros. Returns 0, or -1 with errno.
 */
int erofs_reserve(struct erofs *erofs, struct tree_inode *inode);

/* Writes a piece of it; offset + length is within its size. Returns 0, or -1 with errno. */
int erofs_write(const struct erofs *erofs, const struct tree_inode *inode, const void *data,
                size_t length, uint64_t offset);

/*
 * Writes all but the content: inodes, directories and the superblock, of what the root reaches.
 * The file's size becomes a multiple of 4096 bytes. It is not synced. Returns 0, or -1 with errno:
 * EFBIG if the blocks are more than EROFS can count.
 */
int erofs_finish(struct erofs *erofs, struct tree *tree);

#endif
