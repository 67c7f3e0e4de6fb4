/* The network device: frames both ways, back-pressure, and what a hostile guest tries. */
/* link: vmm */
#include "test_vmm_guest.h"

#include "vmm/virtio/net.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SIZE = 64,                        /* of the queues */
    BUFFER = 2048,                    /* of the guest's receive buffers */
    FRAME = GUEST_BUFFERS + 0x100000, /* where the guest makes its frames */
    MTU = 1500,
    PAYLOAD = 64,
};

#define OFFLOADS_OUT                                                                               \
    (1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_HOST_TSO4 | 1ULL << VIRTIO_NET_F_HOST_TSO6)
#define OFFLOADS_IN                                                                                \
    (1ULL << VIRTIO_NET_F_GUEST_CSUM | 1ULL << VIRTIO_NET_F_GUEST_TSO4 |                           \
     1ULL << VIRTIO_NET_F_GUEST_TSO6)

static const uint8_t MAC[ETH_ALEN] = { 2, 0, 0, 0, 0, 1 };

struct frame {
    struct virtio_net_hdr_v1 header;
    struct ethhdr ethernet;
    uint8_t payload[65535];
};

struct fixture {
    struct guest guest;
    struct loop loop;
    struct net net;
    int host; /* the network's side of the socket pair that stands for the tap */
    struct frame frame;
};

/* Brings the device up again, with these features beside VERSION_1. */
static void restart(struct fixture *f, uint64_t features)
{
    guest_start(&f->guest, &f->net.device, SIZE);
    f->net.device.driver_features |= features; /* as negotiated: the test of that is another */
}

static int set_up_with(void **state, bool own_source_only)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err;
    int pair[2];
    (void)signal(SIGPIPE, SIG_IGN);
    guest_create(&f->guest);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f->host = pair[0];
    struct net_options options = { .fd = pair[1], .mtu = MTU, .own_source_only = own_source_only };
    memcpy(options.mac, MAC, sizeof MAC);
    assert_int_equal(loop_create(&f->loop, &err), 0);
    assert_int_equal(net_create(&f->net, &f->guest.memory, &f->loop, &options, &err), 0);
    restart(f, 0);
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, false);
}

static int set_up_own(void **state)
{
    return set_up_with(state, true);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    net_destroy(&f->net);
    loop_destroy(&f->loop);
    (void)close(f->host);
    (void)close(f->net.options.fd);
    guest_destroy(&f->guest);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    struct error err;
    for (int i = 0; i < 12; i++)
        assert_int_equal(loop_turn(&f->loop, 0, &err), 0);
}

/* Notifies the device and lets the loop run until nothing more happens at once. */
static void run(struct fixture *f)
{
    uint64_t one = 1;
    for (unsigned i = 0; i < NET_QUEUES; i++)
        assert_int_equal(write(f->net.device.doorbell_fds[i], &one, sizeof one), sizeof one);
    turn(f);
}

/* A frame as the guest's own interface would send it. */
static struct frame *make_frame(struct fixture *f)
{
    f->frame = (struct frame){ .ethernet = { .h_dest = { 2, 0, 0, 0, 0, 2 }, .h_proto = 0x0008 } };
    memcpy(f->frame.ethernet.h_source, MAC, sizeof MAC);
    for (size_t i = 0; i < sizeof f->frame.payload; i++)
        f->frame.payload[i] = (uint8_t)(i * 7);
    return &f->frame;
}

/* Makes the frame with that much payload available, in one part or in pieces of `piece` bytes. */
static void send_frame(struct fixture *f, uint32_t payload, uint32_t piece)
{
    struct guest_part parts[SIZE];
    size_t count = 0;
    uint32_t length = NET_HEADER + ETH_HLEN + payload;
    memcpy(guest_at(&f->guest, FRAME), &f->frame, length);
    for (uint32_t at = 0; at < length; at += piece) {
        uint32_t here = length - at < piece ? length - at : piece;
        parts[count++] = (struct guest_part){ FRAME + at, here, 0 };
    }
    guest_add(&f->guest, NET_QUEUE_TX, parts, count);
    run(f);
}

/* The bytes that the host got, header included; -1: none. */
static ssize_t take(struct fixture *f, struct frame *frame)
{
    return recv(f->host, frame, sizeof *frame, 0);
}

