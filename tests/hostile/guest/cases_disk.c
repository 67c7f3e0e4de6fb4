/* Disk requests. */
#include "cases.h"

/* a: request type, b: sector (FROM_END: counted back from the last + 1), c: bytes. Must fail. */
#define FROM_END (1ULL << 62)

static uint64_t sector_of(const struct device *device, uint64_t code)
{
    return !(code >> 63) && (code & FROM_END) ? disk_sectors(device) - (code & ~FROM_END) : code;
}

static int request(const struct hostile_case *this_case, struct device *device)
{
    const bool from_disk = this_case->a == VIRTIO_BLK_T_IN || this_case->a == VIRTIO_BLK_T_GET_ID;
    const struct part part = { (uint64_t)scratch_memory, (uint32_t)this_case->c,
                               from_disk ? VRING_DESC_F_WRITE : 0 };
    return disk_request(device, (uint32_t)this_case->a, sector_of(device, this_case->b), &part,
                        this_case->c > 0);
}

static const char *refused(const struct hostile_case *this_case, struct device *device)
{
    CHECK(start(device));
    int status = request(this_case, device);
    CHECK(status == VIRTIO_BLK_S_IOERR || status == VIRTIO_BLK_S_UNSUPP);
    CHECK(!needs_reset(device));
    return NULL;
}

static const char *done(const struct hostile_case *this_case, struct device *device)
{
    CHECK(start(device));
    CHECK(request(this_case, device) == VIRTIO_BLK_S_OK);
    return NULL;
}

/* a: type, b: sector, c: sectors in the low half, flags above. Must fail. */
static const char *discard(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_blk_discard_write_zeroes *range = (void *)scratch_memory;
    const struct part part = { (uint64_t)range, sizeof *range, 0 };
    *range = (struct virtio_blk_discard_write_zeroes){ .sector = sector_of(device, this_case->b),
                                                       .num_sectors = (uint32_t)this_case->c,
                                                       .flags = (uint32_t)(this_case->c >> 32) };
    CHECK(start(device));
    int status = disk_request(device, (uint32_t)this_case->a, 0, &part, 1);
    CHECK(status == VIRTIO_BLK_S_IOERR || status == VIRTIO_BLK_S_UNSUPP);
    return NULL;
}

/* a: bytes of the range's structure that are there. */
static const char *discard_cut(const struct hostile_case *this_case, struct device *device)
{
    const struct part part = { (uint64_t)scratch_memory, (uint32_t)this_case->a, 0 };
    memset(scratch_memory, 0, 64);
    CHECK(start(device));
    int status = disk_request(device, VIRTIO_BLK_T_DISCARD, 0, &part, 1);
    CHECK(status == VIRTIO_BLK_S_IOERR || status == VIRTIO_BLK_S_UNSUPP);
    return NULL;
}

/* a: bytes of the header that are there, b: of the status. */
static const char *misshapen(const struct hostile_case *this_case, struct device *device)
{
    struct part parts[2];
    size_t count = 0;
    if (this_case->a > 0)
        parts[count++] = (struct part){ (uint64_t)scratch_memory, (uint32_t)this_case->a, 0 };
    if (this_case->b > 0)
        parts[count++] = (struct part){ (uint64_t)scratch_memory + PAGE, (uint32_t)this_case->b,
                                        VRING_DESC_F_WRITE };
    memset(scratch_memory, 0, 64);
    CHECK(start(device));
    add_chain(device, 0, 0, parts, count);
    kick(device, 0);
    CHECK(wait_needs_reset(device));
    CHECK(device->queues[0].rings->used.idx == 0);
    return NULL;
}

/* One request of a: MiB in pieces that are all the same memory. b: type. Must fail. */
static const char *huge(const struct hostile_case *this_case, struct device *device)
{
    struct part parts[QUEUE_SIZE - 2];
    for (uint64_t i = 0; i < this_case->a; i++)
        parts[i] = (struct part){ (uint64_t)scratch_memory, sizeof scratch_memory,
                                  this_case->b == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0 };
    CHECK(start(device));
    CHECK(disk_request(device, (uint32_t)this_case->b, 0, parts, this_case->a) ==
          VIRTIO_BLK_S_IOERR);
    return NULL;
}

