/* What the machine consists of: options, device tree, boot data, CPU features, ports, console. */
/* link: vmm */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/arch.h"
#include "vmm/bus.h"
#include "vmm/fdt.h"
#include "vmm/options.h"
#include "vmm/virtio/mmio.h"
#include "vmm/x86_64/cpuid.h"
#include "vmm/x86_64/layout.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <fcntl.h>
#include <libfdt.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void test_options_refused(void **state)
{
    const char *const cases[] = {
        "kvm-fd=0",
        "--unknown",
        "--kvm-fd",
        "--kvm-fd=",
        "--kvm-fd=x",
        "--kvm-fd=1x",
        "--kvm-fd=1",
        "--kvm-fd=-1",
        "--kvm-fd=999",
        "--memory=1",
        "--memory=0",
        "--memory=16777217",
        "--memory=1e9",
        "--cpus=0",
        "--cpus=65",
        "--cpus=1 ",
        "--cpus=+1",
        "--uid=0",
        "--uid=4294967295",
        "--gid=0x10",
        "--disk-fds=",
        "--disk-fds=3,",
        "--disk-fds=3;4",
        "--probe=1",
        "--memory=99999999999999999999",
        "--kernel",
        "--",
        "--disk-fds=3,999",
        "--net=3",
        "--net=3,1500",
        "--net=3,1500,",
        "--net=3,67,02:00:00:00:00:01",
        "--net=3,65536,02:00:00:00:00:01",
        "--net=3,1500,02:00:00:00:00",
        "--net=3,1500,02:00:00:00:00:0g",
        "--net=3,1500,03:00:00:00:00:01", /* a group's address */
        "--net=3,1500,02:00:00:00:00:01,",
        "--net=3,1500,02:00:00:00:00:01,all",
        "--net=999,1500,02:00:00:00:00:01",
    };
    (void)state;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 3);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct options options;
        struct error err;
        char argument[64];
        (void)snprintf(argument, sizeof argument, "%s", cases[i]);
        char *arguments[] = { argument };
        if (options_parse(&options, 1, arguments, &err) == 0)
            fail_msg("accepted: %s", cases[i]);
    }
    (void)close(fd);
}

static void test_options_accepted(void **state)
{
    struct options options;
    struct error err;
    char text[4][32];
    (void)state;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC), other = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)snprintf(text[0], sizeof text[0], "--kvm-fd=%d", fd);
    (void)snprintf(text[1], sizeof text[1], "--kernel-fd=%d", fd);
    (void)snprintf(text[2], sizeof text[2], "--disk-fds=%d,%d", fd, other);
    (void)snprintf(text[3], sizeof text[3], "--share-fd=%d", fd);
    char memory[] = "--memory=268435456", uid[] = "--uid=99", gid[] = "--gid=100",
         line[] = "--command-line=a=b c", tag[] = "--share-tag=t";
    char *arguments[] = { text[0], text[1], text[2], memory, uid, gid, line, tag, text[3] };
    assert_int_equal(options_parse(&options, 7, arguments, &err), 0);
    assert_int_equal(options.memory, 256 << 20);
    assert_int_equal(options.disk_count, 2);
    assert_int_equal(options.disk_fds[1], other);
    assert_int_equal(options.cpus, 1);
    assert_int_equal(options.control_fd, -1);
    assert_string_equal(options.command_line, "a=b c");
    assert_int_equal(options_parse(&options, 6, arguments + 1, &err), -1); /* no --kvm-fd */
    assert_non_null(strstr(err.message, "--kvm-fd"));
    assert_int_equal(options_parse(&options, 8, arguments, &err), -1); /* a tag of nothing */
    assert_non_null(strstr(err.message, "--share-fd"));
    assert_int_equal(options_parse(&options, 9, arguments, &err), 0);
    arguments[7] = line;
    assert_int_equal(options_parse(&options, 9, arguments, &err), -1);
    assert_non_null(strstr(err.message, "--share-tag"));
    (void)close(fd);
    (void)close(other);
}

static void test_option_net(void **state)
{
    static const uint8_t MAC[ETH_ALEN] = { 2, 0, 0, 0x0a, 0xbc, 0xde };
    struct options options;
    struct error err;
    char text[2][64], version[] = "--version";
    (void)state;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)snprintf(text[0], sizeof text[0], "--net=%d,9000,02:00:00:0a:bc:de", fd);
    (void)snprintf(text[1], sizeof text[1], "--net=%d,68,02:00:00:0a:bc:de,own", fd);
    char *arguments[] = { version, text[0], text[1], text[0], text[0], text[0] };
    assert_int_equal(options_parse(&options, 3, arguments, &err), 0);
    assert_int_equal(options.net_count, 2);
    assert_int_equal(options.nets[0].fd, fd);
    assert_int_equal(options.nets[0].mtu, 9000);
    assert_memory_equal(options.nets[0].mac, MAC, sizeof MAC);
    assert_false(options.nets[0].own_source_only);
    assert_true(options.nets[1].own_source_only);
    assert_int_equal(options_parse(&options, 5, arguments, &err), 0);
    assert_int_equal(options_parse(&options, 6, arguments, &err), -1); /* a fifth */
    (void)close(fd);
}