static void post_buffers(struct fixture *f, int count, uint32_t length)
{
    for (; count > 0; count--) {
        uint16_t slot = f->guest.next_free[NET_QUEUE_RX];
        const struct guest_part part = { GUEST_BUFFERS + (uint64_t)slot * BUFFER, length,
                                         VRING_DESC_F_WRITE };
        guest_add(&f->guest, NET_QUEUE_RX, &part, 1);
    }
}

static void test_frame_out(void **state)
{
    static const uint32_t pieces[] = { 65536, 1, 7, NET_HEADER, NET_HEADER + ETH_HLEN, 30 };
    struct fixture *f = *state;
    static struct frame got;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        uint32_t length = 0, payload = pieces[i] == 1 ? 20 : PAYLOAD;
        make_frame(f);
        send_frame(f, payload, pieces[i]);
        assert_int_equal(take(f, &got), NET_HEADER + ETH_HLEN + payload);
        assert_memory_equal(&got, &f->frame, NET_HEADER + ETH_HLEN + payload);
        assert_true(guest_take_used(&f->guest, NET_QUEUE_TX, &length));
        assert_int_equal(length, 0);
    }
}

static void test_frame_in(void **state)
{
    struct fixture *f = *state;
    uint32_t length = 0;
    post_buffers(f, 2, BUFFER);
    run(f);
    make_frame(f)->header.flags = VIRTIO_NET_HDR_F_DATA_VALID; /* nobody wants to know */
    ssize_t size = NET_HEADER + ETH_HLEN + PAYLOAD;
    assert_int_equal(send(f->host, &f->frame, (size_t)size, 0), size);
    turn(f);
    assert_true(guest_take_used(&f->guest, NET_QUEUE_RX, &length));
    assert_int_equal(length, size);
    const struct frame *got = guest_at(&f->guest, GUEST_BUFFERS);
    assert_int_equal(got->header.flags, 0);
    assert_int_equal(got->header.num_buffers, 1);
    assert_memory_equal(&got->ethernet, &f->frame.ethernet, ETH_HLEN + PAYLOAD);
    assert_false(guest_take_used(&f->guest, NET_QUEUE_RX, &length));
}

/* Headers, and whether a device with every feature takes them. */
static void test_headers(void **state)
{
    const uint8_t NEEDS = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    static const uint8_t TCP4 = VIRTIO_NET_HDR_GSO_TCPV4, TCP6 = VIRTIO_NET_HDR_GSO_TCPV6;
    const struct {
        struct virtio_net_hdr_v1 header;
        bool good, plain; /* the latter: also without any feature */
    } cases[] = {
        { { .flags = 0 }, true, true },
        { { .hdr_len = 65535, .gso_size = 65535, .csum_start = 65535 }, true, true },
        { { .flags = NEEDS, .csum_start = 34, .csum_offset = 16 }, true, false },
        { { .flags = NEEDS, .csum_start = 34, .csum_offset = PAYLOAD + ETH_HLEN - 36 },
          true,
          false },
        { { .flags = NEEDS, .csum_start = 34, .csum_offset = PAYLOAD + ETH_HLEN - 35 },
          false,
          false },
        { { .flags = NEEDS, .csum_start = 65535, .csum_offset = 65535 }, false, false },
        { { .flags = NEEDS, .csum_start = 0, .csum_offset = 0 }, false, false },
        { { .flags = VIRTIO_NET_HDR_F_DATA_VALID }, false, false },
        { { .flags = 0xff, .csum_start = 34 }, false, false },
        { { .flags = NEEDS, .csum_start = 34, .gso_type = TCP4, .gso_size = 1400 }, true, false },
        { { .flags = NEEDS, .csum_start = 34, .gso_type = TCP6, .gso_size = 1 }, true, false },
        { { .flags = NEEDS, .csum_start = 34, .gso_type = TCP4, .gso_size = 0 }, false, false },
        { { .flags = 0, .gso_type = TCP4, .gso_size = 1400 }, false, false },
        { { .flags = NEEDS, .csum_start = 34, .gso_type = TCP4, .gso_size = 9, .hdr_len = 65535 },
          false,
          false },
        { { .flags = NEEDS,
            .csum_start = 34,
            .gso_type = TCP4 | VIRTIO_NET_HDR_GSO_ECN,
            .gso_size = 9 },
          false,
          false },
        { { .flags = NEEDS, .csum_start = 34, .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 9 },
          false,
          false },
        { { .flags = NEEDS, .csum_start = 34, .gso_type = 0x55, .gso_size = 9 }, false, false },
    };
    struct fixture *f = *state;
    static struct frame got;
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof *cases); i++) {
        bool good = i % 2 ? cases[i / 2].plain : cases[i / 2].good;
        restart(f, i % 2 ? 0 : OFFLOADS_OUT);
        make_frame(f)->header = cases[i / 2].header;
        send_frame(f, PAYLOAD, 65536);
        assert_int_equal(take(f, &got) > 0, good);
        assert_int_equal(guest_needs_reset(&f->guest), !good);
        if (good && got.header.gso_type == VIRTIO_NET_HDR_GSO_NONE)
            assert_int_equal(got.header.gso_size + got.header.hdr_len, 0); /* not the guest's */
    }
}

