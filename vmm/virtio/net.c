#include "vmm/virtio/net.h"

#include "error.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    NET_MAX_FRAME = 65535 + NET_FRAME_EXTRA, /* also one that is to be cut into segments */
    NET_LEAST_HEADERS = 20 + 20,             /* of IPv4 and TCP in a segment */
    NET_SEGMENT_HEADERS = ETH_HLEN + NET_LEAST_HEADERS,
};

/* What the driver may leave to us, and we to it. The kernel that takes the frame does the work. */
#define NET_SEGMENTS_OUT (1ULL << VIRTIO_NET_F_HOST_TSO4 | 1ULL << VIRTIO_NET_F_HOST_TSO6)
#define NET_FEATURES                                                                               \
    (1ULL << VIRTIO_NET_F_MAC | 1ULL << VIRTIO_NET_F_MTU | 1ULL << VIRTIO_NET_F_CSUM |             \
     NET_SEGMENTS_OUT | 1ULL << VIRTIO_NET_F_GUEST_CSUM | 1ULL << VIRTIO_NET_F_GUEST_TSO4 |        \
     1ULL << VIRTIO_NET_F_GUEST_TSO6)

static bool net_negotiated(const struct net *net, unsigned feature)
{
    return (net->device.driver_features & 1ULL << feature) != 0;
}

/* Which feature lets a frame have this gso_type: TCP's, without ECN, which was never offered. */
static bool net_segments_allowed(const struct net *net, uint8_t type, unsigned tcp4, unsigned tcp6)
{
    switch (type) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return true;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        return net_negotiated(net, tcp4);
    case VIRTIO_NET_HDR_GSO_TCPV6:
        return net_negotiated(net, tcp6);
    default:
        return false;
    }
}

/* --- limits -------------------------------------------------------------------------------------
 */

/* Whether the limiter lets no frame of this direction pass now. If so, a later turn is awaited. */
static bool net_must_wait(struct net *net, bool out)
{
    uint64_t wait = net->limited ? rate_limiter_wait(&net->limiter, out, rate_clock()) : 0;
    if (wait > 0 && (net->wait == 0 || wait < net->wait))
        net->wait = wait;
    return wait > 0;
}

/*
 * Counts a frame that has passed, as what it is on a wire: one that is still to be cut into
 * segments is as many packets, each with headers of its own.
 */
static void net_count(struct net *net, bool out, const struct virtio_net_hdr_v1 *header,
                      uint64_t frame)
{
    uint64_t packets = 1;
    if (!net->limited)
        return;
    if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE && header->gso_size > 0 &&
        frame > NET_SEGMENT_HEADERS)
        packets = (frame - NET_SEGMENT_HEADERS + header->gso_size - 1) / header->gso_size;
    rate_limiter_take(&net->limiter, out, frame + (packets - 1) * NET_SEGMENT_HEADERS, packets,
                      rate_clock());
}

/* --- from the guest ------------------------------------------------------------------------------
 */

/* A frame's head as it was read, once: nothing of it is looked at in guest memory again. */
struct net_head {
    struct virtio_net_hdr_v1 virtio;
    struct ethhdr ethernet;
};
_Static_assert(sizeof(struct net_head) == NET_HEADER + ETH_HLEN, "as in the ring");

/*
 * Whether the driver kept to what was negotiated. What it may ask the host's kernel for is to
 * complete a checksum inside of the frame, and to cut TCP into segments of at least a byte.
 */
static bool net_header_valid(const struct net *net, const struct virtio_net_hdr_v1 *header,
                             uint64_t frame)
{
    bool checksum = header->flags == VIRTIO_NET_HDR_F_NEEDS_CSUM;
    if (header->flags != 0 && !(checksum && net_negotiated(net, VIRTIO_NET_F_CSUM)))
        return false;
    if (checksum && (header->csum_start < ETH_HLEN ||
                     (uint64_t)header->csum_start + header->csum_offset + 2 > frame))
        return false;
    if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE)
        return true;
    return checksum && header->gso_size > 0 && header->hdr_len <= frame &&
           net_segments_allowed(net, header->gso_type, VIRTIO_NET_F_HOST_TSO4,
                                VIRTIO_NET_F_HOST_TSO6);
}

