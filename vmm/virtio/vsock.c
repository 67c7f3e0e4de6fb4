#include "vmm/virtio/vsock.h"

#include "error.h"
#include "include/machine.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct stream **vsock_bucket(struct vsock *vsock, uint32_t host_port)
{
    return &vsock->buckets[host_port % VSOCK_BUCKETS];
}

struct stream *vsock_find(struct vsock *vsock, uint32_t host_port)
{
    for (struct stream *stream = *vsock_bucket(vsock, host_port); stream; stream = stream->next) {
        if (stream->host_port == host_port && stream->state != STREAM_DRAINING)
            return stream;
    }
    return NULL;
}

/* Whether there is anything that the guest should get now. */
static bool stream_has_work(const struct stream *stream)
{
    return stream->pending != 0 ||
           (stream->state == STREAM_CONNECTED && stream->input.ready && stream_credit(stream) > 0);
}

void vsock_schedule(struct stream *stream)
{
    struct vsock *vsock = stream->vsock;
    if (stream->queued_ready || stream->state != STREAM_CONNECTED || !stream_has_work(stream))
        return;
    stream->queued_ready = true;
    stream->next_ready = NULL;
    *vsock->ready_tail = stream;
    vsock->ready_tail = &stream->next_ready;
}

static void vsock_unschedule(struct stream *stream)
{
    struct vsock *vsock = stream->vsock;
    struct stream **link = &vsock->ready_head;
    if (!stream->queued_ready)
        return;
    while (*link != stream)
        link = &(*link)->next_ready;
    *link = stream->next_ready;
    if (vsock->ready_tail == &stream->next_ready)
        vsock->ready_tail = link;
    stream->queued_ready = false;
}

static void vsock_free_stream(struct stream *stream)
{
    struct vsock *vsock = stream->vsock;
    struct stream **link = vsock_bucket(vsock, stream->host_port);
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    vsock_unschedule(stream);
    vsock->stream_count--;
    stream_destroy(stream, vsock->loop);
}

void vsock_detach(struct stream *stream)
{
    vsock_unschedule(stream);
    stream_close_input(stream, stream->vsock->loop);
    stream->pending = 0;
    stream->state = STREAM_DRAINING;
    if (stream->backlog_length == 0)
        vsock_free_stream(stream);
}

void vsock_close_output_when_flushed(struct stream *stream)
{
    if (stream->backlog_length == 0 && (stream->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND))
        stream_close_output(stream, stream->vsock->loop);
}

/* Forgets all connections; the offers stay. */
static void vsock_disconnect_all(struct vsock *vsock)
{
    for (size_t i = 0; i < VSOCK_BUCKETS; i++) {
        struct stream *next;
        for (struct stream *stream = vsock->buckets[i]; stream; stream = next) {
            next = stream->next;
            if (stream->state == STREAM_CONNECTED)
                vsock_detach(stream);
        }
    }
    vsock->refusal_count = 0;
}

/* Everything the loop's thread does with the device goes through here. Lock held. */
static void vsock_turn(struct vsock *vsock)
{
    struct virtio_device *device = &vsock->device;
    if (vsock->reset_requested) {
        vsock->reset_requested = false;
        vsock_disconnect_all(vsock);
    }
    if (!virtio_device_live(device) || !device->queues[VSOCK_QUEUE_RX].ready ||
        !device->queues[VSOCK_QUEUE_TX].ready)
        return;
    int received = vsock_receive(vsock);
    bool stopped = vsock->refusal_count == VSOCK_MAX_REFUSALS; /* receives no more for now */
    int transmitted = received < 0 ? -1 : vsock_transmit(vsock);
    bool resumes = stopped && vsock->refusal_count < VSOCK_MAX_REFUSALS;
    if (transmitted < 0)
        virtio_device_break(device);
    else if (received > 0 || transmitted > 0 || resumes)
        loop_defer(vsock->loop, &vsock->again);
}

static void vsock_enter(struct vsock *vsock)
{
    virtio_device_lock(&vsock->device);
}

static void vsock_leave(struct vsock *vsock)
{
    vsock_turn(vsock);
    virtio_device_unlock(&vsock->device);
}

static void vsock_again(void *context)
{
    vsock_enter(context);
    vsock_leave(context);
}

static void vsock_input_ready(void *context, uint32_t events)
{
    struct stream *stream = context;
    struct vsock *vsock = stream->vsock;
    (void)events; /* end of file and errors are seen by reading */
    vsock_enter(vsock);
    stream->input.ready = true;
    vsock_schedule(stream);
    vsock_leave(vsock);
}

