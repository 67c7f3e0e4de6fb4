/* The features that a vCPU shows: what KVM supports, minus what the guest is not to use. */
#ifndef HYBRID_VMM_X86_64_CPUID_H
#define HYBRID_VMM_X86_64_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>

enum { CPUID_MAX_ENTRIES = 256 };

/* KVM's variable-length structure, and room for its entries. */
union cpuid_table {
    struct kvm_cpuid2 head;
    unsigned char
        room[sizeof(struct kvm_cpuid2) + CPUID_MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
};

/*
 * Turns the host's features, as KVM_GET_SUPPORTED_CPUID gave them, into those of vCPU `index` of
 * `cpu_count`, each a core of one package; the APIC id is the index.
 */
void cpuid_shape(union cpuid_table *table, unsigned index, unsigned cpu_count, bool tsc_deadline);

#endif
