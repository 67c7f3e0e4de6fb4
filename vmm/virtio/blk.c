#include "vmm/virtio/blk.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    BLK_QUEUE_SIZE = 128,
    BLK_BATCH = 8, /* requests until the lock is offered to a resetting driver */
    /* A request is bounded by seg_max times size_max: without, one could move 128 times all of RAM
     * while a vCPU that resets the device, and whoever stops that vCPU, waits. */
    BLK_SEGMENTS = BLK_QUEUE_SIZE - 2, /* besides header and status */
    BLK_SEGMENT_BYTES = 64 * 1024,
    BLK_MAX_BYTES = BLK_SEGMENTS * BLK_SEGMENT_BYTES, /* a little under 8 MiB */
    BLK_BATCH_BYTES = BLK_MAX_BYTES,
    /* Linux reads ahead twice as much, of mapped files too: more takes memory of small guests. */
    BLK_OPTIMAL_BYTES = 256 * 1024,
    BLK_MAX_DISCARD_SECTORS = 0x3fffff, /* a little under 2 GiB in one request */
};

/* One part of a transfer, in one file. */
static ssize_t blk_transfer_segment(const struct blk_segment *segment, const struct iovec *parts,
                                    size_t count, uint64_t offset, bool write)
{
    ssize_t n;
    do
        n = write ? pwritev(segment->fd, parts, (int)count, (off_t)offset)
                  : preadv(segment->fd, parts, (int)count, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n;
}

/* The guest is told by a status that has no room for reasons; the host's users by the loop. */
static void blk_note_failure(struct blk *blk, int cause)
{
    const uint64_t one = 1;
    int none = 0;
    if (atomic_compare_exchange_strong(&blk->failure, &none, cause) && blk->failure_fd >= 0)
        (void)!write(blk->failure_fd, &one, sizeof one);
}

/*
 * Moves `length` bytes between the disk at `offset` and the chain's data, which starts at byte
 * `skip` of its parts. The range lies inside the disk. Returns 0, or -1 on an I/O error.
 */
static int blk_transfer(struct blk *blk, const struct iovec *parts, size_t part_count,
                        uint64_t skip, uint64_t offset, uint64_t length, bool write)
{
    for (size_t i = 0; i < blk->segment_count && length > 0; i++) {
        const struct blk_segment *segment = &blk->segments[i];
        while (length > 0 && offset >= segment->start && offset - segment->start < segment->size) {
            uint64_t inside = offset - segment->start;
            uint64_t here = segment->size - inside;
            if (here > length)
                here = length;
            size_t count = queue_slice(parts, part_count, skip, here, blk->slice);
            ssize_t n = blk_transfer_segment(segment, blk->slice, count, inside, write);
            if (n <= 0) { /* 0: the file was cut short behind our back */
                blk_note_failure(blk, n < 0 ? errno : ENODATA);
                return -1;
            }
            skip += (uint64_t)n;
            offset += (uint64_t)n;
            length -= (uint64_t)n;
        }
    }
    return length == 0 ? 0 : -1;
}

/* Whether [sector, sector + length / 512) lies inside the disk, without any wrap. */
static bool blk_in_range(const struct blk *blk, uint64_t sector, uint64_t length)
{
    return length % BLK_SECTOR == 0 && length <= blk->size &&
           sector <= (blk->size - length) / BLK_SECTOR;
}

static uint8_t blk_read(struct blk *blk, uint64_t sector)
{
    const struct queue_chain *chain = &blk->chain;
    uint64_t length = chain->writable_bytes - 1; /* the last byte is the status */
    if (length > BLK_MAX_BYTES || !blk_in_range(blk, sector, length))
        return VIRTIO_BLK_S_IOERR;
    return blk_transfer(blk, chain->parts + chain->readable_count, chain->writable_count, 0,
                        sector * BLK_SECTOR, length, false) < 0
               ? VIRTIO_BLK_S_IOERR
               : VIRTIO_BLK_S_OK;
}

static uint8_t blk_write(struct blk *blk, uint64_t sector)
{
    const struct queue_chain *chain = &blk->chain;
    uint64_t length = chain->readable_bytes - sizeof(struct virtio_blk_outhdr);
    if (blk->read_only || length > BLK_MAX_BYTES || !blk_in_range(blk, sector, length))
        return VIRTIO_BLK_S_IOERR;
    return blk_transfer(blk, chain->parts, chain->readable_count, sizeof(struct virtio_blk_outhdr),
                        sector * BLK_SECTOR, length, true) < 0
               ? VIRTIO_BLK_S_IOERR
               : VIRTIO_BLK_S_OK;
}

static uint8_t blk_flush(struct blk *blk)
{
    if (blk->read_only || fdatasync(blk->segments[0].fd) == 0)
        return VIRTIO_BLK_S_OK;
    blk_note_failure(blk, errno);
    return VIRTIO_BLK_S_IOERR;
}

/* Discard and write zeroes: one range (max_*_seg is 1), which becomes a hole of the sparse file. */
static uint8_t blk_discard(struct blk *blk, uint32_t type)
{
    const struct queue_chain *chain = &blk->chain;
    struct virtio_blk_discard_write_zeroes range;
    uint64_t header = sizeof(struct virtio_blk_outhdr);
    if (blk->read_only)
        return VIRTIO_BLK_S_UNSUPP;
    if (chain->readable_bytes != header + sizeof range ||
        queue_chain_read(chain, header, &range, sizeof range) < 0)
        return VIRTIO_BLK_S_IOERR;
    uint64_t length = (uint64_t)range.num_sectors * BLK_SECTOR;
    bool zeroes = type == VIRTIO_BLK_T_WRITE_ZEROES;
    if (range.flags & ~(zeroes ? (uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0U))
        return VIRTIO_BLK_S_UNSUPP;
    if (length == 0 || range.num_sectors > BLK_MAX_DISCARD_SECTORS ||
        !blk_in_range(blk, range.sector, length))
        return VIRTIO_BLK_S_IOERR;
    off_t offset = (off_t)(range.sector * BLK_SECTOR);
    int fd = blk->segments[0].fd;
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)length) == 0)
        return VIRTIO_BLK_S_OK;
    /* A file system without holes: discard is advice, write zeroes is not; the guest writes them.
     */
    return zeroes ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_OK;
}

