/* Registers: every access, status transitions, features, queue registers. */
#include "cases.h"

enum { REGISTERS = 0x200, SPARSE = 61 };

/* a: width. Reads each register, the configuration space, then the page in leaps. */
static const char *read_all(const struct hostile_case *this_case, struct device *device)
{
    unsigned width = (unsigned)this_case->a;
    for (uint64_t offset = 0; offset + width <= 0x1000; offset += offset < REGISTERS ? 1 : SPARSE)
        (void)mmio_read(device->base + offset, width);
    CHECK(get(device, VIRTIO_MMIO_MAGIC_VALUE) == 0x74726976);
    CHECK(get(device, VIRTIO_MMIO_DEVICE_ID) == device->id);
    return NULL;
}

/* a: width, b: value. */
static const char *write_all(const struct hostile_case *this_case, struct device *device)
{
    unsigned width = (unsigned)this_case->a;
    for (uint64_t offset = 0; offset + width <= 0x1000; offset += offset < REGISTERS ? 1 : SPARSE)
        mmio_write(device->base + offset, this_case->b, width);
    CHECK(get(device, VIRTIO_MMIO_MAGIC_VALUE) == 0x74726976);
    reset(device);
    CHECK(get(device, VIRTIO_MMIO_STATUS) == 0);
    return NULL;
}

/* The same while the device runs: only a reset changes what it does. */
static const char *write_all_running(const struct hostile_case *this_case, struct device *device)
{
    unsigned width = (unsigned)this_case->a;
    CHECK(start(device));
    for (uint64_t offset = 0; offset + width <= 0x1000; offset += offset < REGISTERS ? 1 : SPARSE) {
        if (offset != VIRTIO_MMIO_STATUS)
            mmio_write(device->base + offset, this_case->b, width);
    }
    CHECK(get(device, VIRTIO_MMIO_STATUS) == STATUS_RUNNING);
    if (device->id == 2) {
        static uint8_t sector[SECTOR];
        CHECK(disk_read(device, 0, sector, SECTOR) == VIRTIO_BLK_S_OK);
    }
    return NULL;
}

static const char *config_space(const struct hostile_case *this_case, struct device *device)
{
    uint64_t before = mmio_read(device->base + VIRTIO_MMIO_CONFIG, 8);
    (void)this_case;
    for (unsigned width = 1; width <= 8; width *= 2) {
        mmio_write(device->base + VIRTIO_MMIO_CONFIG, ~0ULL, width);
        CHECK(mmio_read(device->base + 0x1000 - width, width) == 0);
    }
    CHECK(mmio_read(device->base + VIRTIO_MMIO_CONFIG, 8) == before);
    return NULL;
}

/* a: the status written after a reset, b: bits that must be set then, c: bits that must not. */
static const char *status(const struct hostile_case *this_case, struct device *device)
{
    reset(device);
    set(device, VIRTIO_MMIO_STATUS, (uint32_t)this_case->a);
    uint32_t now = get(device, VIRTIO_MMIO_STATUS);
    CHECK((now & this_case->b) == this_case->b);
    CHECK((now & this_case->c) == 0);
    return NULL;
}

static const char *status_taken_back(const struct hostile_case *this_case, struct device *device)
{
    CHECK(start(device));
    set(device, VIRTIO_MMIO_STATUS, (uint32_t)this_case->a);
    CHECK(get(device, VIRTIO_MMIO_STATUS) == STATUS_RUNNING);
    return NULL;
}

static const char *status_failed(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    CHECK(start(device));
    set(device, VIRTIO_MMIO_STATUS, STATUS_RUNNING | VIRTIO_CONFIG_S_FAILED);
    kick(device, 0);
    CHECK(get(device, VIRTIO_MMIO_STATUS) == (STATUS_RUNNING | VIRTIO_CONFIG_S_FAILED));
    return NULL;
}

