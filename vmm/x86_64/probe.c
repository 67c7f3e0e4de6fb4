/*
 * The micro guest: one page of code that tries what Linux needs of KVM. That /dev/kvm opens says
 * little: there are KVMs which run kernel code in an emulator, show the host's CPUID whatever was
 * set, and take SYSCALL to the wrong privilege level. Linux dies on those without a word.
 *
 * The guest starts in long mode, and tells what it sees by OUT instructions, whose data is in the
 * low byte of EAX. I/O privilege level 3 lets it do so at any privilege level.
 */
#include "vmm/arch.h"

#include "cleanup.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>

enum {
    PROBE_MEMORY = 0x10000,
    PROBE_TABLES = 0x1000, /* PML4, PDPT, PD, PT */
    PROBE_GDT = 0x5000,
    PROBE_CODE = 0x6000,
    PROBE_STACK = 0x9000,
    PROBE_PORT_CPUID = 0x10,   /* AL: 1 if the guest saw the leaf that was set for it */
    PROBE_PORT_SYSCALL = 0x11, /* AL: CS after SYSCALL */
    PROBE_PORT_TRAP = 0x12,    /* AL: CS at the user's OUT: user mode works */
    PROBE_CODE_SELECTOR = 0x08,
    PROBE_USER_SELECTOR = 0x18, /* base of SYSRET's selectors; user code is +16 */
    PROBE_CPUID_LEAF = 0x40000000,
    PROBE_CPUID_MARK = 0x70627968, /* "hybp" */
    PROBE_SECONDS = 2,
};

extern const char probe_code[], probe_code_syscall[], probe_code_end[];

__asm__(".pushsection .rodata\n"
        ".code64\n"
        "probe_code:\n"
        "    movl $0x40000000, %eax\n" /* PROBE_CPUID_LEAF */
        "    cpuid\n"
        "    xorl %eax, %eax\n"
        "    cmpl $0x70627968, %ebx\n" /* PROBE_CPUID_MARK */
        "    sete %al\n"
        "    outb %al, $0x10\n" /* PROBE_PORT_CPUID */
        /* To user mode: SS, RSP, RFLAGS with IOPL 3, CS, RIP. */
        "    pushq $0x23\n"
        "    leaq probe_code(%rip), %rax\n"
        "    pushq %rax\n"
        "    pushq $0x3002\n"
        "    pushq $0x2b\n"
        "    leaq 1f(%rip), %rax\n"
        "    pushq %rax\n"
        "    iretq\n"
        "1:  movl %cs, %eax\n"
        "    outb %al, $0x12\n" /* PROBE_PORT_TRAP */
        "    syscall\n"
        "    hlt\n"
        "probe_code_syscall:\n"
        "    movl %cs, %eax\n"
        "    outb %al, $0x11\n" /* PROBE_PORT_SYSCALL */
        "    hlt\n"
        "probe_code_end:\n"
        ".popsection\n");

#define MSR_STAR         0xc0000081U
#define MSR_LSTAR        0xc0000082U
#define MSR_SYSCALL_MASK 0xc0000084U

struct probe {
    struct kvm kvm;
    struct guest_memory memory;
    struct vcpu vcpu;
};

static const char PROBE_REMEDY[] =
    "; VMs need hardware virtualization: run on bare metal, enable nested virtualization of the "
    "hypervisor below, or use --isolation=container";

/* Four levels, 4 KiB pages, all of them for user mode too. */
static int probe_write_memory(const struct guest_memory *memory)
{
    enum { PRESENT_WRITABLE_USER = 7, PAGE = 0x1000 };
    const size_t entries = 512;
    static const uint64_t GDT[] = {
        0,                  /* */
        0x00af9b000000ffff, /* 0x08: kernel code, 64 bits */
        0x00cf93000000ffff, /* 0x10: kernel data */
        0,                  /* 0x18: SYSRET's 32-bit code, unused */
        0x00cff3000000ffff, /* 0x20: user data */
        0x00affb000000ffff, /* 0x28: user code, 64 bits */
    };
    uint64_t *tables = memory_range(memory, PROBE_TABLES, 4ULL * PAGE);
    if (!tables)
        return -1;
    for (size_t level = 0; level < 3; level++)
        tables[level * entries] = (PROBE_TABLES + PAGE * (level + 1)) | PRESENT_WRITABLE_USER;
    for (size_t page = 0; page < PROBE_MEMORY / PAGE; page++)
        tables[3 * entries + page] = page * PAGE | PRESENT_WRITABLE_USER;
    if (memory_write(memory, PROBE_GDT, GDT, sizeof GDT) < 0)
        return -1;
    /* Both are labels in one section. */
    // cppcheck-suppress comparePointers
    return memory_write(memory, PROBE_CODE, probe_code, (size_t)(probe_code_end - probe_code));
}

