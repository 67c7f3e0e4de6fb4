/* Registers of a vCPU at the entry of a 64-bit kernel, and the VM's controllers and timers. */
#include "vmm/arch.h"
#include "vmm/x86_64/cpuid.h"
#include "vmm/x86_64/layout.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
    MSR_IA32_SYSENTER_CS = 0x174,
    MSR_IA32_SYSENTER_ESP = 0x175,
    MSR_IA32_SYSENTER_EIP = 0x176,
    MSR_IA32_MISC_ENABLE = 0x1a0,
    MSR_IA32_MTRR_DEF_TYPE = 0x2ff,
};
#define MSR_STAR           0xc0000081U
#define MSR_LSTAR          0xc0000082U
#define MSR_CSTAR          0xc0000083U
#define MSR_SYSCALL_MASK   0xc0000084U
#define MSR_KERNEL_GS_BASE 0xc0000102U

static const struct kvm_msr_entry BOOT_MSRS[] = {
    { .index = MSR_IA32_SYSENTER_CS },
    { .index = MSR_IA32_SYSENTER_ESP },
    { .index = MSR_IA32_SYSENTER_EIP },
    { .index = MSR_STAR },
    { .index = MSR_LSTAR },
    { .index = MSR_CSTAR },
    { .index = MSR_SYSCALL_MASK },
    { .index = MSR_KERNEL_GS_BASE },
    { .index = MSR_IA32_MISC_ENABLE, .data = 1 },       /* fast string operations */
    { .index = MSR_IA32_MTRR_DEF_TYPE, .data = 0x806 }, /* MTRRs on, write-back by default */
};

