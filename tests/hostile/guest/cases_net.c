/* Frames. The host sends each back. */
#include "cases.h"

enum { TX = 1, PAYLOAD = 100, ROUNDS = 2000 };

#define NEEDS    VIRTIO_NET_HDR_F_NEEDS_CSUM
#define OFFLOADS (1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_HOST_TSO4)

/* The fields of a header, as one number: flags, type, gso_size, csum_start, csum_offset. */
#define FIELDS(flags, type, size, start, offset)                                                   \
    ((uint64_t)(flags) | (uint64_t)(type) << 8 | (uint64_t)(size) << 16 |                          \
     (uint64_t)(start) << 32 | (uint64_t)(offset) << 48)

static struct virtio_net_hdr_v1 *set_header(uint64_t fields)
{
    struct virtio_net_hdr_v1 *header = (struct virtio_net_hdr_v1 *)scratch_memory;
    memset(scratch_memory, 0, NET_HEADER + PAYLOAD);
    header->flags = (uint8_t)fields;
    header->gso_type = (uint8_t)(fields >> 8);
    header->gso_size = (uint16_t)(fields >> 16);
    header->csum_start = (uint16_t)(fields >> 32);
    header->csum_offset = (uint16_t)(fields >> 48);
    return header;
}

/* a: fields of the header, b: features. The device needs a reset then. */
static const char *bad_header(const struct hostile_case *this_case, struct device *device)
{
    const struct part part = { (uint64_t)set_header(this_case->a), NET_HEADER + PAYLOAD, 0 };
    CHECK(start_with(device, this_case->b));
    add_chain(device, TX, 0, &part, 1);
    kick(device, TX);
    CHECK(wait_needs_reset(device));
    CHECK(device->queues[TX].rings->used.idx == 0);
    return NULL;
}

/* a: bytes of the chain; b: which queue. No frame, or no buffer, is that short or long. */
static const char *bad_length(const struct hostile_case *this_case, struct device *device)
{
    struct part parts[2] = {
        { (uint64_t)set_header(0), (uint32_t)this_case->a, 0 },
    };
    size_t count = 1;
    CHECK(start(device));
    if (this_case->b != TX)
        parts[0].flags = VRING_DESC_F_WRITE;
    add_chain(device, (unsigned)this_case->b, 0, parts, count);
    kick(device, (unsigned)this_case->b);
    CHECK(wait_needs_reset(device));
    return NULL;
}

/* Frames beyond the MTU, and from a strange address: taken, and lost. a: bytes. */
static const char *lost(const struct hostile_case *this_case, struct device *device)
{
    const struct part part = { (uint64_t)set_header(0), (uint32_t)this_case->a, 0 };
    uint32_t length;
    CHECK(start(device));
    for (int i = 0; i < QUEUE_SIZE; i++) {
        add_chain(device, TX, 0, &part, 1);
        kick(device, TX);
        CHECK(wait_used(device, TX, &length));
    }
    CHECK(!needs_reset(device));
    return NULL;
}

/* a: frames at once, again and again, while nobody takes the answers. b: rounds. */
static const char *flood(const struct hostile_case *this_case, struct device *device)
{
    const struct part part = { (uint64_t)set_header(0), NET_HEADER + PAYLOAD, 0 };
    uint32_t length;
    CHECK(start(device));
    for (uint64_t round = 0; round < this_case->b; round++) {
        for (uint64_t i = 0; i < this_case->a; i++)
            add_chain(device, TX, (uint16_t)i, &part, 1);
        kick(device, TX);
        for (uint64_t i = 0; i < this_case->a; i++)
            CHECK(wait_used(device, TX, &length));
    }
    CHECK(!needs_reset(device));
    return NULL;
}

/* The index of either ring moves on without end, without a kick for each. */
static const char *never_empty(const struct hostile_case *this_case, struct device *device)
{
    const struct part part = { (uint64_t)set_header(0), NET_HEADER + PAYLOAD, 0 };
    CHECK(start(device));
    add_chain(device, TX, 0, &part, 1);
    volatile uint16_t *available = &device->queues[TX].rings->available.idx;
    const volatile uint16_t *used = &device->queues[TX].rings->used.idx;
    for (uint64_t i = 0; i < this_case->a; i++) {
        *available = (uint16_t)(*used + 1);
        if (i % 64 == 0)
            kick(device, TX);
    }
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_ECHO + case_number));
    CHECK(vsock_echo(PORT_ECHO + case_number, 100));
    return NULL;
}

struct flicker {
    volatile uint8_t *at;
    uint8_t values[2];
};

static void change(void *argument)
{
    const struct flicker *flicker = argument;
    for (unsigned i = 0; !second_stop; i++)
        *flicker->at = flicker->values[i % 2];
}

