/*
 * A driver for virtio-mmio devices that can do everything right, so that the cases can do one thing
 * wrong: registers, rings, disk requests, vsock packets.
 */
#ifndef HOSTILE_DRIVER_H
#define HOSTILE_DRIVER_H

#include "machine.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>

enum {
    LAYERS, /* the read-only disk */
    SCRATCH,
    VSOCK,
    NET,
    DEVICES,         /* that every machine has */
    SHARE = DEVICES, /* the file system, in the tour's machine */
    PLACES,
    QUEUES = 3,
    QUEUE_SIZE = 64,
    STATUS_READY =
        VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK,
    STATUS_RUNNING = STATUS_READY | VIRTIO_CONFIG_S_DRIVER_OK,
    SECTOR = 512,
    HEADER = sizeof(struct virtio_vsock_hdr),
    NET_HEADER = sizeof(struct virtio_net_hdr_v1),
    GUEST_CID = 3,
    HOST_CID = 2,
};

/* The rings of one queue, with room for the largest. */
struct rings {
    struct vring_desc descriptors[256];
    struct {
        uint16_t flags, idx, ring[256 + 1];
    } available;
    struct {
        uint16_t flags, idx;
        struct vring_used_elem ring[256 + 1];
    } used __attribute__((aligned(8)));
} __attribute__((aligned(4096)));

struct queue {
    struct rings *rings;
    uint16_t size, next_used;
};

struct device {
    const char *name;
    uint64_t base;
    unsigned queue_count;
    uint32_t id;
    struct queue queues[QUEUES];
};

extern struct device devices[PLACES];

/* One part of a chain, as the driver wants it: flags besides NEXT, which is added. */
struct part {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
};

uint32_t get(const struct device *device, uint32_t offset);
void set(const struct device *device, uint32_t offset, uint32_t value);

/* Reset, acknowledge, features; then FEATURES_OK. Returns whether the device took them. */
bool negotiate(struct device *device, uint64_t features);
#define PLAIN (1ULL << VIRTIO_F_VERSION_1)

/* The registers of a queue, ready last. */
void set_queue(const struct device *device, unsigned index, uint32_t size, uint64_t descriptors,
               uint64_t available, uint64_t used);

/* Clears our rings of the queue and sets its registers to them. */
void set_own_queue(struct device *device, unsigned index, uint16_t size);

void driver_ok(const struct device *device);

/* Everything in order. Returns whether the device runs. */
bool start(struct device *device);
bool start_with(struct device *device, uint64_t features);

/* Resets the device: done as soon as that returns. */
void reset(struct device *device);

bool needs_reset(const struct device *device);
bool wait_needs_reset(const struct device *device);

void kick(const struct device *device, unsigned queue);

/* Makes a chain of the parts available at descriptor `first`, without a kick. */
void add_chain(struct device *device, unsigned queue, uint16_t first, const struct part *parts,
               size_t count);

/* Waits for the next used element. Returns whether it came; its length is in *length. */
bool wait_used(struct device *device, unsigned queue, uint32_t *length);

/* One disk request with `count` data parts. Returns its status, or -1: no answer. */
int disk_request(struct device *device, uint32_t type, uint64_t sector, const struct part *data,
                 size_t count);
int disk_read(struct device *device, uint64_t sector, void *data, uint32_t length);
int disk_write(struct device *device, uint64_t sector, const void *data, uint32_t length);
uint64_t disk_sectors(const struct device *device);

/* --- vsock: one packet in flight at a time, RX_BUFFERS buffers posted --------------------------
 */

enum { RX_BUFFERS = 32, RX_BYTES = 4096, GUEST_PORT = 4000 };

/* A packet as a good driver makes it. */
struct virtio_vsock_hdr packet(uint16_t op, uint32_t port, uint32_t length);

/* start() and receive buffers. */
bool vsock_start(void);

/* Sends header and `bytes` of payload whatever the header says. Returns whether it was taken. */
bool vsock_send(const struct virtio_vsock_hdr *header, const void *payload, uint32_t bytes);

/* Waits for a packet. Returns its op with *header and payload, 0 if none came. */
int vsock_receive(struct virtio_vsock_hdr *header, void *payload, uint64_t patience);

/* Connects to a port that the host offers soon. Returns whether that worked. */
bool vsock_connect(uint32_t port);

/* Whether bytes sent to a port come back. */
bool vsock_echo(uint32_t port, uint32_t bytes);

/* Brings the network device up and sends a frame until the host has sent it back. Returns NULL, or
 * what failed. */
const char *net_echo(uint8_t mark);

extern uint8_t scratch_memory[1 << 20]; /* for the cases to use, page-aligned */

#endif