static void vsock_output_ready(void *context, uint32_t events)
{
    struct stream *stream = context;
    struct vsock *vsock = stream->vsock;
    vsock_enter(vsock);
    /* A pty without a process on its other side hangs up too, and comes back: only sockets end so.
     */
    if ((events & EPOLLERR) || (stream->output.is_socket && (events & EPOLLHUP)))
        stream_discard_output(stream, vsock->loop);
    else if (stream->backlog_length > 0)
        stream_flush(stream, vsock->loop);
    vsock_close_output_when_flushed(stream);
    if (stream->state == STREAM_DRAINING) {
        if (stream->backlog_length == 0)
            vsock_free_stream(stream);
    } else {
        vsock_schedule(stream);
    }
    vsock_leave(vsock);
}

void vsock_connect(struct stream *stream, uint32_t guest_port)
{
    stream->state = STREAM_CONNECTED;
    stream->guest_port = guest_port;
    stream->pending = STREAM_SEND_RESPONSE;
    stream_watch(stream, stream->vsock->loop, vsock_input_ready, vsock_output_ready);
    if (stream->input.fd < 0)
        stream->shutdown_flags |= VIRTIO_VSOCK_SHUTDOWN_SEND;
    if (stream->output.fd < 0)
        stream->shutdown_flags |= VIRTIO_VSOCK_SHUTDOWN_RCV;
    if (stream->shutdown_flags)
        stream->pending |= STREAM_SEND_SHUTDOWN;
    vsock_schedule(stream);
}

static void vsock_doorbell(void *context, uint32_t events)
{
    struct vsock *vsock = context;
    (void)events;
    vsock_enter(vsock);
    vsock_leave(vsock);
}

/* The doorbells are level-triggered: each is emptied by a callback of its own. */
static void vsock_doorbell_rx(void *context, uint32_t events)
{
    uint64_t count;
    (void)!read(((struct vsock *)context)->device.doorbell_fds[VSOCK_QUEUE_RX], &count,
                sizeof count);
    vsock_doorbell(context, events);
}

static void vsock_doorbell_tx(void *context, uint32_t events)
{
    uint64_t count;
    (void)!read(((struct vsock *)context)->device.doorbell_fds[VSOCK_QUEUE_TX], &count,
                sizeof count);
    vsock_doorbell(context, events);
}

static void vsock_doorbell_event(void *context, uint32_t events)
{
    uint64_t count;
    (void)events; /* we never have an event to tell */
    (void)!read(((struct vsock *)context)->device.doorbell_fds[VSOCK_QUEUE_EVENT], &count,
                sizeof count);
}

/* Called by a vCPU, with the lock held: the streams belong to the loop's thread, which is told. */
static void vsock_reset(struct virtio_device *device)
{
    struct vsock *vsock = device->context;
    uint64_t one = 1;
    vsock->reset_requested = true;
    (void)!write(device->doorbell_fds[VSOCK_QUEUE_TX], &one, sizeof one);
}

static int vsock_process(struct virtio_device *device, unsigned index)
{
    (void)index;
    vsock_turn(device->context);
    return 0;
}

static const struct virtio_device_ops VSOCK_OPS = {
    .name = "vsock",
    .device_id = VIRTIO_ID_VSOCK,
    .queue_count = VSOCK_QUEUES,
    .queue_size = QUEUE_MAX_SIZE,
    .process = vsock_process,
    .reset = vsock_reset,
};

