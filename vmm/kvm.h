/* The thin layer over KVM's system and VM ioctls (Documentation/virt/kvm/api.rst). */
#ifndef HYBRID_VMM_KVM_H
#define HYBRID_VMM_KVM_H

#include "error.h"
#include "vmm/memory.h"

#include <stddef.h>
#include <stdint.h>

struct kvm {
    int device_fd;   /* /dev/kvm; the caller's */
    int vm_fd;       /* owned */
    size_t run_size; /* bytes of a vCPU's shared page */
    unsigned max_cpus;
};

/*
 * Creates an empty VM after checking that KVM has what the machine needs.
 * Returns 0, or -1 with err; kvm_destroy is safe in both cases.
 */
int kvm_create(struct kvm *kvm, int device_fd, struct error *err);

void kvm_destroy(struct kvm *kvm);

/* Whether KVM knows the extension; the number it answers where that has a meaning. */
int kvm_extension(const struct kvm *kvm, unsigned long extension);

/* Gives every region of memory to the VM, one slot each. Returns 0, or -1 with err. */
int kvm_set_memory(const struct kvm *kvm, const struct guest_memory *memory, struct error *err);

/* From now on a write to event_fd raises interrupt `irq`. Returns 0, or -1 with err. */
int kvm_bind_interrupt(const struct kvm *kvm, int event_fd, uint32_t irq, struct error *err);

/*
 * From now on the guest's 4-byte write of `value` to `address` signals event_fd instead of ending
 * KVM_RUN. Returns 0, or -1 with err.
 */
int kvm_bind_doorbell(const struct kvm *kvm, int event_fd, uint64_t address, uint32_t value,
                      struct error *err);

#endif