static uint8_t blk_get_id(struct blk *blk)
{
    uint64_t room = blk->chain.writable_bytes - 1;
    if (room < BLK_ID_BYTES)
        return VIRTIO_BLK_S_IOERR;
    return queue_chain_write(&blk->chain, 0, blk->id, BLK_ID_BYTES) < 0 ? VIRTIO_BLK_S_IOERR
                                                                        : VIRTIO_BLK_S_OK;
}

/*
 * The next request into blk->chain, and a copy of its header, which nobody changes any more.
 * Returns 1, 0 if there is none, or -1 if the chain is no request at all.
 */
static int blk_pop(struct blk *blk)
{
    const struct queue_chain *chain = &blk->chain;
    int popped = queue_pop(&blk->device.queues[0], &blk->chain);
    if (popped > 0 && (chain->writable_bytes == 0 ||
                       queue_chain_read(chain, 0, &blk->header, sizeof blk->header) < 0))
        return -1;
    return popped;
}

/*
 * Nanoseconds that the request in blk->chain still has to wait; 0: it is counted, and may go. What
 * moves no data (flush, discard) counts as a write of no bytes, as the host's block layer does.
 */
static uint64_t blk_ask_limiter(const struct blk *blk)
{
    const struct queue_chain *chain = &blk->chain;
    const uint64_t free_sectors = blk->unlimited / BLK_SECTOR;
    bool write = blk->header.type != VIRTIO_BLK_T_IN;
    uint64_t bytes = 0;
    if (!blk->limiter || (blk->read_only && write) || blk->header.type == VIRTIO_BLK_T_GET_ID ||
        (!write && blk->header.sector < free_sectors))
        return 0;
    if (blk->header.type == VIRTIO_BLK_T_IN)
        bytes = chain->writable_bytes - 1;
    else if (blk->header.type == VIRTIO_BLK_T_OUT)
        bytes = chain->readable_bytes - sizeof blk->header;
    if (bytes > BLK_MAX_BYTES)
        return 0; /* is refused anyway */
    return rate_limiter_admit(blk->limiter, write, bytes, rate_clock());
}

/* Serves the request in blk->chain. */
static void blk_serve(struct blk *blk)
{
    const struct queue_chain *chain = &blk->chain;
    const struct virtio_blk_outhdr header = blk->header;
    uint8_t status;
    uint64_t written = 0; /* bytes before the status byte */
    switch (header.type) {
    case VIRTIO_BLK_T_IN:
        status = blk_read(blk, header.sector);
        written = status == VIRTIO_BLK_S_OK ? chain->writable_bytes - 1 : 0;
        break;
    case VIRTIO_BLK_T_OUT:
        status = blk_write(blk, header.sector);
        break;
    case VIRTIO_BLK_T_FLUSH:
        status = blk_flush(blk);
        break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        status = blk_discard(blk, header.type);
        break;
    case VIRTIO_BLK_T_GET_ID:
        status = blk_get_id(blk);
        written = status == VIRTIO_BLK_S_OK ? BLK_ID_BYTES : 0;
        break;
    default:
        status = VIRTIO_BLK_S_UNSUPP;
        break;
    }
    (void)queue_chain_write(chain, chain->writable_bytes - 1, &status, sizeof status);
    queue_push(&blk->device.queues[0], chain->head, (uint32_t)(written + 1));
}

static int blk_process(struct virtio_device *device, unsigned index)
{
    struct blk *blk = (struct blk *)device->context;
    struct queue *queue = &device->queues[index];
    int popped = 0;
    uint64_t bytes = 0;
    device->wait_nanoseconds = 0;
    for (int served = 0; served < BLK_BATCH && bytes < BLK_BATCH_BYTES; served++) {
        popped = blk->held ? 1 : blk_pop(blk);
        if (popped < 0 || (popped == 0 && !queue_await(queue)))
            break;
        if (popped > 0) {
            /* The thread waits outside, without the lock that a resetting driver needs. */
            device->wait_nanoseconds = blk_ask_limiter(blk);
            blk->held = device->wait_nanoseconds > 0;
            if (blk->held)
                break;
            blk_serve(blk);
            bytes += blk->chain.readable_bytes + blk->chain.writable_bytes;
        }
        popped = 1;
    }
    virtio_device_publish(device, queue);
    return popped;
}