/* Whether the interface would have sent it: of its MTU, and its own if that is asked for. */
static bool net_frame_allowed(const struct net *net, const struct net_head *head, uint64_t frame)
{
    uint64_t payload = head->virtio.gso_type == VIRTIO_NET_HDR_GSO_NONE
                           ? (frame > NET_FRAME_EXTRA ? frame - NET_FRAME_EXTRA : 0)
                           : (uint64_t)head->virtio.gso_size + NET_LEAST_HEADERS;
    if (payload > net->options.mtu)
        return false;
    return !net->options.own_source_only ||
           memcmp(head->ethernet.h_source, net->options.mac, ETH_ALEN) == 0;
}

/* Hands the frame to the tap: its head from our copy. Returns false if the tap is full. */
static bool net_send(struct net *net, struct net_head *head)
{
    const struct queue_chain *chain = &net->chain;
    head->virtio.num_buffers = 0;
    if (head->virtio.gso_type == VIRTIO_NET_HDR_GSO_NONE)
        head->virtio.hdr_len = head->virtio.gso_size = 0; /* mean nothing then: not the guest's */
    net->parts[0] = (struct iovec){ .iov_base = head, .iov_len = sizeof *head };
    size_t count = 1 + queue_slice(chain->parts, chain->readable_count, sizeof *head,
                                   chain->readable_bytes - sizeof *head, net->parts + 1);
    ssize_t n;
    do
        n = writev(net->options.fd, net->parts, (int)count);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n < 0) /* what the host's kernel does not take is lost, as on any network */
        net->discarded++;
    net_count(net, true, &head->virtio, chain->readable_bytes - NET_HEADER);
    return true;
}

/* Serves net->chain. Returns 1, 0 if it must wait, or -1 if the driver broke the rules. */
static int net_transmit_frame(struct net *net)
{
    const struct queue_chain *chain = &net->chain;
    struct net_head head;
    if (chain->writable_count > 0 || chain->readable_bytes > NET_HEADER + NET_MAX_FRAME ||
        queue_chain_read(chain, 0, &head, sizeof head) < 0)
        return -1;
    uint64_t frame = chain->readable_bytes - NET_HEADER;
    if (!net_header_valid(net, &head.virtio, frame))
        return -1;
    if (net->gone || !net_frame_allowed(net, &head, frame))
        net->discarded++;
    else if (!net_send(net, &head))
        return 0;
    return 1;
}

/* Returns 0, 1 if more is waiting, or -1. */
static int net_transmit(struct net *net)
{
    struct queue *queue = &net->device.queues[NET_QUEUE_TX];
    int outcome = 0;
    uint64_t bytes = 0;
    for (int served = 0; served < NET_BATCH && bytes < NET_BATCH_BYTES; served++) {
        if (net_must_wait(net, true)) {
            outcome = 0;
            break;
        }
        outcome = queue_pop(queue, &net->chain);
        if (outcome == 0 && !queue_await(queue))
            break;
        if (outcome == 0) {
            outcome = 1; /* it came between the two looks */
            continue;
        }
        outcome = outcome < 0 ? -1 : net_transmit_frame(net);
        if (outcome < 0)
            break;
        if (outcome == 0) {
            queue_unpop(queue, 1);
            net->host_full = true;
            break;
        }
        queue_push(queue, net->chain.head, 0);
        bytes += net->chain.readable_bytes;
    }
    virtio_device_publish(&net->device, queue);
    return outcome;
}

/* --- to the guest --------------------------------------------------------------------------------
 */

/* Whether the driver wants frames like this one. (The tap is set to what Linux takes.) */
static bool net_frame_wanted(const struct net *net, const struct virtio_net_hdr_v1 *header)
{
    if ((header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) &&
        !net_negotiated(net, VIRTIO_NET_F_GUEST_CSUM))
        return false;
    return net_segments_allowed(net, header->gso_type, VIRTIO_NET_F_GUEST_TSO4,
                                VIRTIO_NET_F_GUEST_TSO6);
}

/*
 * Reads one frame straight into the buffer of net->chain. Returns as readv, header included: more
 * than the buffer has if the frame does not fit.
 */
static ssize_t net_read(struct net *net, struct virtio_net_hdr_v1 *header)
{
    const struct queue_chain *chain = &net->chain;
    uint8_t spill; /* a tap cuts off what has no room, and does not say so */
    ssize_t n;
    net->parts[0] = (struct iovec){ .iov_base = header, .iov_len = NET_HEADER };
    size_t count = 1 + queue_slice(chain->parts, chain->writable_count, NET_HEADER,
                                   chain->writable_bytes - NET_HEADER, net->parts + 1);
    net->parts[count++] = (struct iovec){ .iov_base = &spill, .iov_len = sizeof spill };
    do
        n = readv(net->options.fd, net->parts, (int)count);
    while (n < 0 && errno == EINTR);
    return n;
}