int vsock_create(struct vsock *vsock, const struct guest_memory *memory, struct loop *loop,
                 struct error *err)
{
    static void (*const DOORBELLS[VSOCK_QUEUES])(void *, uint32_t) = {
        [VSOCK_QUEUE_RX] = vsock_doorbell_rx,
        [VSOCK_QUEUE_TX] = vsock_doorbell_tx,
        [VSOCK_QUEUE_EVENT] = vsock_doorbell_event,
    };
    *vsock = (struct vsock){
        .device = { .ops = &VSOCK_OPS, .context = vsock, .interrupt_fd = -1 },
        .config = { .guest_cid = MACHINE_GUEST_CID },
        .loop = loop,
    };
    vsock->device.config = &vsock->config;
    vsock->device.config_size = sizeof vsock->config;
    vsock->ready_tail = &vsock->ready_head;
    vsock->again = (struct loop_deferred){ .run = vsock_again, .context = vsock };
    if (virtio_device_create(&vsock->device, memory, err) < 0)
        return -1;
    for (unsigned i = 0; i < VSOCK_QUEUES; i++) {
        vsock->doorbells[i] = (struct loop_source){ .fd = vsock->device.doorbell_fds[i],
                                                    .ready = DOORBELLS[i],
                                                    .context = vsock };
        if (loop_add(loop, &vsock->doorbells[i], EPOLLIN) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot watch the vsock device");
    }
    return 0;
}

void vsock_destroy(struct vsock *vsock)
{
    for (size_t i = 0; i < VSOCK_BUCKETS; i++) {
        while (vsock->buckets[i])
            vsock_free_stream(vsock->buckets[i]);
    }
    for (unsigned i = 0; i < VSOCK_QUEUES; i++) {
        if (vsock->doorbells[i].ready)
            loop_remove(vsock->loop, &vsock->doorbells[i]);
    }
    virtio_device_destroy(&vsock->device);
}

static int vsock_add_offer(struct vsock *vsock, uint32_t port, int input_fd, int output_fd,
                           struct error *err)
{
    if (vsock->stream_count >= MACHINE_MAX_STREAMS)
        return error_set(err, EXIT_OURS, "port %u: %d streams are in use already", port,
                         MACHINE_MAX_STREAMS);
    if (vsock_find(vsock, port))
        return error_set(err, EXIT_OURS, "port %u is offered or connected already", port);
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return error_set(err, EXIT_OURS, "port %u: out of memory", port);
    stream->vsock = vsock;
    stream->host_port = port;
    stream_endpoint_open(&stream->input, input_fd);
    stream_endpoint_open(&stream->output, output_fd);
    struct stream **bucket = vsock_bucket(vsock, port);
    stream->next = *bucket;
    *bucket = stream;
    vsock->stream_count++;
    return 0;
}

int vsock_offer(struct vsock *vsock, uint32_t port, int input_fd, int output_fd, struct error *err)
{
    int result = vsock_add_offer(vsock, port, input_fd, output_fd, err);
    if (result < 0) {
        if (input_fd >= 0)
            (void)close(input_fd);
        if (output_fd >= 0)
            (void)close(output_fd);
    }
    return result;
}

int vsock_withdraw(struct vsock *vsock, uint32_t port)
{
    struct stream *stream = vsock_find(vsock, port);
    if (!stream || stream->state != STREAM_OFFERED)
        return -1;
    vsock_free_stream(stream);
    return 0;
}

/*
 * The guest waits for the reset that ends the stream, and gives no buffer for it: it goes without
 * the stream. One place is left, since a packet may be on its way (look_for_offers); a guest that
 * takes none of that many is owed no more.
 */
static void vsock_reset_later(const struct stream *stream)
{
    struct vsock *vsock = stream->vsock;
    if (vsock->refusal_count < VSOCK_MAX_REFUSALS - 1)
        vsock->refusals[vsock->refusal_count++] = (struct vsock_refusal){
            .host_cid = VSOCK_HOST_CID,
            .host_port = stream->host_port,
            .guest_port = stream->guest_port,
            .type = VIRTIO_VSOCK_TYPE_STREAM,
        };
}

int vsock_close(struct vsock *vsock, uint32_t port)
{
    struct stream *stream = vsock_find(vsock, port);
    if (!stream)
        return -1;
    if (stream->state == STREAM_OFFERED) {
        vsock_free_stream(stream);
        return 0;
    }
    if (stream->pending & STREAM_SEND_RESET)
        vsock_reset_later(stream);
    vsock_detach(stream); /* whatever else the guest sends is answered with a reset */
    return 0;
}

bool vsock_finish(struct vsock *vsock)
{
    struct virtio_device *device = &vsock->device;
    bool waiting = false;
    vsock_enter(vsock);
    /* What a full queue holds. More comes only from a disk that still reads into its ring. */
    for (int i = 0; i < QUEUE_MAX_SIZE / VSOCK_RECEIVE_BATCH; i++) {
        if (!virtio_device_live(device) || !device->queues[VSOCK_QUEUE_TX].ready ||
            vsock_receive(vsock) <= 0)
            break;
    }
    for (size_t i = 0; i < VSOCK_BUCKETS; i++) {
        struct stream *next;
        for (struct stream *stream = vsock->buckets[i]; stream; stream = next) {
            next = stream->next;
            waiting |= stream->backlog_length > 0;
            vsock_detach(stream);
        }
    }
    virtio_device_unlock(&vsock->device);
    return waiting;
}