int arch_prepare_vm(const struct kvm *kvm, struct error *err)
{
    /* The order is KVM's: the TSS and identity map before vCPUs, the PIT after the irqchip. */
    uint64_t identity_map = X86_IDENTITY_MAP;
    struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
    if (ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, X86_TSS) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_SET_TSS_ADDR");
    if (ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_SET_IDENTITY_MAP_ADDR");
    if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM cannot make interrupt controllers");
    if (ioctl(kvm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM cannot make a timer");
    return 0;
}

static int cpu_set_cpuid(const struct kvm *kvm, const struct vcpu *vcpu, unsigned cpu_count,
                         struct error *err)
{
    union cpuid_table *table = calloc(1, sizeof *table);
    if (!table)
        return error_set(err, EXIT_OURS, "out of memory");
    table->head.nent = CPUID_MAX_ENTRIES;
    int result = ioctl(kvm->device_fd, KVM_GET_SUPPORTED_CPUID, &table->head);
    if (result == 0) {
        cpuid_shape(table, vcpu->index, cpu_count,
                    kvm_extension(kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0);
        result = ioctl(vcpu->fd, KVM_SET_CPUID2, &table->head);
    }
    int saved = errno;
    free(table);
    if (result < 0)
        return error_set_errno(err, EXIT_OURS, saved, "KVM refuses the CPU features of vCPU %u",
                               vcpu->index);
    return 0;
}

static int cpu_set_msrs(const struct vcpu *vcpu, struct error *err)
{
    union {
        struct kvm_msrs head;
        unsigned char room[sizeof(struct kvm_msrs) + sizeof BOOT_MSRS];
    } msrs = { .head.nmsrs = sizeof BOOT_MSRS / sizeof BOOT_MSRS[0] };
    memcpy(msrs.head.entries, BOOT_MSRS, sizeof BOOT_MSRS);
    /* KVM stops at the first register it refuses and returns how many it took. */
    int set = ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);
    if (set < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_SET_MSRS");
    if ((unsigned)set != msrs.head.nmsrs)
        return error_set(err, EXIT_OURS, "KVM refuses MSR 0x%x", BOOT_MSRS[set].index);
    return 0;
}

/* The wiring of a PC: the 8259's interrupts at LINT0, non-maskable ones at LINT1. */
static int cpu_set_lapic(const struct vcpu *vcpu, struct error *err)
{
    enum { LVT_LINT0 = 0x350, LVT_LINT1 = 0x360, MODE_EXTINT = 7 << 8, MODE_NMI = 4 << 8 };
    struct kvm_lapic_state lapic;
    if (ioctl(vcpu->fd, KVM_GET_LAPIC, &lapic) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_GET_LAPIC");
    uint32_t lint0 = MODE_EXTINT, lint1 = MODE_NMI;
    memcpy(lapic.regs + LVT_LINT0, &lint0, sizeof lint0);
    memcpy(lapic.regs + LVT_LINT1, &lint1, sizeof lint1);
    if (ioctl(vcpu->fd, KVM_SET_LAPIC, &lapic) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_SET_LAPIC");
    return 0;
}

/*
 * x87, SSE and AVX state on from the start, as far as the CPU has them. Linux sets XCR0 itself; but
 * an emulated SVM that does not intercept XSETBV would leave KVM believing in the reset value, and
 * restoring that at each entry (seen with QEMU's).
 */
static int cpu_set_xcr0(const struct kvm *kvm, const struct vcpu *vcpu, struct error *err)
{
    enum { X87_SSE_AVX = 7 };
    struct kvm_xcrs xcrs;
    if (kvm_extension(kvm, KVM_CAP_XCRS) <= 0)
        return 0;
    if (ioctl(vcpu->fd, KVM_GET_XCRS, &xcrs) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_GET_XCRS");
    for (uint64_t wanted = X87_SSE_AVX; wanted > 0 && xcrs.nr_xcrs > 0; wanted >>= 1) {
        xcrs.xcrs[0].value = wanted;
        if (ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs) == 0)
            return 0; /* the CPU has these */
        if (errno != EINVAL)
            break;
    }
    return error_set_errno(err, EXIT_OURS, errno, "KVM_SET_XCRS");
}

static const struct kvm_segment CODE_SEGMENT = {
    .limit = 0xffffffff, .selector = 0x10, .type = 0xb, .present = 1, .s = 1, .l = 1, .g = 1
};
static const struct kvm_segment DATA_SEGMENT = {
    .limit = 0xffffffff, .selector = 0x18, .type = 0x3, .present = 1, .s = 1, .db = 1, .g = 1
};

/* Long mode with flat segments and the identity map, as the 64-bit boot protocol asks. */
static int cpu_set_registers(const struct vcpu *vcpu, uint64_t entry, struct error *err)
{
    enum { CR0_PE = 1, CR0_ET = 1 << 4, CR4_PAE = 1 << 5, EFER_LME = 1 << 8, EFER_LMA = 1 << 10 };
    static const uint64_t GDT[] = { 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
    struct kvm_sregs special;
    if (memory_write(vcpu->memory, X86_GDT, GDT, sizeof GDT) < 0)
        return error_set(err, EXIT_OURS, "the machine's memory is too small to boot in");
    if (ioctl(vcpu->fd, KVM_GET_SREGS, &special) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_GET_SREGS");
    special.gdt.base = X86_GDT;
    special.gdt.limit = sizeof GDT - 1;
    special.idt.limit = 0;
    special.cs = CODE_SEGMENT;
    special.ds = special.es = special.fs = special.gs = special.ss = DATA_SEGMENT;
    special.cr0 = CR0_PE | CR0_ET | 1ULL << 31; /* paging */
    special.cr3 = X86_PAGE_TABLES;
    special.cr4 = CR4_PAE;
    special.efer = EFER_LME | EFER_LMA;
    struct kvm_regs registers = {
        .rip = entry, .rsi = X86_BOOT_PARAMS, .rsp = X86_BOOT_STACK, .rflags = 2
    };
    if (ioctl(vcpu->fd, KVM_SET_SREGS, &special) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_SET_SREGS");
    if (ioctl(vcpu->fd, KVM_SET_REGS, &registers) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_SET_REGS");
    return 0;
}

int arch_prepare_vcpu(const struct kvm *kvm, const struct vcpu *vcpu, unsigned cpu_count,
                      uint64_t entry, struct error *err)
{
    /* CPUID first: what the MSRs may hold depends on it. */
    if (cpu_set_cpuid(kvm, vcpu, cpu_count, err) < 0 || cpu_set_msrs(vcpu, err) < 0 ||
        cpu_set_xcr0(kvm, vcpu, err) < 0 || cpu_set_lapic(vcpu, err) < 0)
        return -1;
    /* The others wait for the start-up interrupt that the kernel sends, in KVM's reset state. */
    return vcpu->index == 0 ? cpu_set_registers(vcpu, entry, err) : 0;
}

/* The instruction at linear address rip, in hex; empty where it cannot be read. */
static void cpu_describe_instruction(const struct vcpu *vcpu, uint64_t rip, char *text, size_t size)
{
    enum { INSTRUCTION_BYTES = 15 };
    struct kvm_translation translation = { .linear_address = rip };
    text[0] = '\0';
    if (ioctl(vcpu->fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
        return;
    size_t used = 0;
    for (unsigned i = 0; i < INSTRUCTION_BYTES && used + 4 < size; i++) {
        uint8_t byte;
        if (memory_read(vcpu->memory, translation.physical_address + i, &byte, 1) < 0)
            break;
        used += (size_t)snprintf(text + used, size - used, " %02x", byte);
    }
}

void arch_describe_vcpu(const struct vcpu *vcpu, char *text, size_t size)
{
    struct kvm_regs registers;
    struct kvm_sregs special;
    char instruction[64];
    if (ioctl(vcpu->fd, KVM_GET_REGS, &registers) < 0 ||
        ioctl(vcpu->fd, KVM_GET_SREGS, &special) < 0) {
        (void)snprintf(text, size, "registers unknown");
        return;
    }
    cpu_describe_instruction(vcpu, special.cs.base + registers.rip, instruction,
                             sizeof instruction);
    (void)snprintf(text, size, "rip 0x%llx cs 0x%x rsp 0x%llx cr2 0x%llx%s%s",
                   (unsigned long long)registers.rip, special.cs.selector,
                   (unsigned long long)registers.rsp, (unsigned long long)special.cr2,
                   instruction[0] ? ", instruction bytes" : "", instruction);
}
