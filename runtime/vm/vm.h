/*
 * The VM back end: describes a machine, spawns hybrid-vmm for it, and speaks to hybrid-init in the
 * guest. The operations are vm_ops (runtime/monitor/workload.h); of a container in a pod they are
 * those of a guest in the machine that the pod's keeper has (pod.h).
 *
 * Environment: HYBRID_VM_KERNEL_ARGUMENTS is appended to the guest kernel's command line, for
 * diagnosis: "loglevel=7" shows its messages.
 */
#ifndef HYBRID_VM_H
#define HYBRID_VM_H

#include "error.h"
#include "runtime/monitor/workload.h"

/*
 * What a guest has for each step of its start, in seconds: a minute, and twice that more for which
 * the host has no processor for it. Who waits for a start, and counts its steps, waits for longer.
 */
enum {
    VM_STEP_SECONDS = 60,
    VM_STEP_LONGEST = 3, /* times that */
    VM_POD_STEPS = 2,    /* of a pod's machine: it boots, it is set up */
    VM_STEPS = 4, /* of a container of a pod: it is let in, its init is there, it is set up, it
                     runs; a machine of its own does without the first */
    VM_STEPS_SLACK = 30, /* seconds for what is done on the host */
};

/* How a refusal of what a bundle asks for begins, whoever finds it; the field's name follows. */
#define VM_REFUSES "cannot run this bundle as a VM: "

/*
 * Removes what a monitor that died has left of its VM. cgroup: as recorded in the state
 * (workload_ops.cgroup); "" does nothing. network_path: the network namespace that it was joined
 * to; NULL: none. Kills hybrid-vmm if it still runs. Returns 0, or -1 with *err.
 */
int vm_remove_leftovers(const char *cgroup, const char *network_path, struct error *err);

/*
 * Whether this machine can run VMs: opens /dev/kvm and, unless <root>/cache/kvm says that it was
 * done since the last boot, runs hybrid-vmm's micro guest. Returns a descriptor of /dev/kvm, the
 * caller's, or -1 with *err: what is wrong and what to do about it.
 */
int vm_open_kvm(const struct workload_paths *paths, struct error *err);

#endif
