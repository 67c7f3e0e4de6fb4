#include "runtime/image/helper/check_layer.h"

#include <endian.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/helper/tool.h"

#define EROFS_MAGIC 0xe0f5e1e2U
enum {
    EROFS_OFFSET = 1024, /* of the superblock */
    EROFS_FEATURE_CHECKSUM = 1,
    MIN_BLOCK_BITS = 9,
    MAX_BLOCK_BITS = 12, /* a page: the kernel mounts no larger ones */
    BLOCK_BYTES = 4096,  /* layers are laid end to end in such */
};

/* The beginning of struct erofs_super_block, little-endian. */
struct superblock {
    uint32_t magic, checksum, features;
    uint8_t block_bits, extra_slots;
    uint16_t root;
    uint64_t inodes, time;
    uint32_t nanoseconds, blocks;
};
_Static_assert(sizeof(struct superblock) == 40, "as on the disk");

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

/* CRC-32C (Castagnoli), reflected, without the final inversion, as EROFS has it. */
static uint32_t crc32c(uint32_t crc, const unsigned char *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    }
    return crc;
}

/* Of the superblock up to the end of its block, the field itself taken as zero. */
static bool has_checksum(unsigned char *block, size_t length, const struct superblock *super)
{
    memset(block + EROFS_OFFSET + offsetof(struct superblock, checksum), 0, sizeof(uint32_t));
    return crc32c(~0U, block + EROFS_OFFSET, length - EROFS_OFFSET) == le32toh(super->checksum);
}

static int check_superblock(int fd, const struct stat *status, struct error *cause)
{
    unsigned char block[BLOCK_BYTES];
    struct superblock super;
    if (!S_ISREG(status->st_mode) || status->st_size < BLOCK_BYTES ||
        status->st_size % BLOCK_BYTES != 0)
        return unsound(cause, "it is no file of whole blocks");
    if (io_read_all(fd, block, sizeof block) != (ssize_t)sizeof block)
        return unsound_errno(cause, "it cannot be read");
    memcpy(&super, block + EROFS_OFFSET, sizeof super);
    if (le32toh(super.magic) != EROFS_MAGIC || super.block_bits < MIN_BLOCK_BITS ||
        super.block_bits > MAX_BLOCK_BITS)
        return unsound(cause, "it is no EROFS file system");
    size_t block_size = (size_t)1 << super.block_bits;
    size_t end = block_size > EROFS_OFFSET ? block_size : EROFS_OFFSET + block_size;
    if ((le32toh(super.features) & EROFS_FEATURE_CHECKSUM) && !has_checksum(block, end, &super))
        return unsound(cause, "its superblock has a wrong checksum");
    if ((uint64_t)le32toh(super.blocks) << super.block_bits > (uint64_t)status->st_size)
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
