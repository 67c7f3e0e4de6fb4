/*
 * Split virtqueues as a device sees them (Virtual I/O Device 1.2, section 2.7).
 *
 * The rings lie in memory that a hostile driver changes while we look. Every index and descriptor
 * is therefore loaded once, into a local copy, checked there and never looked at again.
 */
#ifndef HYBRID_VMM_VIRTIO_QUEUE_H
#define HYBRID_VMM_VIRTIO_QUEUE_H

#include "vmm/memory.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { QUEUE_MAX_SIZE = 256 };

struct queue {
    const struct guest_memory *memory;
    /*
     * A power of two, at most QUEUE_MAX_SIZE, which is how many parts a chain that is popped can
     * have. The share's are larger (fs.c): another process pops their chains, nobody does here.
     */
    uint16_t max_size;
    /* As the driver wrote them; frozen while ready. */
    uint32_t size;
    uint64_t descriptor_address, driver_address, device_address;
    bool ready;
    /* Valid while ready: the three areas, each checked to lie in RAM as a whole. */
    struct vring_desc *descriptors;
    struct vring_avail *available;
    struct vring_used *used;
    bool event_index; /* VIRTIO_F_EVENT_IDX was negotiated */
    uint16_t next_available, next_used, interrupted_used;
};

/* One descriptor chain: first what the device may read, then what it may write. */
struct queue_chain {
    uint16_t head;
    size_t readable_count, writable_count;   /* parts */
    uint64_t readable_bytes, writable_bytes; /* sums of them */
    struct iovec parts[QUEUE_MAX_SIZE];
};

/*
 * Checks the registers and makes the queue ready. Returns 0, or -1 if they do not describe a queue
 * in RAM: a size that is 0, no power of two or too large, a misaligned or outlying area.
 */
int queue_activate(struct queue *queue);

/* Back to the state before the driver touched it. */
void queue_reset(struct queue *queue);

/*
 * Takes the next chain the driver made available. Returns 1 with *chain filled, 0 if there is
 * none, -1 if the driver broke the rules of the ring (the device then needs a reset).
 */
int queue_pop(struct queue *queue, struct queue_chain *chain);

/* Puts back the `count` chains popped last, none of which was pushed. */
void queue_unpop(struct queue *queue, uint16_t count);

/* Returns the chain to the driver: `written` bytes of its writable part were filled. */
void queue_push(struct queue *queue, uint16_t head, uint32_t written);

/*
 * Makes all pushed chains visible to the driver. Returns whether it wants an interrupt for them.
 */
bool queue_publish(struct queue *queue);

/*
 * Asks to be notified of the next chain. Returns whether one is available already, in which case
 * the notification may never come.
 */
bool queue_await(struct queue *queue);

/*
 * Copies `length` bytes of the readable part, from `offset` on. Returns 0, or -1 if the chain is
 * shorter than that.
 */
int queue_chain_read(const struct queue_chain *chain, uint64_t offset, void *data, size_t length);

/* Copies into the writable part, from `offset` on. Returns 0, or -1 if the chain is shorter. */
int queue_chain_write(const struct queue_chain *chain, uint64_t offset, const void *data,
                      size_t length);

/* Copies into `count` parts, from `offset` on. Returns 0, or -1 if they are shorter. */
int queue_parts_write(const struct iovec *parts, size_t count, uint64_t offset, const void *data,
                      size_t length);

/*
 * Cuts [offset, offset + length) out of `count` parts into `slice`, which has room for as many.
 * Returns the number of parts cut. The range must lie inside the parts.
 */
size_t queue_slice(const struct iovec *parts, size_t count, uint64_t offset, uint64_t length,
                   struct iovec *slice);

#endif
