/*
 * The VM back end: describes a machine, spawns hybrid-vmm for it, and speaks to hybrid-init in the
 * guest. The operations are vm_ops (runtime/monitor/workload.h).
 *
 * Environment: HYBRID_VM_KERNEL_ARGUMENTS is appended to the guest kernel's command line, for
 * diagnosis: "loglevel=7" shows its messages.
 */
#ifndef HYBRID_VM_H
#define HYBRID_VM_H

#include "error.h"
#include "runtime/monitor/workload.h"

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
