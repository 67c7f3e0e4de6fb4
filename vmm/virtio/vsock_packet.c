/* Packets of the vsock device, in both directions. */
#include "vmm/virtio/vsock.h"

#include "include/machine.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_vsock.h>
#include <sys/uio.h>

enum {
    VSOCK_HEADER = sizeof(struct virtio_vsock_hdr),
    VSOCK_TRANSMIT_BATCH = 32,     /* streams served until others have their turn */
    VSOCK_READ_BYTES = 256 * 1024, /* of one stream in one turn */
};

/* --- from the guest --------------------------------------------------------------------------- */

/* Remembers to answer the packet with a reset. Whether there is room was checked before. */
static void vsock_refuse(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    if (le16toh(header->op) == VIRTIO_VSOCK_OP_RST) /* never a reset for a reset */
        return;
    vsock->refusals[vsock->refusal_count++] = (struct vsock_refusal){
        .host_cid = le64toh(header->dst_cid),
        .host_port = le32toh(header->dst_port),
        .guest_port = le32toh(header->src_port),
        .type = le16toh(header->type),
    };
}

static void vsock_receive_request(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    uint32_t port = le32toh(header->dst_port);
    struct stream *stream = vsock_find(vsock, port);
    if (!stream && vsock->look_for_offers) {
        vsock->look_for_offers(vsock->offers_context);
        stream = vsock_find(vsock, port);
    }
    if (!stream || stream->state != STREAM_OFFERED) {
        vsock_refuse(vsock, header);
        return;
    }
    stream->peer_allocated = le32toh(header->buf_alloc);
    stream->peer_forwarded = le32toh(header->fwd_cnt);
    vsock_connect(stream, le32toh(header->src_port));
}