/* Larger than the interface would send: lost, not an error. */
static void test_mtu(void **state)
{
    struct fixture *f = *state;
    static struct frame got;
    make_frame(f);
    send_frame(f, MTU + 4, 65536); /* with a VLAN's tag */
    assert_int_equal(take(f, &got), NET_HEADER + ETH_HLEN + MTU + 4);
    send_frame(f, MTU + 5, 65536);
    assert_int_equal(take(f, &got), -1);
    restart(f, OFFLOADS_OUT);
    make_frame(f)->header = (struct virtio_net_hdr_v1){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                                        .csum_start = 34,
                                                        .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                                        .gso_size = MTU - 40 };
    send_frame(f, 20000, 65536);
    assert_int_equal(take(f, &got), NET_HEADER + ETH_HLEN + 20000);
    f->frame.header.gso_size++;
    send_frame(f, 20000, 65536);
    assert_int_equal(take(f, &got), -1);
    assert_int_equal(f->net.discarded, 2);
    assert_false(guest_needs_reset(&f->guest));
}

static void test_own_source(void **state)
{
    struct fixture *f = *state;
    static struct frame got;
    make_frame(f);
    send_frame(f, PAYLOAD, 3 * ETH_ALEN);
    assert_true(take(f, &got) > 0);
    f->frame.ethernet.h_source[5]++;
    send_frame(f, PAYLOAD, 65536);
    assert_int_equal(take(f, &got), -1);
    assert_int_equal(f->net.discarded, 1);
}

/* Chains that are no frame: the device needs a reset, and works after it. */
static void test_malformed(void **state)
{
    const struct {
        unsigned queue;
        size_t count;
        struct guest_part parts[2];
    } cases[] = {
        { NET_QUEUE_TX, 1, { { FRAME, NET_HEADER, 0 } } },
        { NET_QUEUE_TX, 1, { { FRAME, NET_HEADER + ETH_HLEN - 1, 0 } } },
        { NET_QUEUE_TX, 1, { { FRAME, PAYLOAD, VRING_DESC_F_WRITE } } },
        { NET_QUEUE_TX, 2, { { FRAME, PAYLOAD, 0 }, { FRAME, 1, VRING_DESC_F_WRITE } } },
        { NET_QUEUE_TX, 2, { { FRAME, 65536, 0 }, { FRAME, PAYLOAD, 0 } } },
        { NET_QUEUE_TX, 1, { { GUEST_RAM - 10, PAYLOAD, 0 } } },
        { NET_QUEUE_TX, 1, { { UINT64_MAX - 10, PAYLOAD, 0 } } },
        { NET_QUEUE_TX, 1, { { FRAME, 0, 0 } } },
        { NET_QUEUE_RX, 1, { { FRAME, BUFFER, 0 } } },
        { NET_QUEUE_RX, 2, { { FRAME, 12, 0 }, { FRAME, BUFFER, VRING_DESC_F_WRITE } } },
        { NET_QUEUE_RX, 1, { { FRAME, NET_HEADER, VRING_DESC_F_WRITE } } },
        { NET_QUEUE_RX, 1, { { GUEST_RAM - 10, BUFFER, VRING_DESC_F_WRITE } } },
    };
    struct fixture *f = *state;
    static struct frame got;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        restart(f, 0);
        memset(guest_at(&f->guest, FRAME), 0, 65536 + PAYLOAD);
        guest_add(&f->guest, cases[i].queue, cases[i].parts, cases[i].count);
        run(f);
        assert_true(guest_needs_reset(&f->guest));
        assert_int_equal(take(f, &got), -1);
        restart(f, 0);
        make_frame(f);
        send_frame(f, PAYLOAD, 65536);
        assert_true(take(f, &got) > 0);
    }
}