static int probe_set_registers(const struct probe *probe, struct error *err)
{
    enum { CR0_PE = 1, CR0_ET = 1 << 4, CR4_PAE = 1 << 5 };
    enum { EFER_SCE = 1, EFER_LME = 1 << 8, EFER_LMA = 1 << 10 };
    struct kvm_segment code = { .limit = ~0U,
                                .selector = PROBE_CODE_SELECTOR,
                                .type = 0xb,
                                .present = 1,
                                .s = 1,
                                .l = 1,
                                .g = 1 };
    struct kvm_segment data = {
        .limit = ~0U, .selector = 0x10, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
    };
    struct kvm_sregs special;
    const struct kvm_msr_entry entries[] = {
        { .index = MSR_STAR,
          .data = (uint64_t)PROBE_USER_SELECTOR << 48 | (uint64_t)PROBE_CODE_SELECTOR << 32 },
        // cppcheck-suppress comparePointers ; as above
        { .index = MSR_LSTAR, .data = PROBE_CODE + (uint64_t)(probe_code_syscall - probe_code) },
        { .index = MSR_SYSCALL_MASK, .data = 0 }, /* IOPL stays 3 */
    };
    union {
        struct kvm_msrs head;
        unsigned char room[sizeof(struct kvm_msrs) + sizeof entries];
    } msrs = { .head.nmsrs = sizeof entries / sizeof entries[0] };
    memcpy(msrs.head.entries, entries, sizeof entries);
    if (ioctl(probe->vcpu.fd, KVM_GET_SREGS, &special) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_GET_SREGS");
    special.gdt.base = PROBE_GDT;
    special.gdt.limit = 6 * 8 - 1;
    special.cs = code;
    special.ds = special.es = special.fs = special.gs = special.ss = data;
    special.cr0 = CR0_PE | CR0_ET | 1ULL << 31;
    special.cr3 = PROBE_TABLES;
    special.cr4 = CR4_PAE;
    special.efer = EFER_SCE | EFER_LME | EFER_LMA;
    struct kvm_regs registers = { .rip = PROBE_CODE, .rsp = PROBE_STACK, .rflags = 0x3002 };
    if (ioctl(probe->vcpu.fd, KVM_SET_SREGS, &special) < 0 ||
        ioctl(probe->vcpu.fd, KVM_SET_REGS, &registers) < 0 ||
        ioctl(probe->vcpu.fd, KVM_SET_MSRS, &msrs) != (int)msrs.head.nmsrs)
        return error_set_errno(err, EXIT_OURS, errno, "KVM refuses the registers of 64-bit code%s",
                               PROBE_REMEDY);
    return 0;
}

static int probe_set_cpuid(const struct probe *probe, struct error *err)
{
    const struct kvm_cpuid_entry2 entries[] = {
        { .function = PROBE_CPUID_LEAF, .eax = PROBE_CPUID_LEAF, .ebx = PROBE_CPUID_MARK },
        { .function = 0x80000000, .eax = 0x80000001 },
        { .function = 0x80000001, .edx = 1 << 29 | 1 << 20 | 1 << 11 }, /* LM, NX, SYSCALL */
    };
    union {
        struct kvm_cpuid2 head;
        unsigned char room[sizeof(struct kvm_cpuid2) + sizeof entries];
    } cpuid = { .head.nent = sizeof entries / sizeof entries[0] };
    memcpy(cpuid.head.entries, entries, sizeof entries);
    if (ioctl(probe->vcpu.fd, KVM_SET_CPUID2, &cpuid) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_SET_CPUID2");
    return 0;
}

static int probe_build(struct probe *probe, int device_fd, struct error *err)
{
    if (kvm_create(&probe->kvm, device_fd, err) < 0 ||
        memory_create(&probe->memory, PROBE_MEMORY, arch_layout.ram_low_limit,
                      arch_layout.ram_high_start, err) < 0 ||
        kvm_set_memory(&probe->kvm, &probe->memory, err) < 0)
        return -1;
    /* Fails on kernels without VT-x peculiarities only; the machine itself insists on it. */
    (void)ioctl(probe->kvm.vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000UL);
    if (probe_write_memory(&probe->memory) < 0)
        return error_set(err, EXIT_OURS, "the micro guest does not fit");
    if (vcpu_create(&probe->vcpu, &probe->kvm, 0, NULL, &probe->memory, err) < 0)
        return -1;
    return probe_set_cpuid(probe, err) < 0 || probe_set_registers(probe, err) < 0 ? -1 : 0;
}

static int probe_failed_exit(const struct probe *probe, struct error *err)
{
    char place[512];
    const struct kvm_run *run = probe->vcpu.run;
    arch_describe_vcpu(&probe->vcpu, place, sizeof place);
    if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        return error_set(err, EXIT_OURS,
                         "KVM cannot run a Linux guest: internal error, suberror %u, in the micro "
                         "guest (%s)%s",
                         run->internal.suberror, place, PROBE_REMEDY);
    return error_set(err, EXIT_OURS,
                     "KVM cannot run a Linux guest: the micro guest ended with exit reason %u "
                     "(%s)%s",
                     run->exit_reason, place, PROBE_REMEDY);
}

/* Runs until the guest's next OUT. Returns its port with the byte in *value, or -1 with err. */
static int probe_next_report(const struct probe *probe, uint8_t *value, struct error *err)
{
    struct kvm_run *run = probe->vcpu.run;
    if (ioctl(probe->vcpu.fd, KVM_RUN, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               errno == EINTR ? "KVM did not run the micro guest in time"
                                              : "KVM cannot run the micro guest");
    if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT ||
        run->io.size != 1)
        return probe_failed_exit(probe, err);
    *value = *((uint8_t *)run + run->io.data_offset);
    return run->io.port;
}

static int probe_judge(const struct probe *probe, struct error *err)
{
    uint8_t cpuid = 0, user = 0, kernel = 0;
    if (probe_next_report(probe, &cpuid, err) != PROBE_PORT_CPUID ||
        probe_next_report(probe, &user, err) != PROBE_PORT_TRAP ||
        probe_next_report(probe, &kernel, err) != PROBE_PORT_SYSCALL)
        return err->exit_code
                   ? -1
                   : error_set(err, EXIT_OURS, "the micro guest lost its way%s", PROBE_REMEDY);
    if ((kernel & 3) != 0)
        return error_set(err, EXIT_OURS,
                         "KVM cannot run a Linux guest: SYSCALL arrives at privilege level %d "
                         "instead of 0%s%s",
                         kernel & 3,
                         cpuid ? "" : ", and the guest sees the host's CPUID unfiltered",
                         PROBE_REMEDY);
    if (!cpuid)
        return error_set(err, EXIT_OURS,
                         "KVM cannot run a Linux guest: it shows the host's CPUID unfiltered%s",
                         PROBE_REMEDY);
    return 0;
}

static void probe_timeout(int signal_number)
{
    (void)signal_number;
}

int arch_probe(int device_fd, struct error *err)
{
    struct probe probe = { .kvm.vm_fd = -1, .vcpu.fd = -1 };
    struct sigaction action = { .sa_handler = probe_timeout };
    const struct itimerval limit = { .it_value.tv_sec = PROBE_SECONDS };
    const struct itimerval none = { 0 };
    err->exit_code = 0;
    (void)sigaction(SIGALRM, &action, NULL);
    (void)setitimer(ITIMER_REAL, &limit, NULL);
    int result = probe_build(&probe, device_fd, err);
    if (result == 0)
        result = probe_judge(&probe, err);
    (void)setitimer(ITIMER_REAL, &none, NULL);
    vcpu_destroy(&probe.vcpu);
    kvm_destroy(&probe.kvm);
    memory_destroy(&probe.memory);
    return result;
}