static void vsock_receive_shutdown(struct stream *stream, uint32_t flags)
{
    struct loop *loop = stream->vsock->loop;
    stream->guest_shutdown |= flags & (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
    if (stream->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV)
        stream_close_input(stream, loop);
    vsock_close_output_when_flushed(stream);
    if (stream->guest_shutdown == (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND))
        stream->pending = STREAM_SEND_RESET; /* 5.10.6.5: the answer that ends it cleanly */
}

/* A packet of a connected stream. Returns 0, or -1 if it broke the rules of the connection. */
static int vsock_receive_connected(struct stream *stream, const struct virtio_vsock_hdr *header,
                                   const struct queue_chain *chain)
{
    struct vsock *vsock = stream->vsock;
    stream->peer_allocated = le32toh(header->buf_alloc);
    stream->peer_forwarded = le32toh(header->fwd_cnt);
    uint32_t length = le32toh(header->len);
    switch (le16toh(header->op)) {
    case VIRTIO_VSOCK_OP_RW: {
        if (stream->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND)
            return -1;
        size_t count =
            queue_slice(chain->parts, chain->readable_count, VSOCK_HEADER, length, vsock->payload);
        return stream_deliver(stream, vsock->loop, vsock->payload, count, length);
    }
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        vsock_receive_shutdown(stream, le32toh(header->flags));
        return 0;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        return 0;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        stream->pending |= STREAM_SEND_CREDIT;
        return 0;
    default: /* a second request, a response to nothing, an unknown operation */
        return -1;
    }
}

/* Returns 0, or -1 if the chain is no packet at all. */
static int vsock_receive_packet(struct vsock *vsock, const struct queue_chain *chain)
{
    struct virtio_vsock_hdr header;
    if (chain->writable_count > 0 || queue_chain_read(chain, 0, &header, sizeof header) < 0)
        return -1;
    /* The payload must be there: a length beyond the chain was CVE-2019-18960. */
    if (le32toh(header.len) > chain->readable_bytes - VSOCK_HEADER)
        return -1;
    if (le64toh(header.src_cid) != MACHINE_GUEST_CID) /* no address to answer to */
        return 0;
    if (le64toh(header.dst_cid) != VSOCK_HOST_CID ||
        le16toh(header.type) != VIRTIO_VSOCK_TYPE_STREAM) {
        vsock_refuse(vsock, &header);
        return 0;
    }
    struct stream *stream = vsock_find(vsock, le32toh(header.dst_port));
    bool connected = stream && stream->state == STREAM_CONNECTED &&
                     stream->guest_port == le32toh(header.src_port);
    if (!connected) {
        if (le16toh(header.op) == VIRTIO_VSOCK_OP_REQUEST)
            vsock_receive_request(vsock, &header);
        else
            vsock_refuse(vsock, &header);
        return 0;
    }
    if (le16toh(header.op) == VIRTIO_VSOCK_OP_RST) {
        vsock_detach(stream);
        return 0;
    }
    if (vsock_receive_connected(stream, &header, chain) < 0)
        stream->pending = STREAM_SEND_RESET;
    vsock_schedule(stream);
    return 0;
}

int vsock_receive(struct vsock *vsock)
{
    struct virtio_device *device = &vsock->device;
    struct queue *queue = &device->queues[VSOCK_QUEUE_TX];
    int outcome = 1;
    for (int i = 0; i < VSOCK_RECEIVE_BATCH && outcome == 1; i++) {
        /* 5.10.6.1.2: with no room left for answers the device stops to take packets. */
        if (vsock->refusal_count == VSOCK_MAX_REFUSALS) {
            outcome = 0;
            break;
        }
        outcome = queue_pop(queue, &vsock->chain);
        if (outcome == 1) {
            outcome = vsock_receive_packet(vsock, &vsock->chain) < 0 ? -1 : 1;
            if (outcome > 0)
                queue_push(queue, vsock->chain.head, 0);
        } else if (outcome == 0 && queue_await(queue)) {
            outcome = 1;
        }
    }
    virtio_device_publish(device, queue);
    return outcome;
}

/* --- to the guest ----------------------------------------------------------------------------- */

/*
 * Takes one buffer of the guest's as vsock->buffers[index], its parts from `first_part` on.
 * Returns 1, 0 if there is none (or no room to note it), -1 if the driver broke the rules.
 */
static int vsock_take_buffer(struct vsock *vsock, size_t index, size_t first_part)
{
    struct queue *queue = &vsock->device.queues[VSOCK_QUEUE_RX];
    struct queue_chain *chain = &vsock->chain;
    int popped = queue_pop(queue, chain);
    if (popped == 0 && queue_await(queue))
        popped = queue_pop(queue, chain); /* once more: an index that flickers is no buffer */
    if (popped <= 0)
        return popped;
    if (chain->readable_count > 0 || chain->writable_bytes <= VSOCK_HEADER)
        return -1;
    if (chain->writable_count > sizeof vsock->parts / sizeof vsock->parts[0] - first_part) {
        queue_unpop(queue, 1);
        return 0;
    }
    uint64_t capacity = chain->writable_bytes - VSOCK_HEADER;
    vsock->buffers[index] = (struct vsock_buffer){
        .head = chain->head,
        .first_part = first_part,
        .part_count = chain->writable_count,
        .capacity = capacity < VSOCK_READ_BYTES ? (uint32_t)capacity : VSOCK_READ_BYTES,
    };
    for (size_t i = 0; i < chain->writable_count; i++)
        vsock->parts[first_part + i] = chain->parts[i];
    return 1;
}

/* Completes buffer `index` with a header; `header->len` bytes of payload are in it already. */
static void vsock_put_header(struct vsock *vsock, size_t index,
                             const struct virtio_vsock_hdr *header)
{
    const struct vsock_buffer *buffer = &vsock->buffers[index];
    (void)queue_parts_write(vsock->parts + buffer->first_part, buffer->part_count, 0, header,
                            sizeof *header);
    queue_push(&vsock->device.queues[VSOCK_QUEUE_RX], buffer->head,
               (uint32_t)VSOCK_HEADER + le32toh(header->len));
}

/* A header for the stream's guest; what it says of our credit is what counts from now on. */
static struct virtio_vsock_hdr vsock_stream_header(struct stream *stream, uint16_t op,
                                                   uint32_t flags, uint32_t length)
{
    stream->advertised = stream->forwarded;
    stream->pending &= ~(uint32_t)STREAM_SEND_CREDIT;
    return (struct virtio_vsock_hdr){
        .src_cid = htole64(VSOCK_HOST_CID),
        .dst_cid = htole64(MACHINE_GUEST_CID),
        .src_port = htole32(stream->host_port),
        .dst_port = htole32(stream->guest_port),
        .len = htole32(length),
        .type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
        .op = htole16(op),
        .flags = htole32(flags),
        .buf_alloc = htole32(STREAM_BACKLOG),
        .fwd_cnt = htole32(stream->forwarded),
    };
}

/* Returns as vsock_take_buffer. */
static int vsock_send_refusal(struct vsock *vsock)
{
    int taken = vsock_take_buffer(vsock, 0, 0);
    if (taken <= 0)
        return taken;
    const struct vsock_refusal *refusal = &vsock->refusals[--vsock->refusal_count];
    struct virtio_vsock_hdr header = {
        .src_cid = htole64(refusal->host_cid),
        .dst_cid = htole64(MACHINE_GUEST_CID),
        .src_port = htole32(refusal->host_port),
        .dst_port = htole32(refusal->guest_port),
        .type = htole16(refusal->type),
        .op = htole16(VIRTIO_VSOCK_OP_RST),
    };
    vsock_put_header(vsock, 0, &header);
    return 1;
}

/* Sends the first thing pending of the stream. Returns as vsock_take_buffer. */
static int vsock_send_pending(struct stream *stream)
{
    static const struct {
        uint32_t pending;
        uint16_t op;
    } ORDER[] = {
        { STREAM_SEND_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
        { STREAM_SEND_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
        { STREAM_SEND_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN },
        { STREAM_SEND_RESET, VIRTIO_VSOCK_OP_RST },
    };
    struct vsock *vsock = stream->vsock;
    int taken = vsock_take_buffer(vsock, 0, 0);
    if (taken <= 0)
        return taken;
    size_t i = 0;
    while (!(stream->pending & ORDER[i].pending))
        i++;
    uint32_t flags = ORDER[i].pending == STREAM_SEND_SHUTDOWN ? stream->shutdown_flags : 0;
    struct virtio_vsock_hdr header = vsock_stream_header(stream, ORDER[i].op, flags, 0);
    vsock_put_header(vsock, 0, &header);
    stream->pending &= ~ORDER[i].pending;
    if (ORDER[i].pending == STREAM_SEND_RESET)
        vsock_detach(stream);
    return 1;
}

/* Collects buffers for up to `wanted` bytes. Returns their number, 0 for none, -1 if broken. */
static int vsock_collect_buffers(struct vsock *vsock, uint32_t wanted, size_t *payload_parts,
                                 uint32_t *capacity)
{
    int count = 0;
    size_t parts = 0;
    *capacity = 0;
    *payload_parts = 0;
    while (count < VSOCK_BATCH && *capacity < wanted) {
        int taken = vsock_take_buffer(vsock, (size_t)count, parts);
        if (taken < 0)
            return -1;
        if (taken == 0)
            break;
        struct vsock_buffer *buffer = &vsock->buffers[count++];
        if (buffer->capacity > wanted - *capacity)
            buffer->capacity = wanted - *capacity;
        *payload_parts += queue_slice(vsock->parts + parts, buffer->part_count, VSOCK_HEADER,
                                      buffer->capacity, vsock->payload + *payload_parts);
        parts += buffer->part_count;
        *capacity += buffer->capacity;
    }
    return count;
}

/* The input ended, or failed, which is the same to the guest. */
static void vsock_end_input(struct stream *stream)
{
    stream_close_input(stream, stream->vsock->loop);
    stream->shutdown_flags |= VIRTIO_VSOCK_SHUTDOWN_SEND;
    stream->pending |= STREAM_SEND_SHUTDOWN;
}

/* Reads from the stream's input straight into the guest's buffers. Returns as take_buffer. */
static int vsock_send_data(struct stream *stream)
{
    struct vsock *vsock = stream->vsock;
    uint32_t wanted = stream_credit(stream);
    if (wanted > VSOCK_READ_BYTES)
        wanted = VSOCK_READ_BYTES;
    size_t parts;
    uint32_t capacity;
    int count = vsock_collect_buffers(vsock, wanted, &parts, &capacity);
    if (count <= 0)
        return count;
    ssize_t n;
    do
        n = readv(stream->input.fd, vsock->payload, (int)parts);
    while (n < 0 && errno == EINTR);
    int used = 0;
    for (uint32_t left = n > 0 ? (uint32_t)n : 0; left > 0; used++) {
        uint32_t length =
            vsock->buffers[used].capacity < left ? vsock->buffers[used].capacity : left;
        struct virtio_vsock_hdr header = vsock_stream_header(stream, VIRTIO_VSOCK_OP_RW, 0, length);
        vsock_put_header(vsock, (size_t)used, &header);
        left -= length;
    }
    queue_unpop(&vsock->device.queues[VSOCK_QUEUE_RX], (uint16_t)(count - used));
    if (n > 0) {
        stream->sent += (uint32_t)n;
        /* A blocking descriptor is read again only when epoll says so. */
        if ((uint32_t)n < capacity || !stream->input.non_blocking)
            stream_await_input(stream, vsock->loop);
    } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        stream_await_input(stream, vsock->loop);
    } else {
        vsock_end_input(stream);
    }
    return 1;
}

/* Serves the first stream in line, which goes to its end. Returns as vsock_take_buffer. */
static int vsock_serve_stream(struct vsock *vsock)
{
    struct stream *stream = vsock->ready_head;
    struct stream *next = stream->next_ready;
    bool pending = stream->pending != 0;
    if (!pending && (!stream->input.ready || stream_credit(stream) == 0)) {
        /* Its credit shrank meanwhile: it comes back with the next event. */
        vsock->ready_head = next;
        if (!next)
            vsock->ready_tail = &vsock->ready_head;
        stream->queued_ready = false;
        return 1;
    }
    uint32_t host_port = stream->host_port;
    int served = pending ? vsock_send_pending(stream) : vsock_send_data(stream);
    /* A stream that was reset is gone now. */
    if (served == 1 && vsock->ready_head == stream && vsock_find(vsock, host_port) == stream) {
        vsock->ready_head = next;
        if (!next)
            vsock->ready_tail = &vsock->ready_head;
        stream->queued_ready = false;
        vsock_schedule(stream);
    }
    return served;
}

int vsock_transmit(struct vsock *vsock)
{
    struct virtio_device *device = &vsock->device;
    int outcome = 1;
    for (int i = 0; i < VSOCK_TRANSMIT_BATCH && outcome == 1; i++) {
        if (vsock->refusal_count > 0)
            outcome = vsock_send_refusal(vsock);
        else if (vsock->ready_head)
            outcome = vsock_serve_stream(vsock);
        else
            outcome = 0;
    }
    virtio_device_publish(device, &device->queues[VSOCK_QUEUE_RX]);
    return outcome;
}