/* What waited is the old driver's. The debt stays: a reset is no way around a limit. */
static void blk_reset(struct virtio_device *device)
{
    ((struct blk *)device->context)->held = false;
}

static const struct virtio_device_ops BLK_OPS = {
    .name = "blk",
    .device_id = VIRTIO_ID_BLOCK,
    .queue_count = 1,
    .queue_size = BLK_QUEUE_SIZE,
    .process = blk_process,
    .reset = blk_reset,
};

static int blk_add_segment(struct blk *blk, int fd, uint64_t alignment, struct error *err)
{
    int flags = fcntl(fd, F_GETFL);
    struct stat status;
    if (flags < 0 || fstat(fd, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "disk descriptor %d", fd);
    int mode = flags & O_ACCMODE;
    if (blk->read_only ? mode != O_RDONLY : mode != O_RDWR)
        return error_set(err, EXIT_OURS, "disk descriptor %d must be open %s", fd,
                         blk->read_only ? "for reading only" : "for reading and writing");
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return error_set(err, EXIT_OURS,
                         "disk descriptor %d is neither a regular file nor a block device", fd);
    off_t size = lseek(fd, 0, SEEK_END); /* a block device has no st_size */
    if (size < 0)
        return error_set_errno(err, EXIT_OURS, errno, "size of disk descriptor %d", fd);
    if (size == 0 || (uint64_t)size % alignment != 0)
        return error_set(err, EXIT_OURS,
                         "disk descriptor %d has %lld bytes; a positive multiple of %llu is needed",
                         fd, (long long)size, (unsigned long long)alignment);
    blk->segments[blk->segment_count++] =
        (struct blk_segment){ .fd = fd, .start = blk->size, .size = (uint64_t)size };
    if (__builtin_add_overflow(blk->size, (uint64_t)size, &blk->size) || blk->size > INT64_MAX)
        return error_set(err, EXIT_OURS, "the files of a disk are larger than 8 EiB together");
    return 0;
}

static void blk_describe(struct blk *blk)
{
    struct virtio_device *device = &blk->device;
    blk->config = (struct virtio_blk_config){
        .capacity = blk->size / BLK_SECTOR,
        .size_max = BLK_SEGMENT_BYTES,
        .seg_max = BLK_SEGMENTS,
        .blk_size = BLK_SECTOR,
        .opt_io_size = BLK_OPTIMAL_BYTES / BLK_SECTOR,
        .max_discard_sectors = BLK_MAX_DISCARD_SECTORS,
        .max_discard_seg = 1,
        .discard_sector_alignment = 4096 / BLK_SECTOR,
        .max_write_zeroes_sectors = BLK_MAX_DISCARD_SECTORS,
        .max_write_zeroes_seg = 1,
        .write_zeroes_may_unmap = 1,
    };
    device->config = &blk->config;
    device->config_size = sizeof blk->config;
    device->features = 1ULL << VIRTIO_BLK_F_SIZE_MAX | 1ULL << VIRTIO_BLK_F_SEG_MAX |
                       1ULL << VIRTIO_BLK_F_BLK_SIZE | 1ULL << VIRTIO_BLK_F_FLUSH |
                       1ULL << VIRTIO_BLK_F_TOPOLOGY;
    if (blk->read_only)
        device->features |= 1ULL << VIRTIO_BLK_F_RO;
    else
        device->features |= 1ULL << VIRTIO_BLK_F_DISCARD | 1ULL << VIRTIO_BLK_F_WRITE_ZEROES;
}

int blk_create(struct blk *blk, const struct guest_memory *memory, const int *fds, size_t count,
               uint64_t alignment, bool read_only, const char *id, struct error *err)
{
    *blk = (struct blk){ .read_only = read_only,
                         .failure_fd = -1,
                         .device = { .ops = &BLK_OPS, .context = blk, .interrupt_fd = -1 } };
    memcpy(blk->id, id, strnlen(id, sizeof blk->id)); /* padded with NUL, see 5.2.6 */
    blk->segments = calloc(count, sizeof *blk->segments);
    if (!blk->segments)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < count; i++) {
        if (blk_add_segment(blk, fds[i], alignment, err) < 0)
            return -1;
    }
    blk_describe(blk);
    return virtio_device_create(&blk->device, memory, err);
}

void blk_limit(struct blk *blk, struct rate_limiter *limiter, size_t free_files)
{
    blk->limiter = limiter;
    blk->unlimited = free_files < blk->segment_count ? blk->segments[free_files].start : blk->size;
}

void blk_destroy(struct blk *blk)
{
    virtio_device_destroy(&blk->device);
    free(blk->segments);
    blk->segments = NULL;
}
