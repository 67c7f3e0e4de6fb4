#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/image/helper/erofs_internal.h"

/*
 * Inodes come in the order of erofs_lay_out(), so each of them starts at most 15 blocks before the
 * newest block: that much is kept in memory, and written when it can no longer change.
 */
enum { KEPT_BLOCKS = 64 };

struct writer {
    const struct erofs *erofs;
    uint64_t start;      /* of the inodes, in bytes */
    uint64_t kept_block; /* the first block in memory, counted from start */
    unsigned char kept[KEPT_BLOCKS * EROFS_BLOCK];
};

static int flush_blocks(struct writer *writer, uint64_t count)
{
    const size_t size = (size_t)count * EROFS_BLOCK;
    if (erofs_write_at(writer->erofs->fd, writer->kept, size,
                       writer->start + writer->kept_block * EROFS_BLOCK) < 0)
        return -1;
    memmove(writer->kept, writer->kept + size, sizeof writer->kept - size);
    memset(writer->kept + sizeof writer->kept - size, 0, size);
    writer->kept_block += count;
    return 0;
}

static int put(struct writer *writer, uint64_t position, const void *data, size_t size)
{
    const char *from = data;
    while (size > 0) {
        while (position / EROFS_BLOCK >= writer->kept_block + KEPT_BLOCKS)
            if (flush_blocks(writer, KEPT_BLOCKS / 2) < 0)
                return -1;
        const uint64_t at = position - writer->kept_block * EROFS_BLOCK;
        const size_t room = sizeof writer->kept - (size_t)at;
        const size_t length = size < room ? size : room;
        memcpy(writer->kept + at, from, length);
        from += length;
        position += length;
        size -= length;
    }
    return 0;
}

static int flush_all(struct writer *writer, uint64_t blocks)
{
    while (blocks > writer->kept_block) {
        const uint64_t left = blocks - writer->kept_block;
        if (flush_blocks(writer, left < KEPT_BLOCKS ? left : KEPT_BLOCKS) < 0)
            return -1;
    }
    return 0;
}

/* --- inodes ---------------------------------------------------------------------------------- */

static int put_head(struct writer *writer, const struct tree_inode *inode)
{
    const bool is_device = S_ISCHR(inode->mode) || S_ISBLK(inode->mode);
    const struct erofs_inode head = {
        .format = (uint16_t)(EROFS_FORMAT_EXTENDED |
                             (inode->has_inline_tail ? EROFS_LAYOUT_INLINE : EROFS_LAYOUT_PLAIN)),
        .attribute_count =
            (uint16_t)(inode->attributes_size > 0 ? 1 + inode->attributes_size / 4 : 0),
        .mode = (uint16_t)inode->mode,
        .size = inode->size,
        .block_or_device = is_device ? inode->device : inode->block,
        .number = (uint32_t)erofs_inode_number(inode),
        .uid = inode->uid,
        .gid = inode->gid,
        .mtime = (uint64_t)inode->mtime,
        .mtime_nsec = inode->mtime_nsec,
        .links = inode->links,
    };
    static const struct erofs_attributes_header header = { 0 };
    const uint64_t behind = inode->position + sizeof head;
    if (put(writer, inode->position, &head, sizeof head) < 0)
        return -1;
    if (inode->attributes_size == 0)
        return 0;
    if (put(writer, behind, &header, sizeof header) < 0)
        return -1;
    return put(writer, behind + sizeof header, inode->attributes, inode->attributes_size);
}

static int put_spooled_tail(struct writer *writer, const struct tree_inode *inode)
{
    char tail[EROFS_BLOCK] = { 0 };
    const size_t size = (size_t)erofs_tail_size(inode);
    size_t got = 0;
    while (got < size) {
        ssize_t length =
            pread(writer->erofs->spool_fd, tail + got, size - got, (off_t)(inode->tail + got));
        if (length < 0 && errno == EINTR)
            continue;
        if (length == 0) /* shorter than what was put there */
            errno = EIO;
        if (length <= 0)
            return -1;
        got += (size_t)length;
    }
    return put(writer, inode->position + erofs_head_size(inode), tail, size);
}

struct directory {
    struct writer *writer;
    const struct tree_inode *inode;
    uint64_t written;
};

static int put_directory_block(void *context, const unsigned char *block, size_t size)
{
    struct directory *directory = context;
    const struct tree_inode *inode = directory->inode;
    const uint64_t at = directory->written;
    directory->written += size;
    if (size < EROFS_BLOCK && inode->has_inline_tail)
        return put(directory->writer, inode->position + erofs_head_size(inode), block, size);
    return erofs_write_at(directory->writer->erofs->fd, block, EROFS_BLOCK,
                          (uint64_t)inode->block * EROFS_BLOCK + at);
}

/* A link's target is at most 4095 bytes; one that is not inline has a block. */
static int put_target(struct writer *writer, const struct tree_inode *inode)
{
    if (inode->has_inline_tail)
        return put(writer, inode->position + erofs_head_size(inode), inode->target, inode->size);
    return erofs_write_at(writer->erofs->fd, inode->target, inode->size,
                          (uint64_t)inode->block * EROFS_BLOCK);
}

static int put_inode(struct writer *writer, const struct tree_inode *inode)
{
    struct directory directory = { writer, inode, 0 };
    if (put_head(writer, inode) < 0)
        return -1;
    switch (inode->mode & S_IFMT) {
    case S_IFDIR:
        return erofs_list_directory(inode, put_directory_block, &directory);
    case S_IFLNK:
        return put_target(writer, inode);
    case S_IFREG:
        return put_spooled_tail(writer, inode);
    default:
        return 0;
    }
}

static int put_inodes(const struct erofs *erofs, const struct erofs_layout *layout)
{
    struct writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return -1;
    writer->erofs = erofs;
    writer->start = layout->meta_block * EROFS_BLOCK;
    int result = 0;
    for (const struct tree_inode *at = layout->first; at && result == 0; at = at->next)
        result = put_inode(writer, at);
    if (result == 0)
        result = flush_all(writer, layout->meta_blocks);
    free(writer);
    return result;
}

/* --- the superblock -------------------------------------------------------------------------- */

static int put_super(const struct erofs *erofs, const struct erofs_layout *layout)
{
    unsigned char block[EROFS_BLOCK] = { 0 };
    unsigned char *at = block + EROFS_SUPER_OFFSET;
    struct erofs_super super = {
        .magic = EROFS_MAGIC,
        .compatible = EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME,
        .block_bits = EROFS_BLOCK_BITS,
        .root = (uint16_t)erofs_inode_number(layout->first),
        .inodes = layout->inodes,
        .blocks = (uint32_t)erofs->blocks,
        .meta_block = (uint32_t)layout->meta_block,
    };
    memcpy(at, &super, sizeof super);
    super.checksum = erofs_checksum(at, sizeof block - EROFS_SUPER_OFFSET);
    memcpy(at, &super, sizeof super);
    return erofs_write_at(erofs->fd, block, sizeof block, 0);
}

int erofs_finish(struct erofs *erofs, struct tree *tree)
{
    struct erofs_layout layout;
    /* Holes at the spool's end were not written: they count, and read as zeros. */
    if (ftruncate(erofs->spool_fd, (off_t)erofs->spooled) < 0)
        return -1;
    if (erofs_lay_out(erofs, tree, &layout) < 0 || put_inodes(erofs, &layout) < 0 ||
        put_super(erofs, &layout) < 0)
        return -1;
    return ftruncate(erofs->fd, (off_t)(erofs->blocks * EROFS_BLOCK));
}