static void test_fdt(void **state)
{
    struct guest_memory memory;
    struct virtio_device device = { .ops = NULL };
    struct bus bus = { .base = X86_MMIO_BASE, .devices = { &device, &device }, .device_count = 2 };
    struct error err;
    void *fdt;
    int length;
    (void)state;
    assert_int_equal(
        memory_create(&memory, 4ULL << 30, X86_RAM_LOW_LIMIT, X86_RAM_HIGH_START, &err), 0);
    int size = fdt_describe(&fdt, &memory, 64, &bus, "quiet", &err);
    assert_true(size > 0);
    assert_int_equal(fdt_check_full(fdt, (size_t)size), 0);
    assert_true((size_t)size <= arch_layout.max_fdt);
    fdt64_t reg[4]; /* properties are aligned to 4 bytes only */
    const void *property = fdt_getprop(fdt, fdt_path_offset(fdt, "/memory@0"), "reg", &length);
    assert_int_equal(length, sizeof reg);
    memcpy(reg, property, sizeof reg);
    assert_int_equal(fdt64_to_cpu(reg[1]), X86_RAM_LOW_LIMIT);
    assert_int_equal(fdt64_to_cpu(reg[2]), X86_RAM_HIGH_START);
    assert_int_equal(fdt64_to_cpu(reg[3]), 1ULL << 30);
    int node = fdt_path_offset(fdt, "/soc/virtio@d0001000");
    assert_true(node >= 0);
    const fdt32_t *interrupts = fdt_getprop(fdt, node, "interrupts", &length);
    assert_int_equal(length, 8);
    assert_int_equal(fdt32_to_cpu(interrupts[0]), X86_FIRST_VIRTIO_IRQ + 1);
    assert_int_equal(fdt32_to_cpu(interrupts[1]), 3); /* edge, rising */
    const fdt32_t *cpu = fdt_getprop(fdt, fdt_path_offset(fdt, "/cpus/cpu@3f"), "reg", &length);
    assert_non_null(cpu);
    assert_int_equal(fdt32_to_cpu(*cpu), 63);
    free(fdt);
    memory_destroy(&memory);
}

/* A file with this content. */
static int file_of(const void *data, size_t size)
{
    int fd = memfd_create("kernel", MFD_CLOEXEC);
    assert_int_equal(write(fd, data, size), size);
    return fd;
}

struct kernel {
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    char text[64];
};

static struct kernel good_kernel(void)
{
    struct kernel kernel = {
        .header = { .e_type = ET_EXEC,
                    .e_machine = EM_X86_64,
                    .e_entry = 0x1000000,
                    .e_phoff = offsetof(struct kernel, segment),
                    .e_phentsize = sizeof(Elf64_Phdr),
                    .e_phnum = 1 },
        .segment = { .p_type = PT_LOAD,
                     .p_offset = offsetof(struct kernel, text),
                     .p_paddr = 0x1000000,
                     .p_filesz = 64,
                     .p_memsz = 4096 },
        .text = "the kernel",
    };
    memcpy(kernel.header.e_ident, ELFMAG, SELFMAG);
    kernel.header.e_ident[EI_CLASS] = ELFCLASS64;
    return kernel;
}

static void test_kernel_loading(void **state)
{
    struct guest_memory memory;
    struct error err;
    uint64_t entry;
    char text[16];
    (void)state;
    assert_int_equal(memory_create(&memory, 32 << 20, X86_RAM_LOW_LIMIT, X86_RAM_HIGH_START, &err),
                     0);
    struct kernel kernels[8];
    for (size_t i = 0; i < 8; i++)
        kernels[i] = good_kernel();
    kernels[1].header.e_ident[0] = 'X';
    kernels[2].header.e_machine = EM_AARCH64;
    kernels[3].header.e_phnum = 65535;
    kernels[4].segment.p_paddr = 1ULL << 40;
    kernels[5].segment.p_filesz = 1 << 20; /* more than p_memsz */
    kernels[6].segment.p_memsz = UINT64_MAX;
    kernels[7].header.e_entry = 1ULL << 40;
    for (size_t i = 0; i < 8; i++) {
        int fd = file_of(&kernels[i], sizeof kernels[i]);
        assert_int_equal(arch_load_kernel(&memory, fd, &entry, &err), i == 0 ? 0 : -1);
        if (i == 0) {
            assert_int_equal(memory_read(&memory, entry, text, sizeof text), 0);
            assert_string_equal(text, "the kernel");
        }
        (void)close(fd);
    }
    int cut = file_of(&kernels[0], sizeof kernels[0] - 8);
    assert_int_equal(arch_load_kernel(&memory, cut, &entry, &err), -1);
    (void)close(cut);
    memory_destroy(&memory);
}

