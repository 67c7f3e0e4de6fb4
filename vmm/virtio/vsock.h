/*
 * virtio socket device (Virtual I/O Device 1.2, section 5.10) without vhost. Only the guest opens
 * connections, and only to ports of the host that were offered, each for one connection. All else
 * is answered with a reset.
 */
#ifndef HYBRID_VMM_VIRTIO_VSOCK_H
#define HYBRID_VMM_VIRTIO_VSOCK_H

#include "vmm/loop.h"
#include "vmm/virtio/mmio.h"
#include "vmm/virtio/stream.h"

#include <linux/virtio_vsock.h>

enum {
    VSOCK_QUEUE_RX, /* to the guest */
    VSOCK_QUEUE_TX, /* from the guest */
    VSOCK_QUEUE_EVENT,
    VSOCK_QUEUES,
    VSOCK_HOST_CID = 2,
    VSOCK_BUCKETS = 64,
    VSOCK_MAX_REFUSALS = 64,  /* resets waiting for a buffer; more make the guest wait */
    VSOCK_BATCH = 64,         /* packets of one data transfer to the guest */
    VSOCK_RECEIVE_BATCH = 64, /* packets from it until others have their turn */
};

/* A reset for a connection that we know nothing else of. */
struct vsock_refusal {
    uint64_t host_cid; /* the address that the guest wanted */
    uint32_t host_port, guest_port;
    uint16_t type;
};

/* A buffer of the guest that waits to be filled with a packet. */
struct vsock_buffer {
    uint16_t head;
    size_t first_part, part_count;
    uint32_t capacity; /* bytes of payload */
};

struct vsock {
    struct virtio_device device;
    struct virtio_vsock_config config;
    struct loop *loop;
    struct loop_source doorbells[VSOCK_QUEUES];
    struct loop_deferred again;
    struct stream *buckets[VSOCK_BUCKETS];
    unsigned stream_count;
    struct stream *ready_head, **ready_tail;
    struct vsock_refusal refusals[VSOCK_MAX_REFUSALS];
    size_t refusal_count;
    bool reset_requested; /* by a vCPU; the loop's thread carries it out */
    /* Called before a port counts as not offered: an offer may have come that nobody read yet. */
    void (*look_for_offers)(void *context);
    void *offers_context;
    /* Of the transfer in progress. */
    struct queue_chain chain;
    struct vsock_buffer buffers[VSOCK_BATCH];
    struct iovec parts[2 * QUEUE_MAX_SIZE];
    struct iovec payload[2 * QUEUE_MAX_SIZE];
};

/* Returns 0, or -1 with err; vsock_destroy is safe in both cases. */
int vsock_create(struct vsock *vsock, const struct guest_memory *memory, struct loop *loop,
                 struct error *err);
void vsock_destroy(struct vsock *vsock);

/*
 * Offers `port` for one connection of the guest, joined to input_fd (its bytes go to the guest) and
 * output_fd (takes the guest's); -1: the direction is closed from the start. Takes over both
 * descriptors, also on failure. Returns 0, or -1 with err: the port is in use, or too many are.
 */
int vsock_offer(struct vsock *vsock, uint32_t port, int input_fd, int output_fd, struct error *err);

/* Forgets an offer that was not taken up. Returns 0, or -1 if there is none. */
int vsock_withdraw(struct vsock *vsock, uint32_t port);

/*
 * The same of one that was taken up, too: the guest is not heard any more, and the descriptors are
 * closed when the reader has what it sent. Returns 0, or -1 if there is none.
 */
int vsock_close(struct vsock *vsock, uint32_t port);

/*
 * After the last guest instruction: takes what the guest still sent. Returns whether bytes of the
 * guest wait for a reader on the host; the loop goes on until that is false.
 */
bool vsock_finish(struct vsock *vsock);

/* The parts of vsock_packet.c that vsock.c calls, with the lock held. */

/* Packets from the guest. Returns 0, 1 if more is waiting, -1 if the driver broke the rules. */
int vsock_receive(struct vsock *vsock);

/* Packets to the guest, as far as it has buffers. Returns likewise. */
int vsock_transmit(struct vsock *vsock);

/* The parts of vsock.c that vsock_packet.c calls, with the lock held. */

/* The offered or connected stream of a port of the host, or NULL. */
struct stream *vsock_find(struct vsock *vsock, uint32_t host_port);

/* Starts the stream: the guest's port is connected to it. */
void vsock_connect(struct stream *stream, uint32_t guest_port);

/* The guest's part of the stream ends; it is freed as soon as its backlog is written out. */
void vsock_detach(struct stream *stream);

/* Puts the stream into the list of those to serve, if it has something for the guest. */
void vsock_schedule(struct stream *stream);

/* The guest will send no more: closes the output once everything is written. */
void vsock_close_output_when_flushed(struct stream *stream);

#endif
