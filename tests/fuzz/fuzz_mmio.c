/* link: vmm */
/* Sequences of register accesses to three devices through the bus, at any address and width. */
#include "driver.h"

#include "vmm/bus.h"
#include "vmm/virtio/blk.h"
#include "vmm/virtio/rng.h"
#include "vmm/virtio/vsock.h"

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ACCESSES = 256, DISK_BYTES = 8192 };

static struct {
    struct guest guest;
    struct loop loop;
    struct blk disk;
    struct vsock vsock;
    struct rng rng;
    struct bus bus;
} machine;

static void create(void)
{
    struct error err;
    int fd = memfd_create("disk", MFD_CLOEXEC);
    assert(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
    guest_create(&machine.guest);
    assert(loop_create(&machine.loop, &err) == 0);
    assert(blk_create(&machine.disk, &machine.guest.memory, &fd, 1, 512, false, "fuzz", &err) == 0);
    assert(rng_create(&machine.rng, &machine.guest.memory, &err) == 0);
    assert(vsock_create(&machine.vsock, &machine.guest.memory, &machine.loop, &err) == 0);
    machine.bus = (struct bus){ .base = 0xd0000000,
                                .devices = { &machine.disk.device, &machine.vsock.device,
                                             &machine.rng.device },
                                .device_count = 3 };
}

/* A register of a device by its number, which the fuzzer finds faster than by its address. */
static void named_write(struct input *input, uint8_t which)
{
    static const uint16_t REGISTERS[] = {
        VIRTIO_MMIO_STATUS,           VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_MMIO_DRIVER_FEATURES,
        VIRTIO_MMIO_QUEUE_SEL,        VIRTIO_MMIO_QUEUE_NUM,           VIRTIO_MMIO_QUEUE_READY,
        VIRTIO_MMIO_QUEUE_DESC_LOW,   VIRTIO_MMIO_QUEUE_DESC_HIGH,     VIRTIO_MMIO_QUEUE_AVAIL_LOW,
        VIRTIO_MMIO_QUEUE_AVAIL_HIGH, VIRTIO_MMIO_QUEUE_USED_LOW,      VIRTIO_MMIO_QUEUE_USED_HIGH,
    };
    uint64_t address = machine.bus.base + (uint64_t)(which & 3U) * VIRTIO_MMIO_SIZE +
                       REGISTERS[(which >> 2) % (sizeof REGISTERS / sizeof REGISTERS[0])];
    uint32_t value = input_16(input);
    bus_write(&machine.bus, address, &value, sizeof value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    struct error err;
    const uint32_t none = 0;
    if (!machine.guest.memory.region_count)
        create();
    for (int i = 0; i < ACCESSES && input.left > 0; i++) {
        uint8_t what = input_8(&input);
        uint64_t value = 0;
        if (what & 1) {
            named_write(&input, what >> 1);
            continue;
        }
        uint64_t address = machine.bus.base + input_16(&input) - 256;
        uint32_t width = 1U << ((what >> 2) & 3);
        if (what & 2)
            bus_read(&machine.bus, address, &value, width);
        value = input_64(&input);
        if (!(what & 2))
            bus_write(&machine.bus, address, &value, width);
        (void)virtio_device_process(&machine.disk.device, 0);
        (void)virtio_device_process(&machine.rng.device, 0);
        assert(loop_turn(&machine.loop, 0, &err) == 0);
    }
    for (size_t i = 0; i < machine.bus.device_count; i++) {
        struct virtio_device *device = machine.bus.devices[i];
        bus_write(&machine.bus, machine.bus.base + i * VIRTIO_MMIO_SIZE + VIRTIO_MMIO_STATUS, &none,
                  sizeof none);
        assert(device->status == 0 && !device->queues[0].ready);
    }
    return 0;
}