/*
 * Fills net->chain. Returns 1, 0 if there is no frame, or -1 if the driver broke the rules. The
 * chain is the guest's again, or unpopped.
 */
static int net_receive_frame(struct net *net, uint64_t *bytes)
{
    struct queue *queue = &net->device.queues[NET_QUEUE_RX];
    struct virtio_net_hdr_v1 header = { 0 };
    if (net->chain.readable_count > 0 || net->chain.writable_bytes < sizeof(struct net_head))
        return -1;
    ssize_t n = net_read(net, &header);
    if (n < NET_HEADER) {
        queue_unpop(queue, 1);
        net->gone |= n >= 0 || errno != EAGAIN;
        return 0;
    }
    *bytes += (uint64_t)n;
    net_count(net, false, &header, (uint64_t)n - NET_HEADER);
    if (!net_frame_wanted(net, &header)) {
        queue_unpop(queue, 1);
        net->discarded++;
        return 1;
    }
    if ((uint64_t)n > net->chain.writable_bytes) /* 5.1.6.3.1: the buffer is too small */
        return -1;
    header.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;
    if (!net_negotiated(net, VIRTIO_NET_F_GUEST_CSUM))
        header.flags = 0;
    header.num_buffers = 1;
    (void)queue_chain_write(&net->chain, 0, &header, sizeof header);
    queue_push(queue, net->chain.head, (uint32_t)n);
    return 1;
}

/* Returns 0, 1 if more may be waiting, or -1. */
static int net_receive(struct net *net)
{
    struct queue *queue = &net->device.queues[NET_QUEUE_RX];
    int outcome = 0;
    uint64_t bytes = 0;
    net->guest_full = net->held_back = false;
    for (int served = 0; served < NET_BATCH && bytes < NET_BATCH_BYTES && !net->gone; served++) {
        if (net_must_wait(net, false)) {
            net->held_back = true;
            outcome = 0;
            break;
        }
        outcome = queue_pop(queue, &net->chain);
        if (outcome == 0 && !queue_await(queue)) {
            net->guest_full = true;
            break;
        }
        if (outcome == 0) {
            outcome = 1; /* it came between the two looks */
            continue;
        }
        outcome = outcome < 0 ? -1 : net_receive_frame(net, &bytes);
        if (outcome <= 0)
            break;
    }
    virtio_device_publish(&net->device, queue);
    return outcome;
}

/* --- turns --------------------------------------------------------------------------------------
 */

/* The tap is watched only for what somebody waits for: its events are level-triggered. */
static void net_watch(struct net *net, bool live)
{
    uint32_t wanted = live && !net->guest_full && !net->held_back ? (uint32_t)EPOLLIN : 0;
    if (live && net->host_full)
        wanted |= (uint32_t)EPOLLOUT;
    if (net->gone)
        wanted = 0;
    if (wanted == net->watched)
        return;
    int failed = 0;
    if (wanted == 0)
        loop_remove(net->loop, &net->tap); /* an error of a tap that is gone would come for ever */
    else if (net->watched == 0)
        failed = loop_add(net->loop, &net->tap, wanted);
    else
        failed = loop_modify(net->loop, &net->tap, wanted);
    if (failed < 0) { /* the host is out of memory: as if the tap had been taken away */
        net->gone = true;
        loop_remove(net->loop, &net->tap);
        wanted = 0;
    }
    net->watched = wanted;
}

/* Everything the loop's thread does with the device goes through here. Lock held. */
static void net_turn(struct net *net)
{
    struct virtio_device *device = &net->device;
    bool live = virtio_device_live(device) && device->queues[NET_QUEUE_RX].ready &&
                device->queues[NET_QUEUE_TX].ready;
    net->wait = 0;
    int sent = live && !net->host_full ? net_transmit(net) : 0;
    int received = live && sent >= 0 ? net_receive(net) : 0;
    if (sent < 0 || received < 0) {
        virtio_device_break(device);
        live = false;
    } else if (sent > 0 || received > 0) {
        loop_defer(net->loop, &net->again);
    } else if (net->wait > 0) {
        loop_delay(net->loop, &net->again, net->wait);
    }
    net_watch(net, live);
}

static void net_enter_turn(struct net *net)
{
    virtio_device_lock(&net->device);
    net_turn(net);
    virtio_device_unlock(&net->device);
}

