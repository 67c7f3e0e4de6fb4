/* The content of rings: indices, descriptors, chains. */
#include "cases.h"

enum {
    MAIN = 0,
    RECEIVE = 1
}; /* which queue: that of requests, packets and frames, or of buffers for these */
#define FROM_RAM_END (1ULL << 62)

static uint64_t place(uint64_t code)
{
    if (code >> 63)
        return code;
    return code & FROM_RAM_END ? ram_end - (code & ~FROM_RAM_END) : code;
}

static unsigned main_queue(const struct device *device)
{
    return device->id == 2 ? 0 : 1;
}

/* A request or packet in order, at descriptors 0 to 2, not yet kicked. */
static void add_proper(struct device *device)
{
    struct virtio_blk_outhdr *request = (struct virtio_blk_outhdr *)scratch_memory;
    struct virtio_vsock_hdr *refused = (struct virtio_vsock_hdr *)scratch_memory;
    const uint64_t data = (uint64_t)scratch_memory + PAGE;
    if (device->id == 2) {
        *request = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN };
        const struct part parts[] = { { (uint64_t)request, sizeof *request, 0 },
                                      { data, SECTOR, VRING_DESC_F_WRITE },
                                      { data + PAGE, 1, VRING_DESC_F_WRITE } };
        add_chain(device, 0, 0, parts, 3);
    } else if (device->id == 1) {
        const struct part part = { (uint64_t)memset(scratch_memory, 0, PAGE), NET_HEADER + 60, 0 };
        add_chain(device, 1, 0, &part, 1);
    } else {
        *refused = packet(VIRTIO_VSOCK_OP_REQUEST, PORT_NOBODY, 0);
        const struct part part = { (uint64_t)refused, HEADER, 0 };
        add_chain(device, 1, 0, &part, 1);
    }
}

/* Brings the device up with one proper chain. Returns the rings to spoil, or NULL. */
static struct rings *set_stage(struct device *device, unsigned which)
{
    if (!start(device))
        return NULL;
    add_proper(device);
    if (which == MAIN)
        return device->queues[main_queue(device)].rings;
    /* The device takes a buffer when it has an answer: to the packet that add_proper made. */
    const struct part part = { (uint64_t)scratch_memory + 2UL * PAGE, PAGE, VRING_DESC_F_WRITE };
    add_chain(device, 0, 0, &part, 1);
    return device->queues[0].rings;
}

static const char *expect_broken(struct device *device, const struct rings *rings)
{
    kick(device, main_queue(device));
    kick(device, 0);
    CHECK(wait_needs_reset(device));
    CHECK(rings->used.idx == 0);
    CHECK(get(device, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
    /* It does nothing any more until it is reset. */
    kick(device, main_queue(device));
    CHECK(needs_reset(device));
    CHECK(start(device));
    return NULL;
}

/* a: how far the index jumps, b: which queue. */
static const char *index_jump(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, (unsigned)this_case->b);
    CHECK(rings);
    rings->available.idx = (uint16_t)this_case->a;
    return expect_broken(device, rings);
}

static const char *head(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, (unsigned)this_case->b);
    CHECK(rings);
    rings->available.ring[0] = (uint16_t)this_case->a;
    return expect_broken(device, rings);
}

static const char *next(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, (unsigned)this_case->b);
    CHECK(rings);
    rings->descriptors[0].flags |= VRING_DESC_F_NEXT;
    rings->descriptors[0].next = (uint16_t)this_case->a;
    return expect_broken(device, rings);
}

/* a: descriptors in the loop. */
static const char *loop(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, (unsigned)this_case->b);
    CHECK(rings);
    uint16_t count = (uint16_t)this_case->a;
    for (uint16_t i = 0; i < count; i++) {
        rings->descriptors[i] = rings->descriptors[0];
        rings->descriptors[i].flags |= VRING_DESC_F_NEXT;
        rings->descriptors[i].next = (uint16_t)((i + 1) % count);
    }
    return expect_broken(device, rings);
}

static const char *indirect(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, (unsigned)this_case->b);
    CHECK(rings);
    rings->descriptors[0].flags = (uint16_t)(rings->descriptors[0].flags | VRING_DESC_F_INDIRECT);
    return expect_broken(device, rings);
}

static const char *length(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, (unsigned)this_case->b);
    CHECK(rings);
    rings->descriptors[0].len = (uint32_t)this_case->a;
    return expect_broken(device, rings);
}

static const char *address(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, (unsigned)this_case->b);
    CHECK(rings);
    rings->descriptors[0].addr = place(this_case->a);
    return expect_broken(device, rings);
}

