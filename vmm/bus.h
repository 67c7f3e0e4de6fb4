/* The addresses at which a vCPU meets devices. Constant once the machine runs. */
#ifndef HYBRID_VMM_BUS_H
#define HYBRID_VMM_BUS_H

#include <stddef.h>
#include <stdint.h>

struct arch_ports;
struct virtio_device;

enum { BUS_MAX_DEVICES = 8 };

struct bus {
    uint64_t base; /* device i is at base + i * VIRTIO_MMIO_SIZE */
    struct virtio_device *devices[BUS_MAX_DEVICES];
    size_t device_count;
    struct arch_ports *ports; /* what an architecture has besides */
};

/* An access to where nothing is reads as all ones, and a write to there has no effect. */
void bus_read(const struct bus *bus, uint64_t address, void *data, uint32_t length);
void bus_write(const struct bus *bus, uint64_t address, const void *data, uint32_t length);

#endif
