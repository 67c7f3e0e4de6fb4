/* RAM on both sides of the gap below 4 GiB: a machine of its own (run.py), with these cases only.
 */
#include "cases.h"

#define BOUNDARY (1ULL << 32) /* RAM goes on here */

enum { LOW_END, HIGH_START, HIGH_END }; /* what an address is counted from */

static uint64_t place(uint64_t from, uint64_t before)
{
    const uint64_t ends[] = { ram_end, BOUNDARY, high_ram_start + high_ram_size };
    return ends[from] - before;
}

/* A sector read to an address. a: counted from, b: bytes before it, c: whether that is RAM. */
static const char *read_to(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_blk_outhdr *header = (struct virtio_blk_outhdr *)scratch_memory;
    const uint64_t address = place(this_case->a, this_case->b);
    const struct part parts[] = {
        { (uint64_t)header, sizeof *header, 0 },
        { address, SECTOR, VRING_DESC_F_WRITE },
        { (uint64_t)scratch_memory + PAGE, 1, VRING_DESC_F_WRITE },
    };
    uint32_t length;
    *header = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN, .sector = 3 };
    CHECK(high_ram_start == BOUNDARY && high_ram_size > 0);
    CHECK(start(device));
    add_chain(device, 0, 0, parts, 3);
    kick(device, 0);
    if (!this_case->c) {
        CHECK(wait_needs_reset(device));
        return NULL;
    }
    CHECK(wait_used(device, 0, &length));
    CHECK(memcmp((const void *)address, "layers ", 7) == 0 ||
          memcmp((const void *)address, "scratch", 7) == 0);
    return NULL;
}

/* One descriptor over RAM, gap and RAM again. */
static const char *over_the_gap(const struct hostile_case *this_case, struct device *device)
{
    const struct part part = { ram_end - PAGE, 0x50000000, VRING_DESC_F_WRITE };
    (void)this_case;
    CHECK(ram_end - PAGE + part.length > BOUNDARY);
    CHECK(start(device));
    add_chain(device, device->id == 2 ? 0 : 1, 0, &part, 1);
    kick(device, device->id == 2 ? 0 : 1);
    CHECK(wait_needs_reset(device));
    return NULL;
}

/* The rings. a: counted from, b: bytes before it, c: whether that is RAM as a whole. */
static const char *rings_at(const struct hostile_case *this_case, struct device *device)
{
    const uint64_t address = place(this_case->a, this_case->b);
    const uint64_t bytes = sizeof(struct rings);
    CHECK(negotiate(device, PLAIN));
    if (this_case->c)
        memset((void *)address, 0, bytes);
    set_queue(device, 0, QUEUE_SIZE, address, address + offsetof(struct rings, available),
              address + offsetof(struct rings, used));
    CHECK(needs_reset(device) == !this_case->c);
    return NULL;
}

const struct hostile_case region_cases[] = {
    { "regions.data-at-high-start", read_to, ON_DISKS, HIGH_START, 0, 1 },
    { "regions.data-at-high-end", read_to, ON_DISKS, HIGH_END, SECTOR, 1 },
    { "regions.data-across-high-end", read_to, ON_DISKS, HIGH_END, SECTOR - 1, 0 },
    { "regions.data-behind-high-end", read_to, ON_DISKS, HIGH_END, 0, 0 },
    { "regions.data-at-low-end", read_to, ON_DISKS, LOW_END, SECTOR, 1 },
    { "regions.data-across-low-end", read_to, ON_DISKS, LOW_END, SECTOR - 1, 0 },
    { "regions.data-across-4-gib", read_to, ON_DISKS, HIGH_START, 1, 0 },
    { "regions.data-over-the-gap", over_the_gap, ON_ALL, 0, 0, 0 },
    { "regions.rings-at-high-start", rings_at, ON_ALL, HIGH_START, 0, 1 },
    { "regions.rings-across-4-gib", rings_at, ON_ALL, HIGH_START, 16, 0 },
    { "regions.rings-across-low-end", rings_at, ON_ALL, LOW_END, 16, 0 },
    { "regions.rings-across-high-end", rings_at, ON_ALL, HIGH_END, 16, 0 },
    { .name = NULL },
};
