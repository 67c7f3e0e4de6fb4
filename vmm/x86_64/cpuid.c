#include "vmm/x86_64/cpuid.h"

#include <stddef.h>
#include <stdint.h>

enum cpuid_register { EAX, EBX, ECX, EDX };

/* Bits cleared in or added to one register of a leaf; the topology follows below. */
struct cpuid_rule {
    uint32_t function;
    enum cpuid_register in;
    uint32_t clear, set;
    const char *reason;
};

#define BIT(n) (1U << (n))
#define ALL    0xffffffffU

static const struct cpuid_rule RULES[] = {
    { 0x1, ECX, BIT(3), 0, "MONITOR/MWAIT: would idle a host CPU in the guest's name" },
    { 0x1, ECX, BIT(5), 0, "VMX: no nested guests" },
    { 0x1, ECX, BIT(15), 0, "PDCM: performance counters are the host's" },
    { 0x1, ECX, 0, BIT(31), "hypervisor: the guest looks for kvm-clock" },
    { 0x7, EDX, BIT(18), 0, "PCONFIG: not for guests" },
    { 0xa, EAX, ALL, 0, "no performance counters" },
    { 0xa, EBX, ALL, 0, "no performance counters" },
    { 0xa, ECX, ALL, 0, "no performance counters" },
    { 0xa, EDX, ALL, 0, "no performance counters" },
    { 0x80000001, ECX, BIT(2), 0, "SVM: no nested guests" },
    { 0x80000001, ECX, BIT(23) | BIT(24) | BIT(28), 0, "AMD performance counters" },
    { 0x8000000a, EAX, ALL, 0, "SVM revision: no nested guests" },
    { 0x8000000a, EBX, ALL, 0, "SVM address spaces" },
    { 0x8000000a, EDX, ALL, 0, "SVM features" },
    { 0x80000022, EAX, ALL, 0, "AMD performance counters, version 2" },
    { 0x8000001f, EAX, ALL, 0, "memory encryption: this machine has none" },
};

static uint32_t *cpuid_register(struct kvm_cpuid_entry2 *entry, enum cpuid_register which)
{
    uint32_t *const registers[] = { &entry->eax, &entry->ebx, &entry->ecx, &entry->edx };
    return registers[which];
}

/* Bits that hold numbers 0 ... count - 1. */
static uint32_t cpuid_width(unsigned count)
{
    uint32_t width = 0;
    while ((1U << width) < count)
        width++;
    return width;
}

/* Leaves 0xB and 0x1F: threads (one a core), cores, end. */
static void cpuid_shape_topology(struct kvm_cpuid_entry2 *entry, unsigned index, unsigned cpu_count)
{
    enum { LEVEL_THREAD = 1 << 8, LEVEL_CORE = 2 << 8 };
    entry->eax = entry->ebx = 0;
    entry->ecx = entry->index & 0xff;
    entry->edx = index;
    if (entry->index == 0) {
        entry->ebx = 1;
        entry->ecx |= LEVEL_THREAD;
    } else if (entry->index == 1) {
        entry->eax = cpuid_width(cpu_count);
        entry->ebx = cpu_count;
        entry->ecx |= LEVEL_CORE;
    }
}

static void cpuid_shape_entry(struct kvm_cpuid_entry2 *entry, unsigned index, unsigned cpu_count,
                              bool tsc_deadline)
{
    switch (entry->function) {
    case 0x1: /* APIC id, logical CPUs of the package, CLFLUSH size in 8 bytes; HTT */
        entry->ebx = (entry->ebx & 0xff) | index << 24 | cpu_count << 16 | 8 << 8;
        entry->edx = (entry->edx & ~BIT(28)) | (cpu_count > 1 ? BIT(28) : 0);
        entry->ecx = (entry->ecx & ~BIT(24)) | (tsc_deadline ? BIT(24) : 0);
        break;
    case 0x4: /* Intel's caches: no sharing, cores of the package */
        if (entry->eax & 0x1f)
            entry->eax = (entry->eax & 0x3fff) | (cpu_count - 1) << 26;
        break;
    case 0xb:
    case 0x1f:
        cpuid_shape_topology(entry, index, cpu_count);
        break;
    case 0x80000008: /* AMD: cores of the package, bits of their number */
        entry->ecx = (entry->ecx & ~0xf0ffU) | (cpu_count - 1) | cpuid_width(cpu_count) << 12;
        break;
    case 0x8000001d: /* AMD's caches: no sharing */
        if (entry->eax & 0x1f)
            entry->eax &= ~(0xfffU << 14);
        break;
    case 0x8000001e: /* AMD: APIC id, core id with one thread, node 0 */
        entry->eax = index;
        entry->ebx = index & 0xff;
        entry->ecx = 0;
        break;
    default:
        break;
    }
}

/* Adds what is missing of leaf `function`, so that both subleaves of the topology exist. */
static void cpuid_ensure(union cpuid_table *table, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < table->head.nent; i++) {
        if (table->head.entries[i].function == function && table->head.entries[i].index == index)
            return;
    }
    if (table->head.nent < CPUID_MAX_ENTRIES)
        table->head.entries[table->head.nent++] = (struct kvm_cpuid_entry2){
            .function = function, .index = index, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX
        };
}

void cpuid_shape(union cpuid_table *table, unsigned index, unsigned cpu_count, bool tsc_deadline)
{
    uint32_t max_leaf = 0;
    for (uint32_t i = 0; i < table->head.nent; i++) {
        if (table->head.entries[i].function == 0) {
            if (table->head.entries[i].eax < 0xb) /* the topology leaf is always there */
                table->head.entries[i].eax = 0xb;
            max_leaf = table->head.entries[i].eax;
        }
    }
    for (uint32_t subleaf = 0; subleaf < 3; subleaf++) {
        cpuid_ensure(table, 0xb, subleaf);
        if (max_leaf >= 0x1f)
            cpuid_ensure(table, 0x1f, subleaf);
    }
    for (uint32_t i = 0; i < table->head.nent; i++) {
        struct kvm_cpuid_entry2 *entry = &table->head.entries[i];
        for (size_t j = 0; j < sizeof RULES / sizeof RULES[0]; j++) {
            if (RULES[j].function != entry->function)
                continue;
            uint32_t *target = cpuid_register(entry, RULES[j].in);
            *target = (*target & ~RULES[j].clear) | RULES[j].set;
        }
        cpuid_shape_entry(entry, index, cpu_count, tsc_deadline);
    }
}