static void test_boot_data(void **state)
{
    struct guest_memory memory;
    struct boot_params params;
    struct setup_data node;
    struct error err;
    static char line[X86_COMMAND_LINE_SIZE + 1];
    (void)state;
    assert_int_equal(
        memory_create(&memory, 4ULL << 30, X86_RAM_LOW_LIMIT, X86_RAM_HIGH_START, &err), 0);
    assert_int_equal(arch_write_boot_data(&memory, "quiet", "fdt", 4, &err), 0);
    assert_int_equal(memory_read(&memory, X86_BOOT_PARAMS, &params, sizeof params), 0);
    assert_int_equal(params.e820_entries, 3);
    assert_int_equal(params.e820_table[1].addr + params.e820_table[1].size, X86_RAM_LOW_LIMIT);
    assert_int_equal(params.e820_table[2].addr, X86_RAM_HIGH_START);
    assert_int_equal(memory_read(&memory, params.hdr.setup_data, &node, sizeof node), 0);
    assert_int_equal(node.type, SETUP_DTB);
    assert_int_equal(memory_read(&memory, node.next, &node, sizeof node), 0);
    assert_int_equal(node.type, 9); /* SETUP_RNG_SEED */
    assert_int_equal(node.next, 0);
    memset(line, 'x', sizeof line - 1);
    assert_int_equal(arch_write_boot_data(&memory, line, "fdt", 4, &err), -1);
    line[X86_COMMAND_LINE_SIZE - 1] = '\0';
    assert_int_equal(arch_write_boot_data(&memory, line, "fdt", 4, &err), 0);
    memory_destroy(&memory);
}

static const struct kvm_cpuid_entry2 *find_leaf(const union cpuid_table *table, uint32_t function,
                                                uint32_t index)
{
    for (uint32_t i = 0; i < table->head.nent; i++) {
        if (table->head.entries[i].function == function && table->head.entries[i].index == index)
            return &table->head.entries[i];
    }
    return NULL;
}

static void test_cpuid(void **state)
{
    static union cpuid_table table;
    (void)state;
    table.head.nent = 5;
    table.head.entries[0] = (struct kvm_cpuid_entry2){ .function = 0, .eax = 5 };
    table.head.entries[1] = (struct kvm_cpuid_entry2){ .function = 1, .ecx = ~0U, .edx = ~0U };
    table.head.entries[2] = (struct kvm_cpuid_entry2){ .function = 0x80000001, .ecx = ~0U };
    table.head.entries[3] =
        (struct kvm_cpuid_entry2){ .function = 0x8000000a, .eax = 1, .edx = ~0U };
    table.head.entries[4] = (struct kvm_cpuid_entry2){ .function = 0xa, .eax = ~0U };
    cpuid_shape(&table, 2, 3, true);
    const struct kvm_cpuid_entry2 *leaf = find_leaf(&table, 1, 0);
    assert_int_equal(leaf->ebx >> 24, 2);                                   /* APIC id */
    assert_int_equal(leaf->ecx & (1U << 5), 0);                             /* no VMX */
    assert_int_equal(leaf->ecx & (1U << 3), 0);                             /* no MWAIT */
    assert_int_not_equal(leaf->ecx & (1U << 31), 0);                        /* hypervisor */
    assert_int_equal(find_leaf(&table, 0x80000001, 0)->ecx & (1U << 2), 0); /* no SVM */
    assert_int_equal(find_leaf(&table, 0x8000000a, 0)->edx, 0);
    assert_int_equal(find_leaf(&table, 0xa, 0)->eax, 0);
    assert_int_equal(find_leaf(&table, 0, 0)->eax, 0xb);
    leaf = find_leaf(&table, 0xb, 1);
    assert_int_equal(leaf->edx, 2);
    assert_int_equal(leaf->eax, 2); /* bits for three cores */
    assert_int_equal(leaf->ebx, 3);
    assert_int_equal(leaf->ecx >> 8, 2);
}

struct port_machine {
    struct loop loop;
    struct console console;
    struct bus bus;
    struct vcpu vcpu;
    int output[2];
};

