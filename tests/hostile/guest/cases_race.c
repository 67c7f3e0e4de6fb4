/* Two vCPUs: one drives a device properly, the other changes what the device looks at meanwhile. */
#include "cases.h"

struct race {
    volatile void *at;     /* what the second vCPU changes */
    unsigned width;        /* bytes */
    uint64_t values[2];    /* in turn */
    struct device *device; /* or a device whose registers it writes */
    uint32_t offset;
};

static struct race race;

static void change(void *argument)
{
    const struct race *r = argument;
    for (unsigned i = 0; !second_stop; i++)
        mmio_write((uint64_t)r->at, r->values[i & 1], r->width);
}

static void write_register(void *argument)
{
    const struct race *r = argument;
    for (unsigned i = 0; !second_stop; i++)
        set(r->device, r->offset, (uint32_t)r->values[i & 1]);
}

/* Requests on a disk while the second vCPU does its part. Restarts the device when it breaks. */
static const char *requests(struct device *device, uint64_t rounds)
{
    struct virtio_blk_outhdr *header = (struct virtio_blk_outhdr *)scratch_memory;
    const struct part parts[] = { { (uint64_t)header, sizeof *header, 0 },
                                  { (uint64_t)scratch_memory + PAGE, SECTOR, VRING_DESC_F_WRITE },
                                  { (uint64_t)scratch_memory + 2UL * PAGE, 1,
                                    VRING_DESC_F_WRITE } };
    for (uint64_t round = 0; round < rounds; round++) {
        uint32_t length;
        *(volatile uint32_t *)&header->type = VIRTIO_BLK_T_IN;
        header->sector = 0;
        if (get(device, VIRTIO_MMIO_STATUS) != STATUS_RUNNING)
            CHECK(start(device));
        add_chain(device, 0, 0, parts, 3);
        kick(device, 0);
        for (uint64_t since = clock_ticks(); clock_ticks() - since < 1 << 22;) {
            const volatile uint16_t *used = &device->queues[0].rings->used.idx;
            if (*used != device->queues[0].next_used)
                break;
            relax();
        }
        if (*(volatile uint16_t *)&device->queues[0].rings->used.idx != device->queues[0].next_used)
            (void)wait_used(device, 0, &length);
    }
    return NULL;
}

static const char *run_race(struct device *device, void (*second)(void *), uint64_t rounds)
{
    CHECK(second_start(second, &race));
    const char *failure = requests(device, rounds);
    second_join();
    return failure;
}

/* a: offset in the first descriptors, b: width with the rounds above, c: the bad value. */
enum { ROUNDS = 400 };

static const char *descriptor(const struct hostile_case *this_case, struct device *device)
{
    CHECK(start(device));
    uint8_t *at = (uint8_t *)device->queues[0].rings->descriptors + this_case->a;
    const struct vring_desc good = { (uint64_t)scratch_memory + PAGE, SECTOR,
                                     VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2 };
    uint64_t value = 0;
    memcpy(&value, (const uint8_t *)&good + this_case->a % sizeof good, this_case->b);
    race = (struct race){ .at = at,
                          .width = (unsigned)this_case->b,
                          .values = { value, this_case->c } };
    return run_race(device, change, ROUNDS);
}

static const char *index_flickers(const struct hostile_case *this_case, struct device *device)
{
    CHECK(start(device));
    race = (struct race){ .at = &device->queues[0].rings->available.idx,
                          .width = 2,
                          .values = { this_case->a, this_case->b } };
    return run_race(device, change, ROUNDS);
}

/* The request's header: a: offset, b: width, c: the other value. */
static const char *header_changes(const struct hostile_case *this_case, struct device *device)
{
    race = (struct race){ .at = scratch_memory + this_case->a,
                          .width = (unsigned)this_case->b,
                          .values = { 0, this_case->c } };
    return run_race(device, change, ROUNDS);
}

static const char *used_overwritten(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    CHECK(start(device));
    race = (struct race){ .at = &device->queues[0].rings->used.ring[0],
                          .width = 8,
                          .values = { ~0ULL, 0 } };
    return run_race(device, change, ROUNDS);
}

/* a: register, b and c: values, written all the time by the second vCPU. */
static const char *registers(const struct hostile_case *this_case, struct device *device)
{
    race = (struct race){ .device = device,
                          .offset = (uint32_t)this_case->a,
                          .values = { this_case->b, this_case->c } };
    CHECK(second_start(write_register, &race));
    for (int i = 0; i < 100; i++) {
        (void)start(device); /* which may be undone at any moment */
        struct rings *rings = device->queues[0].rings;
        if (rings)
            rings->available.idx++;
        kick(device, 0);
        kick(device, 1);
    }
    second_join();
    return NULL;
}

/* Packets whose length changes after the check: a: offset in the header, b: width, c: value. */
static const char *packet_changes(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr *header = (struct virtio_vsock_hdr *)scratch_memory, answer;
    const struct part part = { (uint64_t)header, HEADER + 100, 0 };
    CHECK(vsock_start());
    *header = packet(VIRTIO_VSOCK_OP_RW, PORT_NOBODY, 100);
    uint64_t good = 0;
    memcpy(&good, scratch_memory + this_case->a, this_case->b);
    race = (struct race){ .at = scratch_memory + this_case->a,
                          .width = (unsigned)this_case->b,
                          .values = { good, this_case->c } };
    CHECK(second_start(change, &race));
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t length;
        if (get(device, VIRTIO_MMIO_STATUS) != STATUS_RUNNING)
            CHECK(vsock_start());
        add_chain(device, 1, 0, &part, 1);
        kick(device, 1);
        /* The device waits when its answers are not taken: up to 64, and what the buffers hold. */
        while (!needs_reset(device) && *(volatile uint16_t *)&device->queues[1].rings->used.idx ==
                                           device->queues[1].next_used)
            (void)vsock_receive(&answer, NULL, 1 << 12);
        if (!needs_reset(device))
            (void)wait_used(device, 1, &length);
        (void)vsock_receive(&answer, NULL, 1 << 16);
    }
    second_join();
    return NULL;
}

