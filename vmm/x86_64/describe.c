/*
 * The x86_64 part of the device tree. Linux reads it through setup_data (arch/x86/kernel/
 * devicetree.c), which knows the interrupt controllers by the names of the CE4100.
 */
#include "vmm/arch.h"
#include "vmm/x86_64/layout.h"

#include <libfdt.h>
#include <stdio.h>

enum {
    IOAPIC_PHANDLE = 1,
    IOAPIC_EDGE_RISING = 3, /* second interrupt cell; the first is the pin */
};

static int describe_cpus(void *fdt, unsigned cpu_count)
{
    int failed = fdt_begin_node(fdt, "cpus");
    failed |= fdt_property_u32(fdt, "#address-cells", 1);
    failed |= fdt_property_u32(fdt, "#size-cells", 0);
    for (unsigned i = 0; i < cpu_count; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "cpu@%x", i);
        failed |= fdt_begin_node(fdt, name);
        failed |= fdt_property_string(fdt, "device_type", "cpu");
        failed |= fdt_property_string(fdt, "compatible", "x86,64");
        failed |= fdt_property_u32(fdt, "reg", i); /* the APIC id */
        failed |= fdt_end_node(fdt);
    }
    return failed | fdt_end_node(fdt);
}

static int describe_controller(void *fdt, const char *name, const char *compatible,
                               uint64_t address)
{
    int failed = fdt_begin_node(fdt, name);
    fdt64_t reg[2] = { cpu_to_fdt64(address), cpu_to_fdt64(0x1000) };
    failed |= fdt_property_string(fdt, "compatible", compatible);
    return failed | fdt_property(fdt, "reg", reg, sizeof reg);
}

int arch_describe_platform(void *fdt, unsigned cpu_count)
{
    int failed = fdt_property_u32(fdt, "interrupt-parent", IOAPIC_PHANDLE);
    failed |= describe_cpus(fdt, cpu_count);
    failed |= describe_controller(fdt, "lapic@fee00000", "intel,ce4100-lapic", X86_LAPIC);
    failed |= fdt_end_node(fdt);
    failed |= describe_controller(fdt, "ioapic@fec00000", "intel,ce4100-ioapic", X86_IOAPIC);
    failed |= fdt_property(fdt, "interrupt-controller", NULL, 0);
    failed |= fdt_property_u32(fdt, "#interrupt-cells", 2);
    failed |= fdt_property_u32(fdt, "phandle", IOAPIC_PHANDLE);
    failed |= fdt_end_node(fdt);
    return failed;
}

size_t arch_interrupt_cells(uint32_t irq, uint32_t cells[3])
{
    cells[0] = irq;
    cells[1] = IOAPIC_EDGE_RISING;
    return 2;
}
