#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "runtime/image/helper/erofs_internal.h"

void erofs_begin(struct erofs *erofs, int fd, int spool_fd)
{
    *erofs = (struct erofs){ .fd = fd, .spool_fd = spool_fd, .blocks = 1 };
}

int erofs_write_at(int fd, const void *data, size_t length, uint64_t offset)
{
    const char *at = data;
    while (length > 0) {
        ssize_t written = pwrite(fd, at, length, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        at += written;
        offset += (uint64_t)written;
        length -= (size_t)written;
    }
    return 0;
}

int erofs_take_blocks(struct erofs *erofs, struct tree_inode *inode)
{
    const uint64_t tail = inode->size % EROFS_BLOCK;
    inode->has_inline_tail = tail > 0 && erofs_head_size(inode) + tail <= EROFS_BLOCK;
    const uint64_t blocks =
        inode->size / EROFS_BLOCK + (tail > 0 && !inode->has_inline_tail ? 1 : 0);
    if (blocks >= EROFS_NO_BLOCK - erofs->blocks) {
        errno = EFBIG;
        return -1;
    }
    inode->block = blocks > 0 ? (uint32_t)erofs->blocks : EROFS_NO_BLOCK;
    erofs->blocks += blocks;
    return 0;
}

int erofs_reserve(struct erofs *erofs, struct tree_inode *inode)
{
    if (erofs_take_blocks(erofs, inode) < 0)
        return -1;
    inode->tail = erofs->spooled;
    erofs->spooled += erofs_tail_size(inode);
    return 0;
}

int erofs_write(const struct erofs *erofs, const struct tree_inode *inode, const void *data,
                size_t length, uint64_t offset)
{
    const uint64_t whole = inode->size - erofs_tail_size(inode);
    const size_t in_blocks =
        offset >= whole ? 0 : (size_t)(whole - offset < length ? whole - offset : length);
    if (in_blocks > 0 && erofs_write_at(erofs->fd, data, in_blocks,
                                        (uint64_t)inode->block * EROFS_BLOCK + offset) < 0)
        return -1;
    if (in_blocks == length)
        return 0;
    return erofs_write_at(erofs->spool_fd, (const char *)data + in_blocks, length - in_blocks,
                          inode->tail + offset + in_blocks - whole);
}
