/*
 * One vsock connection on the host's side: a descriptor to read from, one to write to, the credit
 * of both directions (Virtual I/O Device 1.2, section 5.10.6.3) and a bounded backlog of what the
 * host's reader has not taken yet. Everything here runs on the device loop's thread.
 */
#ifndef HYBRID_VMM_VIRTIO_STREAM_H
#define HYBRID_VMM_VIRTIO_STREAM_H

#include "vmm/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
    STREAM_BACKLOG = 128 * 1024, /* bytes the guest may send ahead; what we advertise */
};

enum stream_state {
    STREAM_OFFERED,   /* waits for the guest's connection */
    STREAM_CONNECTED, /* */
    STREAM_DRAINING,  /* the guest is gone; its last bytes still wait for the host's reader */
};

/* What is to be told to the guest as soon as it has a buffer for it; sent in this order. */
enum stream_pending {
    STREAM_SEND_RESPONSE = 1,
    STREAM_SEND_CREDIT = 2,
    STREAM_SEND_SHUTDOWN = 4,
    STREAM_SEND_RESET = 8,
};

struct stream_endpoint {
    int fd; /* owned; -1: closed */
    struct loop_source source;
    bool watched;      /* added to the loop; not so what epoll refuses because it is always ready */
    bool is_socket;    /* half-close by shutdown(2) */
    bool non_blocking; /* O_NONBLOCK was set on it when it came; we never change that */
    bool ready;        /* input: a read will not block */
};

struct vsock;

struct stream {
    struct vsock *vsock;
    struct stream *next;       /* in its hash bucket */
    struct stream *next_ready; /* in the list of those with something to send */
    bool queued_ready;
    enum stream_state state;
    uint32_t host_port, guest_port;
    struct stream_endpoint input, output;
    uint32_t pending;        /* enum stream_pending */
    uint32_t shutdown_flags; /* VIRTIO_VSOCK_SHUTDOWN_*: what we told the guest, or will */
    uint32_t guest_shutdown; /* what the guest told us */
    /* host to guest */
    uint32_t peer_allocated, peer_forwarded, sent;
    /* guest to host */
    uint32_t received, forwarded, advertised;
    char *backlog; /* a ring of STREAM_BACKLOG bytes, mapped while it holds something */
    uint32_t backlog_start, backlog_length;
};

/* Takes over a descriptor (-1: the direction is absent). */
void stream_endpoint_open(struct stream_endpoint *endpoint, int fd);

/*
 * Starts to watch a connected stream's descriptors with these callbacks (context: the stream).
 * Closes what cannot be watched.
 */
void stream_watch(struct stream *stream, struct loop *loop, void (*input_ready)(void *, uint32_t),
                  void (*output_ready)(void *, uint32_t));

/* Closes one direction; a socket is shut down first, so that its other end learns of it. */
void stream_close_input(struct stream *stream, struct loop *loop);
void stream_close_output(struct stream *stream, struct loop *loop);

/* Asks the loop to tell when the input can be read again. */
void stream_await_input(struct stream *stream, struct loop *loop);

/* Bytes that may be sent to the guest now. A guest that lies about its counters gets none. */
uint32_t stream_credit(const struct stream *stream);

/*
 * Takes `length` bytes from the guest: writes what the output takes without blocking, keeps the
 * rest. Returns 0, or -1 if the guest sent more than its credit.
 */
int stream_deliver(struct stream *stream, struct loop *loop, const struct iovec *parts,
                   size_t count, uint32_t length);

/* The output is writable: writes out backlog. */
void stream_flush(struct stream *stream, struct loop *loop);

/* The output failed, or nobody wants the guest's bytes: they are thrown away from now on. */
void stream_discard_output(struct stream *stream, struct loop *loop);

/* Closes what is open and frees the stream. */
void stream_destroy(struct stream *stream, struct loop *loop);

#endif
