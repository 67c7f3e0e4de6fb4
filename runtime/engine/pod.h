/*
 * Pods under `hybrid-vm`. Container engines make a pod as a sandbox, a container that does nothing,
 * and containers that join its namespaces by path. Here the sandbox is neither a VM, which would
 * hold a network that another VM needs, nor a container that runs its image's program: it is a
 * process of hybrid's own (PLAN_PARSE_SANDBOX) that sees no file and can do nothing but wait. The
 * pod's containers run in one VM (pod_machine.h), which is in the sandbox's network namespace; of
 * the ipc and uts namespaces, in which there would be nobody else, they have the guest's in place.
 *
 * Engines mark both by annotations. What a mark can do, whoever set it: as a sandbox, a workload
 * asks that none of its program is run; as a container, it names a sandbox in whose namespaces it
 * must be by its paths too. So who controls a pod's annotations can stop his own pod from working,
 * and no more: not one instruction of an image is executed on the host's kernel by it.
 */
#ifndef HYBRID_ENGINE_POD_H
#define HYBRID_ENGINE_POD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "plan.h"
#include "runtime/monitor/workload.h"
#include "runtime/runtime.h"
#include "runtime/state/state.h"

enum pod_role { POD_NONE, POD_SANDBOX, POD_CONTAINER };

/* Strings are the document's. */
struct pod {
    enum pod_role role;
    const char *sandbox; /* of a container: the sandbox's id */
};

/*
 * What the bundle of the workload `id` is in a pod. Pure. Returns 0, or -1 with *err: annotations
 * that contradict each other, or are no ids.
 */
int pod_read(const char *id, const json_t *document, struct pod *pod, struct error *err);

/* Refuses a sandbox that shares with the host what a VM cannot. Returns 0, or -1 with *err. */
int pod_check_sandbox(const struct plan *plan, struct error *err);

/* Where a container is in a pod of VMs; all zero: in none, it has a VM of its own. */
struct pod_place {
    char *sandbox; /* the sandbox's id */
    pid_t pid;     /* its process */
    uint64_t pid_start;
    char *directory;                     /* its state directory */
    char *shm;                           /* what the pod has on /dev/shm, on the host; NULL */
    struct workload_processes processes; /* whose it is among */
};

/*
 * For a container that is to be a VM: checks that the namespaces of its paths are the sandbox's,
 * and that the pod's machine is large enough for it, and writes into the configuration what the
 * guest is to have in their place: its own ipc and uts namespaces, with the sandbox's names and
 * sysctls. Processes it may share with the sandbox's own pid namespace (shareProcessNamespace), or
 * with a container of the same pod (kubectl debug --target). *place: to be freed by pod_leave
 * either way. Returns 0, or -1 with *err.
 */
int pod_join(const struct runtime *runtime, const struct pod *pod, json_t *document,
             struct pod_place *place, struct error *err);

/*
 * pod_processes.c: whose processes a path of linux.namespaces, pid, of a container shares. Returns
 * 0, or -1 with *err: nobody's of its pod.
 */
int pod_find_processes(const struct runtime *runtime, const struct state *sandbox, const char *path,
                       struct workload_processes *processes, struct error *err);

/* pod_processes.c: whether such a path names a container in the VM of a pod, as the debug container
 * of the same pod. Then it leads to the host's pid namespace, and means the guest's. */
bool pod_names_container(const struct runtime *runtime, const struct pod *pod,
                         const json_t *document);

/* pod_processes.c: whether a path leads to a process's namespace, a file of /proc/PID/ns. */
bool pod_is_namespace_of(pid_t pid, const char *file, const char *path);

/*
 * Whether the VM's monitor is in the network namespace of the sandbox that was looked at. Its path
 * is a process's number, which another process may have got since. Returns 0, or -1 with *err.
 */
int pod_check_network(const struct pod_place *place, pid_t monitor, struct error *err);

void pod_leave(struct pod_place *place);

/*
 * For a container that is to be none of a VM: refuses a sandbox that was made for VMs, one of which
 * may have all that its interface receives. Returns 0, or -1 with *err.
 */
int pod_check_container(const struct runtime *runtime, const struct pod *pod, struct error *err);

#endif
