/*
 * The jail: what the process gives up before it builds a machine. Two steps, because the kernel
 * puts only children into a new pid namespace:
 *   jail_isolate  own namespaces; a child of ours goes on, the parent waits for it
 *   jail_enter    empty root, no descriptors but the named, own ids, no capabilities, no way back
 */
#ifndef HYBRID_VMM_JAIL_H
#define HYBRID_VMM_JAIL_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* How a jail differs from that of a monitor, which has no network at all. */
struct jail_network {
    bool kept;             /* the network namespace that the process is in */
    uint16_t connect_port; /* the only TCP port that may be connected to; 0: none */
};

/* What not every host has. Its absence weakens the jail, and is reported instead of being fatal. */
struct jail_extras {
    bool user_namespace; /* own, with the jail's uid and gid as its only ids */
    int landlock;        /* version of the Landlock ABI that confines the process; 0: none */
};

/*
 * Enters new mount, ipc, uts, network (unless kept), cgroup and pid namespaces. A process that is
 * PID 1 already (its parent made the pid namespace) is not doubled. Needs root and no other thread.
 * Returns 0 in the process that goes on, or -1 with err. The waiting parent never returns: it ends
 * with the child's status.
 */
int jail_isolate(const struct jail_network *network, struct error *err);

/*
 * Gives up the rest. fds: the descriptors to keep, besides 2; sorted in place. Standard input and
 * output become /dev/null. uid and gid are not 0. *extras: what was had besides. Returns 0, or -1
 * with err (the process is then to end).
 */
int jail_enter(int *fds, size_t fd_count, uid_t uid, gid_t gid, const struct jail_network *network,
               struct jail_extras *extras, struct error *err);

#endif
