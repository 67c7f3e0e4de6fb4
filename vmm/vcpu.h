/* One virtual CPU: its KVM descriptor and what each exit means. */
#ifndef HYBRID_VMM_VCPU_H
#define HYBRID_VMM_VCPU_H

#include "include/machine.h"
#include "vmm/kvm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct bus;
struct kvm_run;

enum { VCPU_END_TEXT = 1024 };

/* How the machine ended, as MACHINE_ENDED tells it. */
struct vcpu_end {
    enum machine_end kind;
    char text[VCPU_END_TEXT];
};

struct vcpu {
    unsigned index;
    int fd;              /* owned */
    struct kvm_run *run; /* shared with KVM */
    size_t run_size;
    const struct bus *bus;
    const struct guest_memory *memory;
    atomic_ulong exits; /* returns of KVM_RUN */
    pthread_t thread;
};

enum vcpu_outcome {
    VCPU_CONTINUE,    /* run it again */
    VCPU_INTERRUPTED, /* somebody kicked it: look what is asked for */
    VCPU_ENDED,       /* the machine ends; *end says how */
};

/* Creates vCPU `index`. Returns 0, or -1 with err; vcpu_destroy is safe in both cases. */
int vcpu_create(struct vcpu *vcpu, const struct kvm *kvm, unsigned index, const struct bus *bus,
                const struct guest_memory *memory, struct error *err);
void vcpu_destroy(struct vcpu *vcpu);

/* Runs the guest until the next exit and handles that. */
enum vcpu_outcome vcpu_run(struct vcpu *vcpu, struct vcpu_end *end);

/* For a guest that gets nowhere: *end says where this vCPU stands. Returns VCPU_ENDED. */
enum vcpu_outcome vcpu_describe_stall(struct vcpu *vcpu, struct vcpu_end *end);

/* Makes a vcpu_run in progress, or the next one, return VCPU_INTERRUPTED. With a signal to the
 * thread this is without race: KVM looks at the flag after it has blocked signals. */
void vcpu_request_exit(struct vcpu *vcpu);

#endif
