/*
 * Pods under `hybrid-vm`. Container engines make a pod as a sandbox, a container that does nothing,
 * and containers that join its namespaces by path. Here the sandbox is neither a VM, which would
 * hold a network that another VM needs, nor a container that runs its image's program: it is a
 * process of hybrid's own (PLAN_PARSE_SANDBOX) that sees no file and can do nothing but wait. A
 * pod's container is a VM in the sandbox's network namespace, one at a time: of the ipc and uts
 * namespaces, in which there would be nobody else, it has the guest's own in place.
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
#include "runtime/runtime.h"

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

/* Where a VM is in a pod; { .lock = -1 }: in none. */
struct pod_place {
    char *sandbox; /* the sandbox's id; NULL: the VM joins nothing of a pod */
    pid_t pid;     /* its process */
    uint64_t pid_start;
    bool network; /* whether its network namespace is joined */
    int lock;     /* the sandbox's, until the VM is recorded as its member */
};

/*
 * For a container that is to be a VM: checks that the namespaces of its paths are the sandbox's and
 * that no other VM has them, and writes into the configuration what the guest is to have of its
 * own: ipc and uts namespaces, with the sandbox's names and sysctls. *place: to be freed by
 * pod_leave either way. Returns 0, or -1 with *err.
 */
int pod_join(const struct runtime *runtime, const char *id, const struct pod *pod, json_t *document,
             struct pod_place *place, struct error *err);

/*
 * Once the state of the container `id` exists: notes it in that of its sandbox, and lets go of the
 * sandbox's lock. Returns 0, or -1 with *err.
 */
int pod_record_member(const struct runtime *runtime, struct pod_place *place, const char *id,
                      struct error *err);

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
