/* Guest physical addresses of the x86_64 machine. */
#ifndef HYBRID_VMM_X86_64_LAYOUT_H
#define HYBRID_VMM_X86_64_LAYOUT_H

enum {
    /* The first megabyte: what the kernel reads while it starts. */
    X86_GDT = 0x500,
    X86_BOOT_PARAMS = 0x7000, /* the "zero page" */
    X86_BOOT_STACK = 0x8ff0,
    X86_PAGE_TABLES = 0x9000, /* three pages: PML4, PDPT, PD */
    X86_COMMAND_LINE = 0x20000,
    X86_COMMAND_LINE_SIZE = 2048, /* COMMAND_LINE_SIZE of arch/x86 */
    X86_SEED = 0x21000,           /* setup_data with random numbers */
    X86_FDT = 0x30000,            /* setup_data with the device tree */
    X86_MAX_FDT = 0x20000,
    X86_LOW_MEMORY_END = 0x9fc00,
    X86_HIGH_MEMORY = 0x100000,
};

/* Beyond RAM. */
#define X86_RAM_LOW_LIMIT  0xc0000000ULL /* 3 GiB */
#define X86_MMIO_BASE      0xd0000000ULL /* virtio-mmio pages */
#define X86_IOAPIC         0xfec00000ULL
#define X86_LAPIC          0xfee00000ULL
#define X86_IDENTITY_MAP   0xfffbc000ULL  /* one page, used by VT-x without unrestricted guest */
#define X86_TSS            0xfffbd000ULL  /* three pages, likewise */
#define X86_RAM_HIGH_START 0x100000000ULL /* 4 GiB */

enum {
    X86_SERIAL_PORT = 0x3f8,
    X86_SERIAL_IRQ = 4,
    X86_FIRST_VIRTIO_IRQ = 16, /* pins of the IOAPIC that no legacy device claims */
};

#endif
