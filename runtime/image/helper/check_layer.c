#include "runtime/image/helper/check_layer.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/helper/erofs_format.h"
#include "runtime/image/helper/tool.h"

enum {
    MIN_BLOCK_BITS = 9,
    MAX_BLOCK_BITS = 12, /* a page: the kernel mounts no larger ones */
};

static int unsound(struct error *cause, const char *why)
{
    (void)error_set(cause, 0, "%s", why);
    return 0;
}

static int unsound_errno(struct error *cause, const char *why)
{
    (void)error_set_errno(cause, 0, errno, "%s", why);
    return 0;
}

/* Of the superblock up to the end of its block, the field itself taken as zero. */
static bool has_checksum(unsigned char *block, size_t length, const struct erofs_super *super)
{
    memset(block + EROFS_SUPER_OFFSET + offsetof(struct erofs_super, checksum), 0,
           sizeof super->checksum);
    return erofs_checksum(block + EROFS_SUPER_OFFSET, length - EROFS_SUPER_OFFSET) ==
           super->checksum;
}

static int check_superblock(int fd, const struct stat *status, struct error *cause)
{
    unsigned char block[EROFS_BLOCK];
    struct erofs_super super;
    if (!S_ISREG(status->st_mode) || status->st_size < EROFS_BLOCK ||
        status->st_size % EROFS_BLOCK != 0)
        return unsound(cause, "it is no file of whole blocks");
    if (io_read_all(fd, block, sizeof block) != (ssize_t)sizeof block)
        return unsound_errno(cause, "it cannot be read");
    memcpy(&super, block + EROFS_SUPER_OFFSET, sizeof super);
    if (super.magic != EROFS_MAGIC || super.block_bits < MIN_BLOCK_BITS ||
        super.block_bits > MAX_BLOCK_BITS)
        return unsound(cause, "it is no EROFS file system");
    size_t block_size = (size_t)1 << super.block_bits;
    size_t end = block_size > EROFS_SUPER_OFFSET ? block_size : EROFS_SUPER_OFFSET + block_size;
    if ((super.compatible & EROFS_COMPAT_CHECKSUM) && !has_checksum(block, end, &super))
        return unsound(cause, "its superblock has a wrong checksum");
    if ((uint64_t)super.blocks << super.block_bits > (uint64_t)status->st_size)
        return unsound(cause, "it is shorter than its superblock says");
    return 1;
}

/* 1: sound, or there is no such program. */
static int check_content(int dir_fd, const char *name, struct error *cause)
{
    static const char program[] = "fsck.erofs";
    const char *const arguments[] = { program, name, NULL };
    const struct tool tool = { .arguments = arguments, .package = "erofs-utils", .dir_fd = dir_fd };
    if (!tool_exists(program))
        return 1;
    int failed = tool_run(&tool, cause);
    return failed < 0 ? -1 : !failed;
}

int check_layer(int dir_fd, const char *name, bool full, struct error *cause)
{
    struct stat status;
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) /* removed since it was listed */
        return 1;
    if (fd < 0 || fstat(fd, &status) < 0)
        return unsound_errno(cause, "it cannot be opened");
    int sound = check_superblock(fd, &status, cause);
    return sound == 1 && full ? check_content(dir_fd, name, cause) : sound;
}