/* What the device may read comes behind what it may write. */
static const char *order(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, (unsigned)this_case->b);
    CHECK(rings);
    rings->descriptors[1] = rings->descriptors[0];
    rings->descriptors[0].flags = VRING_DESC_F_WRITE | VRING_DESC_F_NEXT;
    rings->descriptors[0].next = 1;
    rings->descriptors[1].flags = 0;
    return expect_broken(device, rings);
}

static const char *opposite(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, (unsigned)this_case->b);
    CHECK(rings);
    for (int i = 0; i < 3; i++)
        rings->descriptors[i].flags ^= VRING_DESC_F_WRITE;
    return expect_broken(device, rings);
}

/* A chain of all descriptors is allowed; the device must do it or refuse it, and live. */
static const char *longest(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, MAIN);
    uint32_t done;
    (void)this_case;
    CHECK(rings);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        struct vring_desc *descriptor = &rings->descriptors[i];
        descriptor->addr = (uint64_t)scratch_memory + (i == 0 ? 0 : PAGE);
        descriptor->len = i == 0                ? (device->id == 2 ? 16 : HEADER)
                          : i == QUEUE_SIZE - 1 ? 1
                                                : SECTOR;
        descriptor->flags = (uint16_t)(device->id == 2 && i > 0 ? VRING_DESC_F_WRITE : 0);
        descriptor->flags |= (uint16_t)(i + 1 < QUEUE_SIZE ? VRING_DESC_F_NEXT : 0);
        descriptor->next = (uint16_t)(i + 1);
    }
    kick(device, main_queue(device));
    CHECK(wait_used(device, main_queue(device), &done));
    CHECK(!needs_reset(device));
    return NULL;
}

/* The data of a read go into the rings themselves. a: offset in struct rings. */
static const char *into_rings(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, MAIN);
    CHECK(rings);
    rings->descriptors[1].addr = (uint64_t)rings + this_case->a;
    kick(device, 0);
    wait_ticks(1 << 26);
    (void)get(device, VIRTIO_MMIO_STATUS); /* whatever it is now */
    CHECK(start(device));
    return NULL;
}

/* Used elements are the device's to write: what is there already does not matter. */
static const char *used_scribbled(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = set_stage(device, MAIN);
    uint64_t since = clock_ticks(), left = since;
    (void)this_case;
    CHECK(rings);
    memset(&rings->used, 0xff, sizeof rings->used);
    kick(device, main_queue(device));
    while (*(volatile uint16_t *)&rings->used.idx != 1 && clock_ticks() - since < PATIENCE)
        wait_turn(&left);
    CHECK(rings->used.idx == 1);
    CHECK(!needs_reset(device));
    return NULL;
}

#define BOTH(name, run, a)                                                                         \
    { "chain." name, run, ON_QUEUES, a, MAIN, 0 },                                                 \
    {                                                                                              \
        "buffer." name, run, ON_VSOCK | ON_NET, a, RECEIVE, 0                                      \
    }

const struct hostile_case queue_cases[] = {
    BOTH("index-jumps-65", index_jump, QUEUE_SIZE + 1),
    BOTH("index-jumps-32768", index_jump, 32768),
    BOTH("index-jumps-65535", index_jump, 65535),
    BOTH("head-64", head, QUEUE_SIZE),
    BOTH("head-65535", head, 65535),
    BOTH("next-64", next, QUEUE_SIZE),
    BOTH("next-65535", next, 65535),
    BOTH("loops-1", loop, 1),
    BOTH("loops-2", loop, 2),
    BOTH("loops-64", loop, QUEUE_SIZE),
    BOTH("indirect-not-offered", indirect, 0),
    BOTH("length-0", length, 0),
    BOTH("length-max", length, 0xffffffff),
    BOTH("address-ram-end", address, FROM_RAM_END),
    BOTH("address-straddles-end", address, FROM_RAM_END | 8),
    BOTH("address-wraps", address, ~0ULL - 7),
    BOTH("address-2^63", address, 1ULL << 63),
    BOTH("address-registers", address, MMIO_BASE),
    BOTH("order", order, 0),
    BOTH("opposite-directions", opposite, 0),
    { "chain.longest", longest, ON_QUEUES, 0, 0, 0 },
    { "chain.read-into-descriptors", into_rings, ON_DISKS, 0, 0, 0 },
    { "chain.read-into-available", into_rings, ON_DISKS, offsetof(struct rings, available), 0, 0 },
    { "chain.read-into-used", into_rings, ON_DISKS, offsetof(struct rings, used), 0, 0 },
    { "chain.used-ring-scribbled", used_scribbled, ON_QUEUES, 0, 0, 0 },
    { .name = NULL },
};
