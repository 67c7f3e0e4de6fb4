/*
 * A guest's side for the tests of virtio devices: RAM, a driver that brings a device up through its
 * registers, and rings that can be filled with good and with hostile content.
 */
#ifndef HYBRID_TEST_VMM_GUEST_H
#define HYBRID_TEST_VMM_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/virtio/mmio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

enum {
    GUEST_RAM = 4 << 20,
    GUEST_QUEUES = 0x10000,     /* queue q has its rings at GUEST_QUEUES + q * GUEST_QUEUE_STEP */
    GUEST_QUEUE_STEP = 0x10000, /* descriptors, 0x4000: available, 0x8000: used */
    GUEST_AVAILABLE = 0x4000,
    GUEST_USED = 0x8000,
    GUEST_BUFFERS = 0x100000, /* from here on: data */
};

struct guest {
    struct guest_memory memory;
    struct virtio_device *device;
    uint16_t size;                         /* of each queue */
    uint16_t available[VIRTIO_MAX_QUEUES]; /* next index to make available */
    uint16_t seen_used[VIRTIO_MAX_QUEUES]; /* next used element to look at */
    uint16_t next_free[VIRTIO_MAX_QUEUES]; /* next descriptor to use */
};

static inline void guest_create(struct guest *guest)
{
    struct error err;
    *guest = (struct guest){ .size = 0 };
    assert_int_equal(memory_create(&guest->memory, GUEST_RAM, 0xc0000000, 1ULL << 32, &err), 0);
}

static inline void *guest_at(struct guest *guest, uint64_t address)
{
    return guest->memory.regions[0].host + address;
}

static inline uint32_t guest_get(struct guest *guest, uint32_t offset)
{
    uint32_t value;
    virtio_mmio_read(guest->device, offset, &value, sizeof value);
    return value;
}

static inline void guest_set(struct guest *guest, uint32_t offset, uint32_t value)
{
    virtio_mmio_write(guest->device, offset, &value, sizeof value);
}

static inline struct vring_desc *guest_descriptors(struct guest *guest, unsigned queue)
{
    return guest_at(guest, GUEST_QUEUES + (uint64_t)queue * GUEST_QUEUE_STEP);
}

static inline struct vring_avail *guest_available_ring(struct guest *guest, unsigned queue)
{
    return guest_at(guest, GUEST_QUEUES + (uint64_t)queue * GUEST_QUEUE_STEP + GUEST_AVAILABLE);
}

static inline struct vring_used *guest_used_ring(struct guest *guest, unsigned queue)
{
    return guest_at(guest, GUEST_QUEUES + (uint64_t)queue * GUEST_QUEUE_STEP + GUEST_USED);
}

/* Sets the registers of a queue, ready last. */
static inline void guest_set_queue(struct guest *guest, unsigned queue, uint32_t size,
                                   uint64_t descriptors, uint64_t available, uint64_t used)
{
    guest_set(guest, VIRTIO_MMIO_QUEUE_SEL, queue);
    guest_set(guest, VIRTIO_MMIO_QUEUE_NUM, size);
    guest_set(guest, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)descriptors);
    guest_set(guest, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(descriptors >> 32));
    guest_set(guest, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)available);
    guest_set(guest, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(available >> 32));
    guest_set(guest, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
    guest_set(guest, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(used >> 32));
    guest_set(guest, VIRTIO_MMIO_QUEUE_READY, 1);
}

/* Reset, then up to FEATURES_OK with these features. */
static inline void guest_negotiate(struct guest *guest, uint64_t features)
{
    guest_set(guest, VIRTIO_MMIO_STATUS, 0);
    guest_set(guest, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    guest_set(guest, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    guest_set(guest, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    guest_set(guest, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
    guest_set(guest, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    guest_set(guest, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
    guest_set(guest, VIRTIO_MMIO_STATUS,
              VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
}

static inline void guest_driver_ok(struct guest *guest)
{
    guest_set(guest, VIRTIO_MMIO_STATUS,
              guest_get(guest, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* The whole bring-up with queues of `size` and plain features. */
static inline void guest_start(struct guest *guest, struct virtio_device *device, uint16_t size)
{
    guest->device = device;
    guest->size = size;
    guest_negotiate(guest, 1ULL << VIRTIO_F_VERSION_1);
    for (unsigned i = 0; i < device->ops->queue_count; i++) {
        uint64_t base = GUEST_QUEUES + (uint64_t)i * GUEST_QUEUE_STEP;
        memset(guest_at(guest, base), 0, GUEST_QUEUE_STEP);
        guest->available[i] = guest->seen_used[i] = guest->next_free[i] = 0;
        guest_set_queue(guest, i, size, base, base + GUEST_AVAILABLE, base + GUEST_USED);
    }
    guest_driver_ok(guest);
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_STATUS), 0xf);
}

struct guest_part {
    uint64_t address;
    uint32_t length;
    uint16_t flags; /* VRING_DESC_F_WRITE, or 0 */
};

/* Makes a chain available. Returns its head. */
static inline uint16_t guest_add(struct guest *guest, unsigned queue,
                                 const struct guest_part *parts, size_t count)
{
    struct vring_desc *descriptors = guest_descriptors(guest, queue);
    uint16_t head = guest->next_free[queue];
    for (size_t i = 0; i < count; i++) {
        uint16_t index = guest->next_free[queue];
        uint16_t next = (uint16_t)((index + 1) % guest->size);
        descriptors[index] = (struct vring_desc){
            .addr = parts[i].address,
            .len = parts[i].length,
            .flags = (uint16_t)(parts[i].flags | (i + 1 < count ? VRING_DESC_F_NEXT : 0)),
            .next = next,
        };
        guest->next_free[queue] = next;
    }
    struct vring_avail *ring = guest_available_ring(guest, queue);
    ring->ring[guest->available[queue] % guest->size] = head;
    ring->idx = ++guest->available[queue];
    return head;
}

/* The next chain that the device gave back. Returns whether there is one. */
static inline int guest_take_used(struct guest *guest, unsigned queue, uint32_t *length)
{
    struct vring_used *ring = guest_used_ring(guest, queue);
    if (ring->idx == guest->seen_used[queue])
        return 0;
    *length = ring->ring[guest->seen_used[queue]++ % guest->size].len;
    return 1;
}

static inline int guest_needs_reset(struct guest *guest)
{
    return (guest_get(guest, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

static inline void guest_destroy(struct guest *guest)
{
    memory_destroy(&guest->memory);
}

#endif