/* A byte of the frame's head changes between check and use. a: offset, b: the other value. */
static const char *head_changes(const struct hostile_case *this_case, struct device *device)
{
    static struct flicker flicker;
    const struct part part = { (uint64_t)set_header(FIELDS(NEEDS, 0, 0, 34, 6)),
                               NET_HEADER + PAYLOAD, 0 };
    flicker = (struct flicker){ .at = scratch_memory + this_case->a,
                                .values = { scratch_memory[this_case->a], (uint8_t)this_case->b } };
    CHECK(second_start(change, &flicker));
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t length;
        if (get(device, VIRTIO_MMIO_STATUS) != STATUS_RUNNING)
            CHECK(start_with(device, OFFLOADS));
        add_chain(device, TX, 0, &part, 1);
        kick(device, TX);
        while (!needs_reset(device) && *(volatile uint16_t *)&device->queues[TX].rings->used.idx ==
                                           device->queues[TX].next_used)
            relax();
        if (!needs_reset(device))
            (void)wait_used(device, TX, &length);
    }
    second_join();
    return NULL;
}

/* Reset and started again while frames are on their way in both directions. a: times. */
static const char *resets(const struct hostile_case *this_case, struct device *device)
{
    const struct part frame = { (uint64_t)set_header(0), NET_HEADER + PAYLOAD, 0 };
    const struct part buffer = { (uint64_t)scratch_memory + 2UL * PAGE, PAGE, VRING_DESC_F_WRITE };
    for (uint64_t i = 0; i < this_case->a; i++) {
        CHECK(start(device));
        for (int n = 0; n < QUEUE_SIZE; n++) {
            add_chain(device, 0, (uint16_t)n, &buffer, 1);
            add_chain(device, TX, (uint16_t)n, &frame, 1);
        }
        kick(device, 0);
        kick(device, TX);
    }
    return NULL;
}

#define BAD(name, fields, features)                                                                \
    {                                                                                              \
        "net." name, bad_header, ON_NET, fields, features, 0                                       \
    }

const struct hostile_case net_cases[] = {
    BAD("checksum-not-negotiated", FIELDS(NEEDS, 0, 0, 34, 6), 0),
    BAD("segments-not-negotiated", FIELDS(NEEDS, VIRTIO_NET_HDR_GSO_TCPV4, 1000, 34, 6),
        1ULL << VIRTIO_NET_F_CSUM),
    BAD("segments-of-6-not-negotiated", FIELDS(NEEDS, VIRTIO_NET_HDR_GSO_TCPV6, 1000, 34, 6),
        OFFLOADS),
    BAD("checksum-behind-frame", FIELDS(NEEDS, 0, 0, 34, PAYLOAD - 35), OFFLOADS),
    BAD("checksum-far-behind", FIELDS(NEEDS, 0, 0, 65535, 65535), OFFLOADS),
    BAD("checksum-in-ethernet-header", FIELDS(NEEDS, 0, 0, 0, 0), OFFLOADS),
    BAD("flags-unknown", FIELDS(0xfe, 0, 0, 34, 6), OFFLOADS),
    BAD("segments-of-0", FIELDS(NEEDS, VIRTIO_NET_HDR_GSO_TCPV4, 0, 34, 6), OFFLOADS),
    BAD("segments-without-checksum", FIELDS(0, VIRTIO_NET_HDR_GSO_TCPV4, 1000, 34, 6), OFFLOADS),
    BAD("segments-of-udp", FIELDS(NEEDS, VIRTIO_NET_HDR_GSO_UDP, 1000, 34, 6), OFFLOADS),
    BAD("segments-with-ecn", FIELDS(NEEDS, 0x81, 1000, 34, 6), OFFLOADS),
    BAD("type-unknown", FIELDS(NEEDS, 0x7f, 1000, 34, 6), OFFLOADS),
    { "net.frame-of-0", bad_length, ON_NET, NET_HEADER, TX, 0 },
    { "net.frame-of-13", bad_length, ON_NET, NET_HEADER + 13, TX, 0 },
    { "net.header-cut", bad_length, ON_NET, NET_HEADER - 1, TX, 0 },
    { "net.frame-beyond-64-kib", bad_length, ON_NET, NET_HEADER + 65536 + 18, TX, 0 },
    { "net.frame-of-1-mib", bad_length, ON_NET, sizeof scratch_memory, TX, 0 },
    { "net.buffer-of-12", bad_length, ON_NET, NET_HEADER, 0, 0 },
    { "net.frame-of-14", lost, ON_NET, NET_HEADER + 14, 0, 0 },
    { "net.frame-beyond-mtu", lost, ON_NET, NET_HEADER + 14 + 1505, 0, 0 },
    { "net.frame-of-64-kib", lost, ON_NET, NET_HEADER + 65535, 0, 0 },
    { "net.flood", flood, ON_NET, QUEUE_SIZE, 200, 0 },
    { "net.never-empty", never_empty, ON_NET, 100000, 0, 0 },
    { "net.resets", resets, ON_NET, 100, 0, 0 },
    { "race.frame-flags", head_changes, ON_NET, 0, 0xff, 0 },
    { "race.frame-type", head_changes, ON_NET, 1, VIRTIO_NET_HDR_GSO_TCPV4, 0 },
    { "race.frame-checksum-start", head_changes, ON_NET, 7, 0xff, 0 },
    { "race.frame-source", head_changes, ON_NET, NET_HEADER + 6, 0xff, 0 },
    { .name = NULL },
};
