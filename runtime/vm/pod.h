/*
 * The machine of a pod: one VM, in which all of the pod's containers run. Its keeper, a process of
 * its own, has it: hybrid-vmm, the virtiofsd, the name helper, the taps and the cgroup. Each
 * container has a monitor as a VM of its own has; that attaches to the keeper's machine:
 *
 *     monitor -> keeper   ATTACH  with the container's shares as mounts, in as many messages as it
 *                                 takes; `count` says how many they are in all, and `processes`
 *                                 whose pid namespace it joins: of another container, the keeper
 *                                 knows the monitor by the kernel's word of who has connected
 *     keeper -> monitor   ATTACHED  the container's control connection into the guest, and a copy
 *                                 of the socket to hybrid-vmm, for offers of streams, and, where
 *                                 there is such, the directory of its threads, whose times tell a
 *                                 guest that hangs from one without a processor; `first`: the
 *                                 number of its first share; the others follow. Or FAILED
 *     keeper -> monitor   ENDED   the machine is lost, or the container in it; the text says why
 *     monitor -> keeper   KILL    the guest does not do as it is told: the machine is to be ended
 *
 * over a SOCK_SEQPACKET socket in the state directory of the pod's sandbox, one message a packet.
 * The connection is the container's claim: when it closes, the keeper takes away what the container
 * had. Only the keeper reads what hybrid-vmm says.
 */
#ifndef HYBRID_VM_POD_H
#define HYBRID_VM_POD_H

#include <stdint.h>

#include "error.h"
#include "plan.h"
#include "runtime/cgroup/scope.h"
#include "runtime/monitor/workload.h"

#define POD_SOCKET "pod.sock"

enum pod_message_type {
    POD_ATTACH = 1,
    POD_KILL = 2,
    POD_ATTACHED = 16,
    POD_FAILED = 17,
    POD_ENDED = 18,
};

enum {
    POD_MAX_SHARES = 1024,    /* of one container */
    POD_MAX_CONTAINERS = 128, /* at once */
    POD_MAX_TEXT = 2048,
};

struct pod_message {
    uint32_t type;
    uint32_t count;                      /* ATTACH: mounts in all messages together */
    uint32_t first;                      /* ATTACHED */
    uint32_t status;                     /* FAILED, ENDED: of the container then */
    struct workload_processes processes; /* ATTACH */
    char text[POD_MAX_TEXT];             /* FAILED, ENDED; sent without what follows the NUL */
};

/* Returns 0, or -1 with errno. The descriptors stay the caller's. */
int pod_send(int socket, const struct pod_message *message, const int *fds, size_t fd_count);

/* As control_receive: 1, 0 when the peer is gone, or -1 with errno. fds has room for IO_MAX_FDS. */
int pod_receive(int socket, struct pod_message *message, int *fds, size_t *fd_count);

/* Ends a keeper and its machine at once, whatever runs in it. */
#define POD_END_SIGNAL SIGUSR1

/* What a keeper is started with. Everything is borrowed for as long as it runs. */
struct vm_pod {
    const char *id; /* of the sandbox */
    struct workload_paths paths;
    struct plan_resources resources;  /* of the machine: its memory, its processors */
    const char *cgroup;               /* the name of the machine's */
    const struct cgroup_scope *scope; /* that systemd makes for it; NULL */
    int sandbox;                      /* a pidfd of the sandbox's process, */
    pid_t sandbox_pid;                /* and its number, while it lives */
    uint64_t shm_size;                /* bytes of the pod's /dev/shm; 0: it has none */
};

struct keeper;

/*
 * Boots the machine of a pod, of which the caller, in a process of its own that has no other
 * descriptors or threads, becomes the keeper: in the machine's cgroup and in the sandbox's network
 * namespace. Returns what listens on POD_SOCKET by then, or NULL with *err and nothing left but the
 * cgroup that the caller is in.
 */
struct keeper *keeper_create(const struct vm_pod *pod, struct error *err);

/*
 * Serves containers until the machine has ended, or the sandbox's process and then the last of the
 * containers, or until POD_END_SIGNAL. SIGTERM is as the end of the sandbox's process. Frees the
 * keeper.
 */
void keeper_run(struct keeper *keeper);

#endif
