/*
 * EROFS on disk, as far as it is used here: Documentation/filesystems/erofs.rst and
 * fs/erofs/erofs_fs.h of Linux. All numbers are little-endian.
 *
 *   block 0            nothing, and from byte 1024 on the superblock
 *   whole blocks       of files and directories
 *   inodes             from meta_blkaddr on, each at a multiple of 32 bytes: 64 bytes, extended
 *                      attributes, and the tail: what of its content fills no whole block
 */
#ifndef HYBRID_EROFS_FORMAT_H
#define HYBRID_EROFS_FORMAT_H

#include <stddef.h>
#include <stdint.h>

enum {
    EROFS_BLOCK_BITS = 12,
    EROFS_BLOCK = 1 << EROFS_BLOCK_BITS,
    EROFS_SLOT = 32, /* an inode's number is its position divided by this */
    EROFS_SUPER_OFFSET = 1024,
    EROFS_COMPAT_CHECKSUM = 1,
    EROFS_COMPAT_MTIME = 2, /* the one time that inodes have is mtime */
    EROFS_FORMAT_EXTENDED = 1,
    EROFS_LAYOUT_PLAIN = 0 << 1,  /* content in whole blocks */
    EROFS_LAYOUT_INLINE = 2 << 1, /* the tail behind the inode, never across blocks */
};

#define EROFS_MAGIC    0xe0f5e1e2
#define EROFS_NO_BLOCK UINT32_MAX

struct erofs_super {
    uint32_t magic;
    uint32_t checksum; /* CRC-32C from the superblock to the end of its block, with 0 here */
    uint32_t compatible;
    uint8_t block_bits;
    uint8_t extra_slots;
    uint16_t root; /* inode number */
    uint64_t inodes;
    uint64_t build_time;
    uint32_t build_time_nsec;
    uint32_t blocks;
    uint32_t meta_block;
    uint32_t shared_attributes_block;
    uint8_t uuid[16];
    uint8_t name[16];
    uint32_t incompatible;
    uint8_t unused[44];
};
_Static_assert(sizeof(struct erofs_super) == 128, "EROFS: the superblock has 128 bytes");

/* CRC-32C (Castagnoli) as the kernel computes it: bits reversed, and not inverted at the end. */
static inline uint32_t erofs_checksum(const unsigned char *data, size_t size)
{
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        sum ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            sum = (sum >> 1) ^ (sum & 1 ? 0x82f63b78 : 0);
    }
    return sum;
}

struct erofs_inode { /* the extended form: times, and ids of 32 bits */
    uint16_t format;
    uint16_t attribute_count; /* 0, or 1 + the units of 4 bytes behind their header */
    uint16_t mode;
    uint16_t reserved;
    uint64_t size;
    uint32_t block_or_device;
    uint32_t number; /* what a 32-bit stat(2) shows */
    uint32_t uid, gid;
    uint64_t mtime; /* the kernel takes it as signed */
    uint32_t mtime_nsec;
    uint32_t links;
    uint8_t unused[16];
};
_Static_assert(sizeof(struct erofs_inode) == 64, "EROFS: an extended inode has 64 bytes");

struct erofs_attributes_header { /* before an inode's attributes; shared ones are not used here */
    uint32_t name_filter;
    uint8_t shared_count;
    uint8_t reserved[7];
};
_Static_assert(sizeof(struct erofs_attributes_header) == 12, "EROFS: it has 12 bytes");

struct erofs_attribute { /* followed by the rest of the name and the value, padded to 4 bytes */
    uint8_t name_length;
    uint8_t prefix;
    uint16_t value_size;
};
_Static_assert(sizeof(struct erofs_attribute) == 4, "EROFS: an attribute begins with 4 bytes");

/* A block of a directory: these, then the names, in the same order; sorted by bytes. */
struct __attribute__((packed)) erofs_dirent {
    uint64_t inode;
    uint16_t name_offset; /* in the block */
    uint8_t type;
    uint8_t reserved;
};
_Static_assert(sizeof(struct erofs_dirent) == 12, "EROFS: an entry has 12 bytes");

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structures are written as they are");

#endif