/* A buffer must hold a whole frame: one that is filled is good, one byte less breaks the device. */
static void test_buffer_too_small(void **state)
{
    struct fixture *f = *state;
    uint32_t length = 0;
    const uint32_t size = NET_HEADER + ETH_HLEN + PAYLOAD;
    for (uint32_t lacking = 0; lacking <= 1; lacking++) {
        restart(f, 0);
        *(uint8_t *)guest_at(&f->guest, GUEST_BUFFERS + size - lacking) = 0x5a;
        post_buffers(f, 1, size - lacking);
        run(f);
        make_frame(f);
        assert_int_equal(send(f->host, &f->frame, size, 0), size);
        turn(f);
        assert_int_equal(guest_needs_reset(&f->guest), lacking);
        assert_int_equal(guest_take_used(&f->guest, NET_QUEUE_RX, &length), !lacking);
        assert_int_equal(*(uint8_t *)guest_at(&f->guest, GUEST_BUFFERS + size - lacking), 0x5a);
    }
    assert_int_equal(length, size);
    restart(f, 0); /* the driver has no room for what it did not ask for */
    post_buffers(f, 1, size - 1);
    run(f);
    f->frame.header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
    assert_int_equal(send(f->host, &f->frame, size, 0), size);
    turn(f);
    assert_int_equal(f->net.discarded, 1);
    assert_false(guest_needs_reset(&f->guest));
}

