/*
 * virtio block device (Virtual I/O Device 1.2, section 5.2) over one or more files laid end to end.
 * It runs on a worker thread of its own, which may wait for the disk.
 */
#ifndef HYBRID_VMM_VIRTIO_BLK_H
#define HYBRID_VMM_VIRTIO_BLK_H

#include "vmm/virtio/mmio.h"
#include "vmm/virtio/rate.h"

#include <linux/virtio_blk.h>

enum { BLK_SECTOR = 512, BLK_ID_BYTES = VIRTIO_BLK_ID_BYTES };

struct blk_segment {
    int fd;         /* the caller's */
    uint64_t start; /* byte of the disk at which this file begins */
    uint64_t size;  /* bytes */
};

struct blk {
    struct virtio_device device;  /* first: the ops find the rest from it */
    struct blk_segment *segments; /* owned */
    size_t segment_count;
    uint64_t size; /* bytes */
    bool read_only;
    char id[BLK_ID_BYTES];
    struct virtio_blk_config config;
    atomic_int failure;           /* errno of the first I/O that the host's file refused; 0: none */
    int failure_fd;               /* eventfd that is written then; -1: none. The caller's */
    struct rate_limiter *limiter; /* the machine's; NULL: no limit */
    uint64_t unlimited;           /* bytes at the disk's start whose reading is not counted */
    struct queue_chain chain;     /* of the request in progress */
    struct virtio_blk_outhdr header;    /* its own copy */
    bool held;                          /* it waits for the limiter */
    struct iovec slice[QUEUE_MAX_SIZE]; /* the part of it that one file serves */
};

/*
 * Makes a disk of `count` files. Each is a regular file or a block device of a multiple of
 * `alignment` bytes; writable disks consist of one file that is open for writing, the files of a
 * read-only disk must not be. id: at most BLK_ID_BYTES characters, what the guest sees as serial.
 * Returns 0, or -1 with err; blk_destroy is safe in both cases. The descriptors stay the caller's.
 */
int blk_create(struct blk *blk, const struct guest_memory *memory, const int *fds, size_t count,
               uint64_t alignment, bool read_only, const char *id, struct error *err);
void blk_destroy(struct blk *blk);

/*
 * Limits the disk from now on. limiter: shared with the machine's other disks; must outlive this
 * one. free_files: so many of its first files are not counted.
 */
void blk_limit(struct blk *blk, struct rate_limiter *limiter, size_t free_files);

#endif
