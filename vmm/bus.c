#include "vmm/bus.h"

#include "vmm/virtio/mmio.h"

#include <string.h>

/* The device at address, or NULL; *offset is the place in its page. */
static struct virtio_device *bus_find(const struct bus *bus, uint64_t address, uint32_t length,
                                      uint64_t *offset)
{
    if (address < bus->base)
        return NULL;
    uint64_t index = (address - bus->base) / VIRTIO_MMIO_SIZE;
    *offset = (address - bus->base) % VIRTIO_MMIO_SIZE;
    if (index >= bus->device_count || *offset + length > VIRTIO_MMIO_SIZE)
        return NULL;
    return bus->devices[index];
}

void bus_read(const struct bus *bus, uint64_t address, void *data, uint32_t length)
{
    uint64_t offset;
    struct virtio_device *device = bus_find(bus, address, length, &offset);
    if (device)
        virtio_mmio_read(device, offset, data, length);
    else
        memset(data, 0xff, length);
}

void bus_write(const struct bus *bus, uint64_t address, const void *data, uint32_t length)
{
    uint64_t offset;
    struct virtio_device *device = bus_find(bus, address, length, &offset);
    if (device)
        virtio_mmio_write(device, offset, data, length);
}
