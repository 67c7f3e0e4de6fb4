/* One virtual machine: what it consists of, from options to its end. */
#ifndef HYBRID_VMM_MACHINE_H
#define HYBRID_VMM_MACHINE_H

#include "error.h"
#include "vmm/bus.h"
#include "vmm/console.h"
#include "vmm/control.h"
#include "vmm/crew.h"
#include "vmm/jail.h"
#include "vmm/kvm.h"
#include "vmm/loop.h"
#include "vmm/memory.h"
#include "vmm/options.h"
#include "vmm/virtio/blk.h"
#include "vmm/virtio/fs.h"
#include "vmm/virtio/net.h"
#include "vmm/virtio/rng.h"
#include "vmm/virtio/vsock.h"

struct machine {
    struct kvm kvm;
    struct guest_memory memory;
    struct loop loop;
    struct console console;
    struct bus bus;
    struct blk disk, scratch;
    struct rate_limiter limiter; /* of both together */
    struct loop_source disk_failure;
    struct vsock vsock;
    struct net nets[MACHINE_MAX_NETS];
    size_t net_count;
    struct fs share;
    struct rng rng;
    struct vcpu vcpus[MACHINE_MAX_CPUS];
    unsigned cpu_count;
    struct crew crew;
    struct control control;
    struct loop_source end_source;
    struct jail_extras jail; /* for hybrid to know */
    bool ended;
};

/*
 * Builds the machine and starts its threads, the guest not yet running. Runs in the jail.
 * Returns 0, or -1 with err. There is no way back but the end of the process.
 */
int machine_build(struct machine *machine, const struct options *options, struct error *err);

/*
 * Runs the guest until the machine ends, and what the guest sent is delivered; tells hybrid.
 * Returns the exit status of the process: 0 for an end that the guest asked for.
 */
int machine_run(struct machine *machine);

#endif
