/*
 * The 64-bit boot protocol (Documentation/arch/x86/boot.rst): an ELF vmlinux at its physical
 * addresses, the zero page with the map of memory, and setup_data with device tree and seed.
 */
#include "vmm/arch.h"
#include "vmm/x86_64/layout.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    BOOT_SETUP_RNG_SEED = 9, /* SETUP_RNG_SEED, newer than Debian 12's headers */
    BOOT_SEED_BYTES = 64,
    BOOT_MAX_SEGMENTS = 32,
    BOOT_SECTOR_MAGIC = 0xaa55,
    BOOT_HEADER_MAGIC = 0x53726448, /* "HdrS" */
    BOOT_PROTOCOL = 0x020f,
    BOOT_LOADER_UNDEFINED = 0xff,
};

const struct arch_layout arch_layout = {
    .ram_low_limit = X86_RAM_LOW_LIMIT,
    .ram_high_start = X86_RAM_HIGH_START,
    .mmio_base = X86_MMIO_BASE,
    .first_irq = X86_FIRST_VIRTIO_IRQ,
    .max_command_line = X86_COMMAND_LINE_SIZE - 1,
    .max_fdt = X86_MAX_FDT - sizeof(struct setup_data),
    .console_parameter = "console=ttyS0",
};

/* Reads exactly length bytes at offset. Returns 0, or -1 with errno (ENODATA: the file ends). */
static int boot_read(int fd, void *data, size_t length, uint64_t offset)
{
    char *target = data;
    while (length > 0) {
        ssize_t n = pread(fd, target, length, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n < 0 ? errno : ENODATA;
            return -1;
        }
        target += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

static int boot_check_header(const Elf64_Ehdr *header, struct error *err)
{
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return error_set(err, EXIT_OURS,
                         "the guest kernel is no ELF file; an uncompressed vmlinux is needed");
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64 ||
        header->e_type != ET_EXEC)
        return error_set(err, EXIT_OURS, "the guest kernel is no x86_64 executable");
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 ||
        header->e_phnum > BOOT_MAX_SEGMENTS)
        return error_set(err, EXIT_OURS, "the guest kernel has unusable ELF program headers");
    return 0;
}