/* The header in 16 parts, the status in the last byte of RAM. */
static const char *in_pieces(const struct hostile_case *this_case, struct device *device)
{
    struct part parts[18];
    uint32_t length;
    (void)this_case;
    memset(scratch_memory, 0, 64);
    for (size_t i = 0; i < 16; i++)
        parts[i] = (struct part){ (uint64_t)scratch_memory + i, 1, 0 };
    parts[16] = (struct part){ (uint64_t)scratch_memory + PAGE, SECTOR, VRING_DESC_F_WRITE };
    parts[17] = (struct part){ ram_end - 1, 1, VRING_DESC_F_WRITE };
    *(volatile uint8_t *)(ram_end - 1) = 0xaa;
    CHECK(start(device));
    add_chain(device, 0, 0, parts, 18);
    kick(device, 0);
    CHECK(wait_used(device, 0, &length));
    CHECK(length == SECTOR + 1 && *(volatile uint8_t *)(ram_end - 1) == VIRTIO_BLK_S_OK);
    return NULL;
}

/* All chains are the same descriptors, data and status too. */
static const char *shared_descriptors(const struct hostile_case *this_case, struct device *device)
{
    uint32_t length;
    (void)this_case;
    CHECK(start(device));
    memset(scratch_memory, 0, 64);
    const struct part parts[] = { { (uint64_t)scratch_memory, 16, 0 },
                                  { (uint64_t)scratch_memory, SECTOR, VRING_DESC_F_WRITE } };
    for (int i = 0; i < QUEUE_SIZE; i++)
        add_chain(device, 0, 0, parts, 2);
    kick(device, 0);
    CHECK(wait_used(device, 0, &length));
    return NULL;
}

/* Resets the disk a: times while it reads. Nothing is written to memory after a reset. */
static const char *reset_in_flight(const struct hostile_case *this_case, struct device *device)
{
    static uint8_t canary[16 * PAGE] __attribute__((aligned(4096)));
    struct virtio_blk_outhdr *header = (struct virtio_blk_outhdr *)scratch_memory;
    *header = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN };
    for (uint64_t round = 0; round < this_case->a; round++) {
        CHECK(start(device));
        const struct part parts[] = { { (uint64_t)header, sizeof *header, 0 },
                                      { (uint64_t)canary, sizeof canary, VRING_DESC_F_WRITE },
                                      { (uint64_t)scratch_memory + PAGE, 1, VRING_DESC_F_WRITE } };
        for (int i = 0; i < 16; i++)
            add_chain(device, 0, (uint16_t)(3 * i), parts, 3);
        kick(device, 0);
        wait_ticks(round << 14);
        reset(device);
        memset(canary, 0x5a, sizeof canary);
        wait_ticks(1 << 20);
        for (size_t i = 0; i < sizeof canary; i += SECTOR)
            CHECK(canary[i] == 0x5a);
    }
    return NULL;
}

/*
 * A queue that feeds itself: each request reads a sector over the available ring and its own
 * header, which so makes the next request available, for ever. The sectors are the host's (run.py).
 * The registers must answer and a reset must end it.
 */
enum { PROGRAM_START = 1024, PROGRAM_QUEUE = 8 };

static const char *feeds_itself(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = (struct rings *)scratch_memory;
    uint8_t *area = (uint8_t *)&rings->available; /* the ring, and at byte 32 the header */
    struct virtio_blk_outhdr *header = (struct virtio_blk_outhdr *)(area + 32);
    memset(rings, 0, sizeof *rings);
    *header = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN, .sector = PROGRAM_START };
    const struct vring_desc chain[] = {
        { (uint64_t)header, sizeof *header, VRING_DESC_F_NEXT, 1 },
        { (uint64_t)area, SECTOR, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2 },
        { (uint64_t)scratch_memory + sizeof scratch_memory - 1, 1, VRING_DESC_F_WRITE, 0 },
    };
    memcpy(rings->descriptors, chain, sizeof chain);
    CHECK(negotiate(device, PLAIN));
    set_queue(device, 0, PROGRAM_QUEUE, (uint64_t)rings->descriptors, (uint64_t)area,
              (uint64_t)&rings->used);
    driver_ok(device);
    *(volatile uint16_t *)(area + 2) = 1;
    kick(device, 0);
    const volatile uint16_t *used = &rings->used.idx;
    uint64_t since = clock_ticks(), left = since;
    while (*used < 100 && clock_ticks() - since < PATIENCE)
        wait_turn(&left);
    CHECK(*used >= 100);
    for (int i = 0; i < 50; i++)
        CHECK(get(device, VIRTIO_MMIO_STATUS) == STATUS_RUNNING);
    if (this_case->a) /* the machine ends while it goes on */
        machine_reset();
    reset(device);
    uint16_t seen = *used;
    wait_ticks(1 << 26);
    CHECK(*used == seen);
    return NULL;
}

#define READ  VIRTIO_BLK_T_IN
#define WRITE VIRTIO_BLK_T_OUT

