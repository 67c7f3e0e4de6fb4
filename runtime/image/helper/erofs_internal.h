/* What the parts of the EROFS writer have in common. */
#ifndef HYBRID_EROFS_INTERNAL_H
#define HYBRID_EROFS_INTERNAL_H

#include "runtime/image/helper/erofs.h"

/* All inodes, and where they lie. */
struct erofs_layout {
    struct tree_inode *first; /* in the order of positions; the root */
    uint64_t inodes;
    uint64_t meta_block;  /* positions count from here */
    uint64_t meta_blocks; /* as many blocks do the inodes take */
};

/* What an inode takes on disk before its inline tail. */
static inline uint64_t erofs_head_size(const struct tree_inode *inode)
{
    return sizeof(struct erofs_inode) +
           (inode->attributes_size > 0
                ? sizeof(struct erofs_attributes_header) + inode->attributes_size
                : 0);
}

/* As much of its content is not in whole blocks. */
static inline uint64_t erofs_tail_size(const struct tree_inode *inode)
{
    return inode->has_inline_tail ? inode->size % EROFS_BLOCK : 0;
}

static inline uint64_t erofs_inode_number(const struct tree_inode *inode)
{
    return inode->position / EROFS_SLOT;
}

/*
 * Gives inode->size bytes of content their blocks, and decides whether its tail is inline.
 * Returns 0, or -1 with errno EFBIG.
 */
int erofs_take_blocks(struct erofs *erofs, struct tree_inode *inode);

/* Writes all of data at a place of a file. Returns 0, or -1 with errno. */
int erofs_write_at(int fd, const void *data, size_t length, uint64_t offset);

/*
 * Counts links, gives directories their blocks and all inodes their positions: those of a directory
 * lie together, in the order in which it lists them. Returns 0, or -1 with errno.
 */
int erofs_lay_out(struct erofs *erofs, struct tree *tree, struct erofs_layout *layout);

/*
 * A directory's content, block by block: calls take for each with its bytes (the last may be
 * shorter). take returns 0, or -1 with errno, which ends it. Returns 0, or -1 with errno.
 */
typedef int erofs_take_directory_block(void *context, const unsigned char *block, size_t size);
int erofs_list_directory(const struct tree_inode *directory, erofs_take_directory_block *take,
                         void *context);

#endif