/* A guest without buffers: frames wait in the host, and come when there is one. */
static void test_guest_full(void **state)
{
    struct fixture *f = *state;
    uint32_t length = 0;
    ssize_t size = NET_HEADER + ETH_HLEN + PAYLOAD;
    make_frame(f);
    run(f);
    assert_int_equal(f->net.watched, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(send(f->host, &f->frame, (size_t)size, 0), size);
    turn(f);
    for (int i = 0; i < 3; i++) {
        post_buffers(f, 1, BUFFER);
        run(f);
        assert_true(guest_take_used(&f->guest, NET_QUEUE_RX, &length));
        assert_false(guest_take_used(&f->guest, NET_QUEUE_RX, &length));
    }
}

/* A network that takes nothing: the guest's frames wait in its ring, none is lost or doubled. */
static void test_host_full(void **state)
{
    struct fixture *f = *state;
    static struct frame got;
    uint32_t length = 0;
    int sent = 0, received = 0, used = 0, least = 1;
    assert_int_equal(setsockopt(f->net.options.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
    for (int i = 0; i < SIZE / 2; i++) {
        make_frame(f);
        send_frame(f, MTU, 65536);
        sent++;
    }
    while (guest_take_used(&f->guest, NET_QUEUE_TX, &length))
        used++;
    assert_in_range(used, 1, sent - 1);
    assert_true((f->net.watched & (uint32_t)EPOLLOUT) != 0);
    while (take(f, &got) > 0) {
        received++;
        turn(f);
    }
    assert_int_equal(received, sent);
    while (guest_take_used(&f->guest, NET_QUEUE_TX, &length))
        used++;
    assert_int_equal(used, sent);
    assert_int_equal(f->net.watched, 0); /* no buffers were posted */
}

/* What the guest's driver does not understand never reaches it. */
static void test_offloads_in(void **state)
{
    const struct {
        uint64_t features;
        uint8_t flags, type;
        bool comes;
    } cases[] = {
        { 0, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, false },
        { 0, 0, VIRTIO_NET_HDR_GSO_TCPV4, false },
        { 0, VIRTIO_NET_HDR_F_DATA_VALID, 0, true },
        { OFFLOADS_IN, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, true },
        { OFFLOADS_IN, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV6, true },
        { OFFLOADS_IN, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP, false },
    };
    struct fixture *f = *state;
    ssize_t size = NET_HEADER + ETH_HLEN + PAYLOAD;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t length = 0;
        restart(f, cases[i].features);
        post_buffers(f, 1, BUFFER);
        run(f);
        make_frame(f)->header.flags = cases[i].flags;
        f->frame.header.gso_type = cases[i].type;
        assert_int_equal(send(f->host, &f->frame, (size_t)size, 0), size);
        turn(f);
        assert_int_equal(guest_take_used(&f->guest, NET_QUEUE_RX, &length), cases[i].comes);
        const struct frame *got = guest_at(&f->guest, GUEST_BUFFERS);
        if (cases[i].comes && cases[i].features)
            assert_int_equal(got->header.flags, cases[i].flags);
    }
}

/* A ring that is kept full never keeps the loop: a turn ends after a batch. */
static void test_bounded_turn(void **state)
{
    struct fixture *f = *state;
    struct error err;
    static struct frame got;
    uint64_t one = 1;
    make_frame(f);
    memcpy(guest_at(&f->guest, FRAME), &f->frame, 60);
    f->net.gone = true; /* nobody takes the frames: only the ring is looked at */
    guest_start(&f->guest, &f->net.device, QUEUE_MAX_SIZE);
    for (int i = 0; i < QUEUE_MAX_SIZE; i++) {
        const struct guest_part part = { FRAME, 60, 0 };
        guest_add(&f->guest, NET_QUEUE_TX, &part, 1);
    }
    assert_int_equal(write(f->net.device.doorbell_fds[NET_QUEUE_TX], &one, sizeof one), sizeof one);
    assert_int_equal(loop_turn(&f->loop, 0, &err), 0);
    /* A batch for each notification and one for the work put off. */
    assert_in_range(f->net.discarded, NET_BATCH, QUEUE_MAX_SIZE - 1);
    assert_int_equal(guest_used_ring(&f->guest, NET_QUEUE_TX)->idx, f->net.discarded);
    assert_true(f->net.again.queued);
    turn(f);
    assert_false(f->net.again.queued);
    assert_int_equal(take(f, &got), -1);
}

/* The tap is taken away: frames are lost, the loop does not spin, the other devices go on. */
static void test_tap_gone(void **state)
{
    struct fixture *f = *state;
    post_buffers(f, 1, BUFFER);
    run(f);
    assert_int_equal(f->net.watched, EPOLLIN);
    (void)shutdown(f->net.options.fd, SHUT_RDWR);
    turn(f);
    assert_true(f->net.gone);
    assert_int_equal(f->net.watched, 0);
    make_frame(f);
    send_frame(f, PAYLOAD, 65536);
    assert_false(guest_needs_reset(&f->guest));
    assert_int_equal(f->net.discarded, 1);
}

/* Turns of the loop until this time, as many as it wants: it must sleep in between. */
static int turn_until(struct fixture *f, uint64_t end)
{
    struct error err;
    int turns = 0;
    for (uint64_t now = rate_clock(); now < end; now = rate_clock(), turns++)
        assert_int_equal(loop_turn(&f->loop, (int)((end - now) / 1000000) + 1, &err), 0);
    return turns;
}

/* Frames of the guest beyond the rate wait in its ring: none is lost, and the loop does not spin.
 */
static void test_limit_out(void **state)
{
    enum { FRAMES = 40, EACH = 1000, RATE = 100 * 1000 };
    struct fixture *f = *state;
    static struct frame got;
    uint32_t length = 0;
    int sent = 0;
    net_limit(&f->net, &(struct net_rates){ .send_bytes = RATE });
    uint64_t start = rate_clock();
    for (int i = 0; i < FRAMES; i++) {
        const struct guest_part part = { FRAME + (uint64_t)i * BUFFER, NET_HEADER + EACH, 0 };
        make_frame(f)->payload[0] = (uint8_t)i;
        memcpy(guest_at(&f->guest, part.address), &f->frame, part.length);
        guest_add(&f->guest, NET_QUEUE_TX, &part, 1);
        run(f);
    }
    assert_int_equal(f->net.watched, 0); /* of the tap, nothing is wanted */
    while (sent < FRAMES) {
        while (take(f, &got) > 0)
            assert_int_equal(got.payload[0], sent++);
        /* The burst, what its last byte may bring along, and what has come since. */
        uint64_t passed = rate_clock() - start;
        assert_true((uint64_t)sent * EACH <=
                    RATE / 10 + EACH + passed / 1000 * RATE / 1000 / 1000 + 1);
        assert_in_range(turn_until(f, rate_clock() + RATE_BURST / 2), 0, 60);
        assert_true(rate_clock() - start < 30ULL * RATE_SECOND);
    }
    assert_true(rate_clock() - start >=
                (uint64_t)(FRAMES - 1) * EACH * RATE_SECOND / RATE - RATE_BURST);
    for (int i = 0; i < FRAMES; i++)
        assert_true(guest_take_used(&f->guest, NET_QUEUE_TX, &length));
}

/* Those of the network wait in the tap, which nobody looks at meanwhile. */
static void test_limit_in(void **state)
{
    struct fixture *f = *state;
    uint32_t length = 0;
    ssize_t size = NET_HEADER + ETH_HLEN + PAYLOAD;
    net_limit(&f->net, &(struct net_rates){ .receive_packets = 10 });
    post_buffers(f, 8, BUFFER);
    make_frame(f);
    for (int i = 0; i < 4; i++)
        assert_int_equal(send(f->host, &f->frame, (size_t)size, 0), size);
    uint64_t start = rate_clock();
    run(f);
    assert_true(f->net.held_back);
    assert_int_equal(f->net.watched, 0);
    send_frame(f, PAYLOAD, 65536); /* the other direction goes on */
    assert_true(guest_take_used(&f->guest, NET_QUEUE_TX, &length));
    for (int i = 0; i < 4; i++) {
        while (!guest_take_used(&f->guest, NET_QUEUE_RX, &length))
            (void)turn_until(f, rate_clock() + RATE_BURST / 20);
        assert_true(rate_clock() - start + RATE_BURST >= (uint64_t)i * RATE_SECOND / 10);
    }
    (void)turn_until(f, rate_clock() + RATE_BURST);
    assert_int_equal(f->net.watched, EPOLLIN);
}

/* A frame to be cut counts as its segments; a reset pays no debt; the end waits for nothing. */
static void test_limit_of_segments(void **state)
{
    enum { SEGMENT = 100, SEGMENTS = 50, HEADERS = ETH_HLEN + 40 };
    struct fixture *f = *state;
    static struct frame got;
    restart(f, OFFLOADS_OUT);
    net_limit(&f->net, &(struct net_rates){ .send_packets = 10, .send_bytes = 1 << 30 });
    make_frame(f)->header = (struct virtio_net_hdr_v1){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                                        .csum_start = 34,
                                                        .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                                        .gso_size = SEGMENT };
    send_frame(f, SEGMENTS * SEGMENT + 40, 65536);
    assert_true(take(f, &got) > 0);
    uint64_t wait = rate_limiter_wait(&f->net.limiter, true, rate_clock());
    const uint64_t tenth = RATE_SECOND / 10;
    assert_in_range(wait, (SEGMENTS - 20) * tenth, SEGMENTS * tenth);
    assert_in_range(f->net.limiter.write_bytes.due, 1, rate_clock());
    restart(f, 0);
    make_frame(f);
    send_frame(f, PAYLOAD, 65536);
    assert_int_equal(take(f, &got), -1);
    net_finish(&f->net);
    assert_int_equal(take(f, &got), NET_HEADER + ETH_HLEN + PAYLOAD);
}

static void test_config(void **state)
{
    struct fixture *f = *state;
    uint8_t mac[ETH_ALEN];
    uint16_t mtu;
    uint32_t beyond;
    virtio_mmio_read(&f->net.device, VIRTIO_MMIO_CONFIG, mac, sizeof mac);
    assert_memory_equal(mac, MAC, sizeof MAC);
    virtio_mmio_read(&f->net.device, VIRTIO_MMIO_CONFIG + 10, &mtu, sizeof mtu);
    assert_int_equal(mtu, MTU);
    virtio_mmio_read(&f->net.device, VIRTIO_MMIO_CONFIG + 12, &beyond, sizeof beyond);
    assert_int_equal(beyond, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_frame_out),
        TEST(test_frame_in),
        TEST(test_headers),
        TEST(test_mtu),
        cmocka_unit_test_setup_teardown(test_own_source, set_up_own, tear_down),
        TEST(test_malformed),
        TEST(test_buffer_too_small),
        TEST(test_guest_full),
        TEST(test_host_full),
        TEST(test_offloads_in),
        TEST(test_bounded_turn),
        TEST(test_tap_gone),
        TEST(test_limit_out),
        TEST(test_limit_in),
        TEST(test_limit_of_segments),
        TEST(test_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