static void port_machine_create(struct port_machine *m)
{
    struct error err;
    *m = (struct port_machine){ .vcpu.fd = -1 };
    assert_int_equal(pipe2(m->output, O_CLOEXEC), 0);
    assert_int_equal(loop_create(&m->loop, &err), 0);
    assert_int_equal(console_create(&m->console, &m->loop, m->output[1], &err), 0);
    assert_int_equal(arch_ports_create(&m->bus.ports, NULL, &m->console, &err), 0);
    m->vcpu.bus = &m->bus;
    m->vcpu.run_size = 8192;
    m->vcpu.run = calloc(1, m->vcpu.run_size);
    m->vcpu.run->exit_reason = KVM_EXIT_IO;
}

static void port_machine_destroy(struct port_machine *m)
{
    arch_ports_destroy(m->bus.ports);
    console_destroy(&m->console);
    loop_destroy(&m->loop);
    free(m->vcpu.run);
    (void)close(m->output[0]);
    (void)close(m->output[1]);
}

/* One port instruction of the guest. Returns how it ended; *value is what IN read. */
static enum vcpu_outcome port_access(struct port_machine *m, bool out, uint16_t port, uint8_t size,
                                     uint32_t count, uint32_t *value)
{
    struct kvm_run *run = m->vcpu.run;
    struct vcpu_end end;
    bool known;
    run->io.direction = out ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
    run->io.port = port;
    run->io.size = size;
    run->io.count = count;
    run->io.data_offset = 4096;
    memcpy((char *)run + 4096, value, sizeof *value);
    enum vcpu_outcome outcome = arch_handle_exit(&m->vcpu, &end, &known);
    assert_true(known);
    memcpy(value, (char *)run + 4096, sizeof *value);
    return outcome;
}

static void test_every_port(void **state)
{
    struct port_machine m;
    (void)state;
    port_machine_create(&m);
    for (uint32_t port = 0; port < 0x10000; port++) {
        for (uint8_t size = 1; size <= 4; size *= 2) {
            uint32_t value = 0x41414141;
            assert_int_equal(port_access(&m, false, (uint16_t)port, size, 1, &value),
                             VCPU_CONTINUE);
            value = 0x41414141;
            assert_int_equal(port_access(&m, true, (uint16_t)port, size, 1, &value), VCPU_CONTINUE);
        }
    }
    uint32_t value = 0;
    (void)port_access(&m, false, 0x1234, 2, 1, &value);
    assert_int_equal(value, 0xffff);
    (void)port_access(&m, false, 0x64, 1, 1, &value);
    assert_int_equal(value & 0xff, 0);
    value = 0xfe;
    assert_int_equal(port_access(&m, true, 0x64, 1, 1, &value), VCPU_ENDED);
    /* A string instruction longer than the page KVM shares is not followed. */
    assert_int_equal(port_access(&m, true, 0x3f8, 1, 0xffffffff, &value), VCPU_CONTINUE);
    assert_int_equal(port_access(&m, true, 0x3f8, 0, 1, &value), VCPU_CONTINUE);
    port_machine_destroy(&m);
}

/* CVE-2020-27174: a guest that prints without end costs no memory, and the loss is told. */
static void test_console_flood(void **state)
{
    struct port_machine m;
    struct error err;
    static char seen[1 << 20];
    size_t total = 0;
    (void)state;
    port_machine_create(&m);
    for (int i = 0; i < 1000000; i++) {
        uint32_t value = i % 80 == 79 ? '\n' : 'x';
        assert_int_equal(port_access(&m, true, 0x3f8, 1, 1, &value), VCPU_CONTINUE);
        if (i % 1000 == 0)
            assert_int_equal(loop_turn(&m.loop, 0, &err), 0); /* nobody reads: it fills and stays */
    }
    assert_true(m.console.dropped > 900000);
    assert_int_equal(fcntl(m.output[0], F_SETFL, O_NONBLOCK), 0);
    for (int i = 0; i < 100; i++) {
        ssize_t n = read(m.output[0], seen + total, sizeof seen - total);
        total += n > 0 ? (size_t)n : 0;
        assert_int_equal(loop_turn(&m.loop, 0, &err), 0);
    }
    assert_non_null(memmem(seen, total, "bytes of console output dropped", 31));
    assert_true(total < 100000);
    port_machine_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_refused), cmocka_unit_test(test_options_accepted),
        cmocka_unit_test(test_option_net),      cmocka_unit_test(test_fdt),
        cmocka_unit_test(test_kernel_loading),  cmocka_unit_test(test_boot_data),
        cmocka_unit_test(test_cpuid),           cmocka_unit_test(test_every_port),
        cmocka_unit_test(test_console_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