/* a: features that must not be accepted. */
static const char *features(const struct hostile_case *this_case, struct device *device)
{
    CHECK(!negotiate(device, this_case->a));
    CHECK((get(device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK) == 0);
    driver_ok(device); /* all the same */
    CHECK(needs_reset(device));
    return NULL;
}

static const char *features_after_ok(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    CHECK(negotiate(device, PLAIN));
    set(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    set(device, VIRTIO_MMIO_DRIVER_FEATURES, ~0U);
    set_own_queue(device, 0, QUEUE_SIZE);
    driver_ok(device);
    CHECK(get(device, VIRTIO_MMIO_STATUS) == STATUS_RUNNING);
    return NULL;
}

/* a: selector. */
static const char *features_select(const struct hostile_case *this_case, struct device *device)
{
    reset(device);
    set(device, VIRTIO_MMIO_DEVICE_FEATURES_SEL, (uint32_t)this_case->a);
    CHECK(get(device, VIRTIO_MMIO_DEVICE_FEATURES) == 0);
    set(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, (uint32_t)this_case->a);
    set(device, VIRTIO_MMIO_DRIVER_FEATURES, ~0U);
    return NULL;
}

/* a: number of a queue that does not exist. */
static const char *queue_select(const struct hostile_case *this_case, struct device *device)
{
    CHECK(negotiate(device, PLAIN));
    set_queue(device, (uint32_t)this_case->a, QUEUE_SIZE, 0x1000, 0x2000, 0x3000);
    CHECK(get(device, VIRTIO_MMIO_QUEUE_NUM_MAX) == 0);
    CHECK(get(device, VIRTIO_MMIO_QUEUE_READY) == 0);
    CHECK(!needs_reset(device));
    return NULL;
}

/* a: size. */
static const char *queue_size(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = (struct rings *)scratch_memory;
    CHECK(negotiate(device, PLAIN));
    set_queue(device, 0, (uint32_t)this_case->a, (uint64_t)rings->descriptors,
              (uint64_t)&rings->available, (uint64_t)&rings->used);
    CHECK(needs_reset(device));
    CHECK(get(device, VIRTIO_MMIO_QUEUE_READY) == 0);
    return NULL;
}

static const char *queue_ready_first(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    CHECK(negotiate(device, PLAIN));
    set(device, VIRTIO_MMIO_QUEUE_SEL, 0);
    set(device, VIRTIO_MMIO_QUEUE_READY, 1);
    CHECK(needs_reset(device));
    driver_ok(device);
    kick(device, 0);
    CHECK(needs_reset(device));
    return NULL;
}

enum { DESCRIPTORS, AVAILABLE, USED };
/* Beyond numbers: places that depend on the machine. */
#define FROM_RAM_END (1ULL << 62) /* the low bits are subtracted from the end of RAM */

static uint64_t place(uint64_t code)
{
    if (code == ~0ULL || code >> 63)
        return code;
    if (code & FROM_RAM_END)
        return ram_end - (code & ~FROM_RAM_END);
    return code;
}

/* a: which area, b: its address. */
static const char *queue_area(const struct hostile_case *this_case, struct device *device)
{
    struct rings *rings = (struct rings *)scratch_memory;
    uint64_t areas[3] = { (uint64_t)rings->descriptors, (uint64_t)&rings->available,
                          (uint64_t)&rings->used };
    areas[this_case->a] = place(this_case->b);
    CHECK(negotiate(device, PLAIN));
    set_queue(device, 0, QUEUE_SIZE, areas[0], areas[1], areas[2]);
    CHECK(needs_reset(device));
    CHECK(get(device, VIRTIO_MMIO_QUEUE_READY) == 0);
    driver_ok(device);
    kick(device, 0);
    return NULL;
}

/* Up to the last byte of RAM is allowed. */
static const char *queue_at_end(const struct hostile_case *this_case, struct device *device)
{
    const uint64_t used_bytes = sizeof(uint16_t) * 3 + sizeof(struct vring_used_elem) * QUEUE_SIZE;
    struct rings *rings = (struct rings *)scratch_memory;
    (void)this_case;
    CHECK(negotiate(device, PLAIN));
    set_queue(device, 0, QUEUE_SIZE, (uint64_t)rings->descriptors, (uint64_t)&rings->available,
              (ram_end - used_bytes) & ~3ULL);
    CHECK(!needs_reset(device));
    return NULL;
}

/* CVE-2026-5747. a: register, b: value; written after DRIVER_OK. */
static const char *changed_later(const struct hostile_case *this_case, struct device *device)
{
    CHECK(start(device));
    set(device, VIRTIO_MMIO_QUEUE_SEL, 0);
    set(device, (uint32_t)this_case->a, (uint32_t)this_case->b);
    set(device, VIRTIO_MMIO_QUEUE_READY, 1);
    CHECK(get(device, VIRTIO_MMIO_QUEUE_READY) == 1);
    CHECK(!needs_reset(device));
    if (device->id == 2) {
        static uint8_t sector[SECTOR];
        CHECK(disk_read(device, 0, sector, SECTOR) == VIRTIO_BLK_S_OK);
    } else {
        kick(device, 0);
    }
    return NULL;
}

static const char *changed_while_ready(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    CHECK(negotiate(device, PLAIN));
    set_own_queue(device, 0, QUEUE_SIZE);
    set_queue(device, 0, 65535, ~0ULL, ~0ULL, ~0ULL); /* does not count: it is ready */
    CHECK(!needs_reset(device));
    CHECK(get(device, VIRTIO_MMIO_QUEUE_READY) == 1);
    set(device, VIRTIO_MMIO_QUEUE_READY, 0);
    set(device, VIRTIO_MMIO_QUEUE_NUM, 65535); /* now it does */
    set(device, VIRTIO_MMIO_QUEUE_READY, 1);
    CHECK(needs_reset(device));
    return NULL;
}

static const char *kick_early(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    reset(device);
    for (unsigned i = 0; i < QUEUES; i++)
        kick(device, i);
    CHECK(negotiate(device, PLAIN));
    for (unsigned i = 0; i < QUEUES; i++)
        kick(device, i);
    set_own_queue(device, 0, QUEUE_SIZE);
    device->queues[0].rings->available.idx = 1;
    kick(device, 0);
    CHECK(get(device, VIRTIO_MMIO_STATUS) == STATUS_READY);
    return NULL;
}

/* Only one queue of those it has is ever made ready. */
static const char *kick_unready(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    CHECK(negotiate(device, PLAIN));
    driver_ok(device);
    for (unsigned i = 0; i < 3 * QUEUES; i++)
        kick(device, i);
    CHECK(get(device, VIRTIO_MMIO_STATUS) == STATUS_RUNNING);
    return NULL;
}

/* a: width, b: value. */
static const char *kick_strangely(const struct hostile_case *this_case, struct device *device)
{
    CHECK(start(device));
    for (int i = 0; i < 100; i++)
        mmio_write(device->base + VIRTIO_MMIO_QUEUE_NOTIFY, this_case->b, (unsigned)this_case->a);
    CHECK(get(device, VIRTIO_MMIO_STATUS) == STATUS_RUNNING);
    return NULL;
}

static const char *kick_flood(const struct hostile_case *this_case, struct device *device)
{
    CHECK(start(device));
    for (uint64_t i = 0; i < this_case->a; i++)
        kick(device, (unsigned)(i % device->queue_count));
    CHECK(get(device, VIRTIO_MMIO_STATUS) == STATUS_RUNNING);
    return NULL;
}

static const char *reset_flood(const struct hostile_case *this_case, struct device *device)
{
    for (uint64_t i = 0; i < this_case->a; i++) {
        CHECK(start(device));
        kick(device, 0);
    }
    return NULL;
}

static const char *acknowledge(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    CHECK(start(device));
    set(device, VIRTIO_MMIO_INTERRUPT_ACK, ~0U);
    CHECK(get(device, VIRTIO_MMIO_INTERRUPT_STATUS) == 0);
    mmio_write(device->base + VIRTIO_MMIO_INTERRUPT_STATUS, ~0U, 4);
    CHECK(get(device, VIRTIO_MMIO_INTERRUPT_STATUS) == 0);
    return NULL;
}

#define AREA(name, which, address)                                                                 \
    {                                                                                              \
        "ring." name, queue_area, ON_ALL, which, address, 0                                        \
    }

const struct hostile_case transport_cases[] = {
    { "registers.read-1", read_all, ON_ALL, 1, 0, 0 },
    { "registers.read-2", read_all, ON_ALL, 2, 0, 0 },
    { "registers.read-4", read_all, ON_ALL, 4, 0, 0 },
    { "registers.read-8", read_all, ON_ALL, 8, 0, 0 },
    { "registers.write-1-ones", write_all, ON_ALL, 1, ~0ULL, 0 },
    { "registers.write-2-ones", write_all, ON_ALL, 2, ~0ULL, 0 },
    { "registers.write-4-ones", write_all, ON_ALL, 4, ~0ULL, 0 },
    { "registers.write-8-ones", write_all, ON_ALL, 8, ~0ULL, 0 },
    { "registers.write-4-zeros", write_all, ON_ALL, 4, 0, 0 },
    { "registers.write-4-running", write_all_running, ON_ALL, 4, 0x55555555, 0 },
    { "registers.write-8-running", write_all_running, ON_ALL, 8, ~0ULL, 0 },
    { "registers.config-space", config_space, ON_ALL, 0, 0, 0 },
    { "registers.interrupt-ack", acknowledge, ON_ALL, 0, 0, 0 },
    { "status.driver-ok-first", status, ON_ALL, STATUS_RUNNING, VIRTIO_CONFIG_S_NEEDS_RESET,
      VIRTIO_CONFIG_S_DRIVER_OK },
    { "status.unknown-bits", status, ON_ALL, 0xffffff33, 3, 0xffffff3c },
    { "status.needs-reset-by-driver", status, ON_ALL, 0x43, 3, 0x40 },
    { "status.taken-back", status_taken_back, ON_ALL, 1, 0, 0 },
    { "status.failed", status_failed, ON_ALL, 0, 0, 0 },
    { "features.none", features, ON_ALL, 0, 0, 0 },
    { "features.all", features, ON_ALL, ~0ULL, 0, 0 },
    { "features.indirect", features, ON_ALL, PLAIN | 1ULL << VIRTIO_RING_F_INDIRECT_DESC, 0, 0 },
    { "features.packed-ring", features, ON_ALL, PLAIN | 1ULL << VIRTIO_F_RING_PACKED, 0, 0 },
    { "features.legacy-only", features, ON_ALL, 1ULL << VIRTIO_RING_F_EVENT_IDX, 0, 0 },
    { "features.after-features-ok", features_after_ok, ON_ALL, 0, 0, 0 },
    { "features.select-2", features_select, ON_ALL, 2, 0, 0 },
    { "features.select-max", features_select, ON_ALL, 0xffffffff, 0, 0 },
    { "queue.select-3", queue_select, ON_ALL, 3, 0, 0 },
    { "queue.select-max", queue_select, ON_ALL, 0xffffffff, 0, 0 },
    { "queue.size-0", queue_size, ON_ALL, 0, 0, 0 },
    { "queue.size-3", queue_size, ON_ALL, 3, 0, 0 },
    { "queue.size-512", queue_size, ON_ALL, 512, 0, 0 },
    { "queue.size-32768", queue_size, ON_ALL, 32768, 0, 0 },
    { "queue.size-65535", queue_size, ON_ALL, 65535, 0, 0 },
    { "queue.size-65600", queue_size, ON_ALL, 65536 + QUEUE_SIZE, 0, 0 },
    { "queue.size-max", queue_size, ON_ALL, 0xffffffff, 0, 0 },
    { "queue.ready-before-addresses", queue_ready_first, ON_ALL, 0, 0, 0 },
    { "queue.changed-while-ready", changed_while_ready, ON_ALL, 0, 0, 0 },
    { "queue.size-after-driver-ok", changed_later, ON_ALL, VIRTIO_MMIO_QUEUE_NUM, 65535, 0 },
    { "queue.address-after-driver-ok", changed_later, ON_ALL, VIRTIO_MMIO_QUEUE_DESC_HIGH, ~0U, 0 },
    { "queue.unready-after-driver-ok", changed_later, ON_ALL, VIRTIO_MMIO_QUEUE_READY, 0, 0 },
    { "queue.ends-with-ram", queue_at_end, ON_ALL, 0, 0, 0 },
    AREA("descriptors-misaligned", DESCRIPTORS, 0x400008),
    AREA("available-misaligned", AVAILABLE, 0x400001),
    AREA("used-misaligned", USED, 0x400002),
    AREA("descriptors-outside-ram", DESCRIPTORS, FROM_RAM_END),
    AREA("available-outside-ram", AVAILABLE, FROM_RAM_END),
    AREA("used-outside-ram", USED, FROM_RAM_END),
    AREA("descriptors-straddle-end", DESCRIPTORS, FROM_RAM_END | 16),
    AREA("available-straddle-end", AVAILABLE, FROM_RAM_END | 4),
    AREA("used-straddle-end", USED, FROM_RAM_END | 4),
    AREA("descriptors-wrap", DESCRIPTORS, ~0ULL - 15),
    AREA("available-wrap", AVAILABLE, ~0ULL - 1),
    AREA("used-wrap", USED, ~0ULL - 3),
    AREA("descriptors-in-registers", DESCRIPTORS, MMIO_BASE),
    AREA("available-in-registers", AVAILABLE, MMIO_BASE),
    AREA("used-in-apic", USED, 0xfee00000),
    { "kick.before-ready", kick_early, ON_ALL, 0, 0, 0 },
    { "kick.queue-never-ready", kick_unready, ON_ALL, 0, 0, 0 },
    { "kick.no-such-queue", kick_strangely, ON_ALL, 4, 0xffffffff, 0 },
    { "kick.width-1", kick_strangely, ON_ALL, 1, 0, 0 },
    { "kick.width-2", kick_strangely, ON_ALL, 2, 0, 0 },
    { "kick.width-8", kick_strangely, ON_ALL, 8, 0, 0 },
    { "kick.flood", kick_flood, ON_ALL, 20000, 0, 0 },
    { "reset.flood", reset_flood, ON_ALL, 100, 0, 0 },
    { .name = NULL },
};
