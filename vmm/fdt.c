#include "vmm/fdt.h"

#include "cleanup.h"
#include "vmm/arch.h"
#include "vmm/virtio/mmio.h"

#include <libfdt.h>
#include <stdio.h>

static int fdt_add_memory(void *fdt, const struct guest_memory *memory)
{
    int failed = fdt_begin_node(fdt, "memory@0");
    fdt64_t reg[2 * MEMORY_MAX_REGIONS];
    for (size_t i = 0; i < memory->region_count; i++) {
        reg[2 * i] = cpu_to_fdt64(memory->regions[i].start);
        reg[2 * i + 1] = cpu_to_fdt64(memory->regions[i].size);
    }
    failed |= fdt_property_string(fdt, "device_type", "memory");
    failed |= fdt_property(fdt, "reg", reg, (int)(2 * sizeof reg[0] * memory->region_count));
    return failed | fdt_end_node(fdt);
}

static int fdt_add_virtio(void *fdt, uint64_t address, uint32_t irq)
{
    char name[40];
    (void)snprintf(name, sizeof name, "virtio@%llx", (unsigned long long)address);
    int failed = fdt_begin_node(fdt, name);
    fdt64_t reg[2] = { cpu_to_fdt64(address), cpu_to_fdt64(VIRTIO_MMIO_SIZE) };
    uint32_t cells[3];
    fdt32_t interrupts[3];
    size_t count = arch_interrupt_cells(irq, cells);
    for (size_t i = 0; i < count; i++)
        interrupts[i] = cpu_to_fdt32(cells[i]);
    failed |= fdt_property_string(fdt, "compatible", "virtio,mmio");
    failed |= fdt_property(fdt, "reg", reg, sizeof reg);
    failed |= fdt_property(fdt, "interrupts", interrupts, (int)(count * sizeof interrupts[0]));
    return failed | fdt_end_node(fdt);
}

static int fdt_add_root(void *fdt, const struct guest_memory *memory, unsigned cpu_count,
                        const struct bus *bus, const char *command_line)
{
    int failed = fdt_begin_node(fdt, "");
    failed |= fdt_property_string(fdt, "compatible", "hybrid,machine");
    failed |= fdt_property_string(fdt, "model", "hybrid");
    failed |= fdt_property_u32(fdt, "#address-cells", 2);
    failed |= fdt_property_u32(fdt, "#size-cells", 2);
    failed |= arch_describe_platform(fdt, cpu_count);
    failed |= fdt_add_memory(fdt, memory);
    failed |= fdt_begin_node(fdt, "chosen");
    failed |= fdt_property_string(fdt, "bootargs", command_line);
    failed |= fdt_end_node(fdt);
    failed |= fdt_begin_node(fdt, "soc");
    failed |= fdt_property_string(fdt, "compatible", "simple-bus");
    failed |= fdt_property_u32(fdt, "#address-cells", 2);
    failed |= fdt_property_u32(fdt, "#size-cells", 2);
    failed |= fdt_property(fdt, "ranges", NULL, 0);
    for (size_t i = 0; i < bus->device_count; i++)
        failed |= fdt_add_virtio(fdt, bus->base + i * VIRTIO_MMIO_SIZE,
                                 arch_layout.first_irq + (uint32_t)i);
    failed |= fdt_end_node(fdt);
    return failed | fdt_end_node(fdt);
}

int fdt_describe(void **blob, const struct guest_memory *memory, unsigned cpu_count,
                 const struct bus *bus, const char *command_line, struct error *err)
{
    size_t size = arch_layout.max_fdt;
    _cleanup_free_ void *fdt = malloc(size);
    if (!fdt)
        return error_set(err, EXIT_OURS, "out of memory");
    int failed = fdt_create(fdt, (int)size);
    failed |= fdt_finish_reservemap(fdt);
    failed |= fdt_add_root(fdt, memory, cpu_count, bus, command_line);
    failed |= fdt_finish(fdt);
    if (failed)
        return error_set(err, EXIT_OURS, "the device tree does not fit into %zu bytes", size);
    *blob = take_pointer(&fdt);
    return (int)fdt_totalsize(*blob);
}