/* Bytes of a connected stream flow while the second vCPU spoils the receive descriptors. */
static const char *receiving(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header, answer;
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_SOURCE + case_number));
    uint8_t *at = (uint8_t *)device->queues[0].rings->descriptors + this_case->a;
    uint64_t good = 0;
    memcpy(&good, at, this_case->b);
    race = (struct race){ .at = at,
                          .width = (unsigned)this_case->b,
                          .values = { good, this_case->c } };
    CHECK(second_start(change, &race));
    for (int i = 0; i < ROUNDS && !needs_reset(device); i++) {
        header = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE, PORT_SOURCE + case_number, 0);
        const struct part part = { (uint64_t)&header, HEADER, 0 };
        add_chain(device, 1, 0, &part, 1);
        kick(device, 1);
        (void)vsock_receive(&answer, NULL, 1 << 16);
    }
    second_join();
    return NULL;
}

/* Both vCPUs reset and start the same device. */
static void restart(void *argument)
{
    const struct race *r = argument;
    while (!second_stop) {
        reset(r->device);
        (void)negotiate(r->device, PLAIN);
    }
}

static const char *both_restart(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    race = (struct race){ .device = device };
    CHECK(second_start(restart, &race));
    for (int i = 0; i < 200; i++) {
        (void)start(device);
        kick(device, 0);
    }
    second_join();
    return NULL;
}

/* Both write to the serial port. */
static void write_serial(void *argument)
{
    (void)argument;
    while (!second_stop)
        out8(0x3f8 + 7, 'x'); /* the scratch register: the console's text stays readable */
}

static const char *both_serial(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    CHECK(second_start(write_serial, NULL));
    for (int i = 0; i < 5000; i++) {
        out8(0x3f8 + 7, 'y');
        (void)in8(0x3f8 + 7);
    }
    second_join();
    return NULL;
}

#define DESCRIPTOR(index, field)                                                                   \
    ((index) * sizeof(struct vring_desc) + offsetof(struct vring_desc, field))
#define PACKET(field)                                                                              \
    offsetof(struct virtio_vsock_hdr, field), sizeof(((struct virtio_vsock_hdr *)0)->field)

const struct hostile_case race_cases[] = {
    { "race.descriptor-address", descriptor, ON_DISKS, DESCRIPTOR(1, addr), 8, ~0ULL - 7 },
    { "race.descriptor-address-registers", descriptor, ON_SCRATCH, DESCRIPTOR(1, addr), 8,
      MMIO_BASE },
    { "race.descriptor-length", descriptor, ON_DISKS, DESCRIPTOR(1, len), 4, 0xffffffff },
    { "race.descriptor-length-0", descriptor, ON_SCRATCH, DESCRIPTOR(1, len), 4, 0 },
    { "race.descriptor-flags", descriptor, ON_DISKS, DESCRIPTOR(1, flags), 2, 0 },
    { "race.descriptor-indirect", descriptor, ON_SCRATCH, DESCRIPTOR(1, flags), 2, 7 },
    { "race.descriptor-next", descriptor, ON_DISKS, DESCRIPTOR(1, next), 2, 65535 },
    { "race.descriptor-loop", descriptor, ON_SCRATCH, DESCRIPTOR(1, next), 2, 0 },
    { "race.available-index", index_flickers, ON_DISKS, 0, 1, 0 },
    { "race.available-index-far", index_flickers, ON_DISKS, 1, 40000, 0 },
    { "race.used-ring", used_overwritten, ON_DISKS, 0, 0, 0 },
    { "race.request-type", header_changes, ON_SCRATCH, 0, 4, VIRTIO_BLK_T_GET_ID },
    { "race.request-sector", header_changes, ON_DISKS, 8, 8, ~0ULL },
    { "race.status-reset", registers, ON_ALL, VIRTIO_MMIO_STATUS, 0, STATUS_RUNNING },
    { "race.status-driver-ok", registers, ON_ALL, VIRTIO_MMIO_STATUS, 0xf, 0x8f },
    { "race.queue-size", registers, ON_ALL, VIRTIO_MMIO_QUEUE_NUM, 65535, 64 },
    { "race.queue-address", registers, ON_ALL, VIRTIO_MMIO_QUEUE_DESC_HIGH, ~0U, 0 },
    { "race.queue-ready", registers, ON_ALL, VIRTIO_MMIO_QUEUE_READY, 0, 1 },
    { "race.queue-select", registers, ON_ALL, VIRTIO_MMIO_QUEUE_SEL, 0, 0xffffffff },
    { "race.both-restart", both_restart, ON_QUEUES, 0, 0, 0 },
    { "race.packet-length", packet_changes, ON_VSOCK, PACKET(len), 0xffffffff },
    { "race.packet-length-1-beyond", packet_changes, ON_VSOCK, PACKET(len), 101 },
    { "race.packet-operation", packet_changes, ON_VSOCK, PACKET(op), 0 },
    { "race.packet-source", packet_changes, ON_VSOCK, PACKET(src_cid), 99 },
    { "race.buffer-address", receiving, ON_VSOCK, DESCRIPTOR(5, addr), 8, ~0ULL - 7 },
    { "race.buffer-length", receiving, ON_VSOCK, DESCRIPTOR(5, len), 4, 44 },
    { "race.serial", both_serial, ON_MACHINE, 0, 0, 0 },
    { .name = NULL },
};