static void net_again(void *context)
{
    net_enter_turn(context);
}

static void net_tap_ready(void *context, uint32_t events)
{
    struct net *net = context;
    if (events & (EPOLLERR | EPOLLHUP))
        net->gone = true;
    if (events & EPOLLOUT)
        net->host_full = false;
    net_enter_turn(net);
}

static void net_empty_doorbell(struct net *net, unsigned queue)
{
    uint64_t count;
    (void)!read(net->device.doorbell_fds[queue], &count, sizeof count);
    net_enter_turn(net);
}

static void net_doorbell_rx(void *context, uint32_t events)
{
    (void)events;
    net_empty_doorbell(context, NET_QUEUE_RX);
}

static void net_doorbell_tx(void *context, uint32_t events)
{
    (void)events;
    net_empty_doorbell(context, NET_QUEUE_TX);
}

/* Called by a vCPU, with the lock held: the tap is the loop's to watch, which is told. */
static void net_tell_loop(struct virtio_device *device)
{
    uint64_t one = 1;
    (void)!write(device->doorbell_fds[NET_QUEUE_RX], &one, sizeof one);
}

static int net_process(struct virtio_device *device, unsigned index)
{
    (void)index;
    net_turn(device->context);
    return 0;
}

static const struct virtio_device_ops NET_OPS = {
    .name = "net",
    .device_id = VIRTIO_ID_NET,
    .queue_count = NET_QUEUES,
    .queue_size = QUEUE_MAX_SIZE,
    .activate = net_tell_loop,
    .process = net_process,
    .reset = net_tell_loop,
};

static int net_watch_doorbells(struct net *net, struct error *err)
{
    static void (*const DOORBELLS[NET_QUEUES])(void *, uint32_t) = {
        [NET_QUEUE_RX] = net_doorbell_rx,
        [NET_QUEUE_TX] = net_doorbell_tx,
    };
    for (unsigned i = 0; i < NET_QUEUES; i++) {
        net->doorbells[i] = (struct loop_source){ .fd = net->device.doorbell_fds[i],
                                                  .ready = DOORBELLS[i],
                                                  .context = net };
        if (loop_add(net->loop, &net->doorbells[i], EPOLLIN) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot watch the network device");
    }
    return 0;
}

int net_create(struct net *net, const struct guest_memory *memory, struct loop *loop,
               const struct net_options *options, struct error *err)
{
    *net = (struct net){
        .device = { .ops = &NET_OPS, .interrupt_fd = -1, .features = NET_FEATURES },
        .config = { .mtu = (uint16_t)options->mtu },
        .options = *options,
        .loop = loop,
    };
    memcpy(net->config.mac, options->mac, sizeof net->config.mac);
    net->device.context = net;
    net->device.config = &net->config;
    /* Up to the MTU: what follows belongs to features that are not offered. */
    net->device.config_size = offsetof(struct virtio_net_config, mtu) + sizeof net->config.mtu;
    net->again = (struct loop_deferred){ .run = net_again, .context = net };
    net->tap = (struct loop_source){ .fd = options->fd, .ready = net_tap_ready, .context = net };
    if (virtio_device_create(&net->device, memory, err) < 0)
        return -1;
    return net_watch_doorbells(net, err);
}

void net_limit(struct net *net, const struct net_rates *rates)
{
    net->limiter = (struct rate_limiter){
        .read_bytes.per_second = rates->receive_bytes,
        .write_bytes.per_second = rates->send_bytes,
        .read_requests.per_second = rates->receive_packets,
        .write_requests.per_second = rates->send_packets,
    };
    net->limited = rate_limiter_is_used(&net->limiter);
}

void net_destroy(struct net *net)
{
    net->gone = true;
    net_watch(net, false);
    for (unsigned i = 0; i < NET_QUEUES; i++) {
        if (net->doorbells[i].ready)
            loop_remove(net->loop, &net->doorbells[i]);
    }
    virtio_device_destroy(&net->device);
}

void net_finish(struct net *net)
{
    virtio_device_lock(&net->device);
    net->limited = false;
    /* More than the queue holds comes only from a disk that still reads into its ring. */
    for (int i = 0; i < QUEUE_MAX_SIZE / NET_BATCH; i++) {
        if (!virtio_device_live(&net->device) || !net->device.queues[NET_QUEUE_TX].ready ||
            net_transmit(net) <= 0)
            break;
    }
    virtio_device_unlock(&net->device);
}