const struct hostile_case disk_cases[] = {
    { "disk.read-behind-end", refused, ON_DISKS, READ, FROM_END | 0, SECTOR },
    { "disk.read-across-end", refused, ON_DISKS, READ, FROM_END | 1, 2UL * SECTOR },
    { "disk.read-last-sector", done, ON_DISKS, READ, FROM_END | 1, SECTOR },
    { "disk.read-sector-max", refused, ON_DISKS, READ, ~0ULL, SECTOR },
    { "disk.read-sector-wraps", refused, ON_DISKS, READ, ~0ULL / SECTOR, 2UL * SECTOR },
    { "disk.read-sector-2^55", refused, ON_DISKS, READ, 1ULL << 55, SECTOR },
    { "disk.read-511-bytes", refused, ON_DISKS, READ, 0, 511 },
    { "disk.read-513-bytes", refused, ON_DISKS, READ, 0, 513 },
    { "disk.read-0-bytes", done, ON_DISKS, READ, 0, 0 },
    { "disk.read-16-mib", huge, ON_DISKS, 16, READ, 0 },
    { "disk.read-62-mib", huge, ON_DISKS, 62, READ, 0 },
    { "disk.write-behind-end", refused, ON_DISKS, WRITE, FROM_END | 0, SECTOR },
    { "disk.write-across-end", refused, ON_DISKS, WRITE, FROM_END | 1, 2UL * SECTOR },
    { "disk.write-sector-max", refused, ON_DISKS, WRITE, ~0ULL, SECTOR },
    { "disk.write-511-bytes", refused, ON_DISKS, WRITE, 0, 511 },
    { "disk.write-62-mib", huge, ON_SCRATCH, 62, WRITE, 0 },
    { "disk.write-read-only", refused, ON_LAYERS, WRITE, 0, SECTOR },
    { "disk.unknown-type", refused, ON_DISKS, 0x7777, 0, SECTOR },
    { "disk.unknown-type-max", refused, ON_DISKS, 0xffffffff, 0, SECTOR },
    { "disk.scsi-command", refused, ON_DISKS, VIRTIO_BLK_T_SCSI_CMD, 0, SECTOR },
    { "disk.id-too-short", refused, ON_DISKS, VIRTIO_BLK_T_GET_ID, 0, 19 },
    { "disk.secure-erase", discard, ON_DISKS, VIRTIO_BLK_T_SECURE_ERASE, 0, 8 },
    { "disk.discard-read-only", discard, ON_LAYERS, VIRTIO_BLK_T_DISCARD, 0, 8 },
    { "disk.zeroes-read-only", discard, ON_LAYERS, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8 },
    { "disk.discard-behind-end", discard, ON_SCRATCH, VIRTIO_BLK_T_DISCARD, FROM_END | 0, 1 },
    { "disk.discard-across-end", discard, ON_SCRATCH, VIRTIO_BLK_T_DISCARD, FROM_END | 1, 2 },
    { "disk.discard-sector-max", discard, ON_SCRATCH, VIRTIO_BLK_T_DISCARD, ~0ULL, 1 },
    { "disk.discard-0-sectors", discard, ON_SCRATCH, VIRTIO_BLK_T_DISCARD, 0, 0 },
    { "disk.discard-too-many", discard, ON_SCRATCH, VIRTIO_BLK_T_DISCARD, 0, 0xffffffff },
    { "disk.discard-flags", discard, ON_SCRATCH, VIRTIO_BLK_T_DISCARD, 0, 8 | 1ULL << 32 },
    { "disk.zeroes-flags", discard, ON_SCRATCH, VIRTIO_BLK_T_WRITE_ZEROES, 0,
      8 | 0xfffffffeULL << 32 },
    { "disk.zeroes-across-end", discard, ON_SCRATCH, VIRTIO_BLK_T_WRITE_ZEROES, FROM_END | 1, 2 },
    { "disk.discard-range-1-byte", discard_cut, ON_SCRATCH, 1, 0, 0 },
    { "disk.discard-range-15-bytes", discard_cut, ON_SCRATCH, 15, 0, 0 },
    { "disk.discard-two-ranges", discard_cut, ON_SCRATCH, 32, 0, 0 },
    { "disk.no-status", misshapen, ON_DISKS, 16, 0, 0 },
    { "disk.no-header", misshapen, ON_DISKS, 0, 17, 0 },
    { "disk.header-15-bytes", misshapen, ON_DISKS, 15, 1, 0 },
    { "disk.in-pieces", in_pieces, ON_DISKS, 0, 0, 0 },
    { "disk.shared-descriptors", shared_descriptors, ON_DISKS, 0, 0, 0 },
    { "disk.reset-in-flight", reset_in_flight, ON_DISKS, 20, 0, 0 },
    { "disk.feeds-itself", feeds_itself, ON_SCRATCH, 0, 0, 0 },
    { .name = NULL },
};