static int boot_load_segment(const struct guest_memory *memory, int fd, const Elf64_Phdr *segment,
                             struct error *err)
{
    if (segment->p_type != PT_LOAD || segment->p_memsz == 0)
        return 0;
    void *target = memory_range(memory, segment->p_paddr, segment->p_memsz);
    if (!target || segment->p_paddr < X86_HIGH_MEMORY || segment->p_filesz > segment->p_memsz)
        return error_set(err, EXIT_OURS,
                         "the guest kernel needs memory at 0x%llx (%llu KiB), which the machine "
                         "does not have; give it more memory",
                         (unsigned long long)segment->p_paddr,
                         (unsigned long long)segment->p_memsz >> 10);
    /* The rest of p_memsz is zero already: this memory is fresh. */
    if (boot_read(fd, target, segment->p_filesz, segment->p_offset) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the guest kernel");
    return 0;
}

int arch_load_kernel(const struct guest_memory *memory, int kernel_fd, uint64_t *entry,
                     struct error *err)
{
    Elf64_Ehdr header = { .e_phnum = 0 };
    Elf64_Phdr segments[BOOT_MAX_SEGMENTS] = { { .p_type = PT_NULL } };
    if (boot_read(kernel_fd, &header, sizeof header, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the guest kernel");
    if (boot_check_header(&header, err) < 0)
        return -1;
    if (boot_read(kernel_fd, segments, header.e_phnum * sizeof segments[0], header.e_phoff) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the guest kernel");
    for (unsigned i = 0; i < header.e_phnum; i++) {
        if (boot_load_segment(memory, kernel_fd, &segments[i], err) < 0)
            return -1;
    }
    if (!memory_range(memory, header.e_entry, 1))
        return error_set(err, EXIT_OURS, "the guest kernel's entry 0x%llx is outside memory",
                         (unsigned long long)header.e_entry);
    *entry = header.e_entry;
    return 0;
}

static void boot_add_e820(struct boot_params *params, uint64_t start, uint64_t end)
{
    struct boot_e820_entry *entry = &params->e820_table[params->e820_entries++];
    *entry = (struct boot_e820_entry){ .addr = start, .size = end - start, .type = 1 /* RAM */ };
}

/* The kernel's map: the areas of the first megabyte that a PC keeps for itself stay out. */
static void boot_describe_memory(struct boot_params *params, const struct guest_memory *memory)
{
    const struct memory_region *low = &memory->regions[0];
    boot_add_e820(params, 0, X86_LOW_MEMORY_END);
    boot_add_e820(params, X86_HIGH_MEMORY, low->start + low->size);
    for (size_t i = 1; i < memory->region_count; i++)
        boot_add_e820(params, memory->regions[i].start,
                      memory->regions[i].start + memory->regions[i].size);
}

/* One node of the setup_data list at `address`. Returns 0, or -1 if it is outside memory. */
static int boot_write_setup_data(const struct guest_memory *memory, uint64_t address, uint32_t type,
                                 uint64_t next, const void *data, size_t length)
{
    struct setup_data node = { .next = next, .type = type, .len = (uint32_t)length };
    return memory_write(memory, address, &node, sizeof node) < 0 ||
                   memory_write(memory, address + sizeof node, data, length) < 0
               ? -1
               : 0;
}

/* Identity map of the first GiB with 2 MiB pages: more than the kernel needs to make its own. */
static int boot_write_page_tables(const struct guest_memory *memory)
{
    enum { PRESENT_WRITABLE = 3, LARGE = 0x80, PAGE = 0x1000 };
    const size_t entries = 512;
    uint64_t *tables = memory_range(memory, X86_PAGE_TABLES, 3ULL * PAGE);
    if (!tables)
        return -1;
    tables[0] = (X86_PAGE_TABLES + PAGE) | PRESENT_WRITABLE;
    tables[entries] = (X86_PAGE_TABLES + 2 * PAGE) | PRESENT_WRITABLE;
    for (uint64_t i = 0; i < entries; i++)
        tables[2 * entries + i] = (i << 21) | LARGE | PRESENT_WRITABLE;
    return 0;
}

int arch_write_boot_data(const struct guest_memory *memory, const char *command_line,
                         const void *fdt, size_t fdt_size, struct error *err)
{
    size_t command_line_length = strlen(command_line);
    if (command_line_length > arch_layout.max_command_line)
        return error_set(err, EXIT_OURS,
                         "the kernel command line has %zu bytes; %zu are possible (fewer image "
                         "layers make it shorter)",
                         command_line_length, arch_layout.max_command_line);
    if (fdt_size > arch_layout.max_fdt)
        return error_set(err, EXIT_OURS, "the device tree has %zu bytes; %zu are possible",
                         fdt_size, arch_layout.max_fdt);
    struct boot_params params = {
        .hdr = {
            .boot_flag = BOOT_SECTOR_MAGIC,
            .header = BOOT_HEADER_MAGIC,
            .version = BOOT_PROTOCOL,
            .type_of_loader = BOOT_LOADER_UNDEFINED,
            /* KASLR_FLAG: the direct mapping and vmalloc area move at each boot (mm/kaslr.c). */
            .loadflags = LOADED_HIGH | KASLR_FLAG,
            .cmd_line_ptr = X86_COMMAND_LINE,
            .cmdline_size = X86_COMMAND_LINE_SIZE - 1,
            .kernel_alignment = 0x1000000,
            .setup_data = X86_FDT,
        },
    };
    boot_describe_memory(&params, memory);
    /* From the host's generator, so that the guest need not wait for entropy. */
    uint8_t seed[BOOT_SEED_BYTES];
    if (getrandom(seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        return error_set_errno(err, EXIT_OURS, errno, "no random numbers for the guest");
    int failed =
        boot_write_setup_data(memory, X86_FDT, SETUP_DTB, X86_SEED, fdt, fdt_size) |
        boot_write_setup_data(memory, X86_SEED, BOOT_SETUP_RNG_SEED, 0, seed, sizeof seed) |
        memory_write(memory, X86_COMMAND_LINE, command_line, command_line_length + 1) |
        memory_write(memory, X86_BOOT_PARAMS, &params, sizeof params) |
        boot_write_page_tables(memory);
    explicit_bzero(seed, sizeof seed);
    if (failed)
        return error_set(err, EXIT_OURS, "the machine's memory is too small to boot in");
    return 0;
}
