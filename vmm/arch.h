/*
 * What the machine asks of an architecture. Everything that only one architecture knows lies behind
 * these functions, in a directory of its own (x86_64/).
 */
#ifndef HYBRID_VMM_ARCH_H
#define HYBRID_VMM_ARCH_H

#include "error.h"
#include "vmm/console.h"
#include "vmm/kvm.h"
#include "vmm/memory.h"
#include "vmm/vcpu.h"

#include <stddef.h>
#include <stdint.h>

struct arch_ports;

/* The map of guest physical addresses, and the interrupts that devices get. */
struct arch_layout {
    uint64_t ram_low_limit;        /* RAM from 0 ends here at the latest */
    uint64_t ram_high_start;       /* and goes on here */
    uint64_t mmio_base;            /* virtio-mmio pages */
    uint32_t first_irq;            /* device i has interrupt first_irq + i */
    size_t max_command_line;       /* bytes without the NUL */
    size_t max_fdt;                /* bytes */
    const char *console_parameter; /* of the kernel command line */
};

extern const struct arch_layout arch_layout;

/* Makes the interrupt controllers and timers; before the first vCPU. Returns 0, or -1 with err. */
int arch_prepare_vm(const struct kvm *kvm, struct error *err);

/* Loads the ELF kernel of kernel_fd into RAM; *entry is its address. Returns 0, or -1 with err. */
int arch_load_kernel(const struct guest_memory *memory, int kernel_fd, uint64_t *entry,
                     struct error *err);

/*
 * Writes what the kernel reads first: its command line, the map of memory, the device tree, a seed
 * of random numbers. Returns 0, or -1 with err.
 */
int arch_write_boot_data(const struct guest_memory *memory, const char *command_line,
                         const void *fdt, size_t fdt_size, struct error *err);

/* Sets the registers of a new vCPU; the first starts at `entry`. Returns 0, or -1 with err. */
int arch_prepare_vcpu(const struct kvm *kvm, const struct vcpu *vcpu, unsigned cpu_count,
                      uint64_t entry, struct error *err);

/* Adds cpu nodes, interrupt controllers and platform devices to the open root node of an FDT. */
int arch_describe_platform(void *fdt, unsigned cpu_count);

/* The interrupt cells of device `irq` (edge-triggered) in the FDT. Returns their count. */
size_t arch_interrupt_cells(uint32_t irq, uint32_t cells[3]);

/* The devices that only this architecture has. console: NULL for a machine without one. */
int arch_ports_create(struct arch_ports **ports, const struct kvm *kvm, struct console *console,
                      struct error *err);
void arch_ports_destroy(struct arch_ports *ports);

/*
 * An exit that only this architecture knows. Returns VCPU_CONTINUE if it was handled, VCPU_ENDED
 * with *end if the machine ends; *known tells whether the exit reason was one of ours.
 */
enum vcpu_outcome arch_handle_exit(struct vcpu *vcpu, struct vcpu_end *end, bool *known);

/* Writes where the vCPU stands (registers, the instruction) into text, for a diagnosis. */
void arch_describe_vcpu(const struct vcpu *vcpu, char *text, size_t size);

/*
 * Runs a micro guest on device_fd (/dev/kvm) that tries what a kernel needs. Returns 0 if Linux
 * can run; -1 with err: what is wrong with this KVM and what to do.
 */
int arch_probe(int device_fd, struct error *err);

#endif
