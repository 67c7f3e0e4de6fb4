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

/*
 * For a container that is to be a VM: checks that the namespaces of its paths are the sandbox's and
 * that no other VM has them, and writes into the configuration what the guest is to have of its
 * own: ipc and uts namespaces, with the sandbox's names and sysctls. *lock: the sandbox's, to be
 * kept until the container is recorded as its member; stays -1 if it joins nothing. Returns 0, or
 * -1 with *err.
 */
int pod_join(const struct runtime *runtime, const char *id, const struct pod *pod, json_t *document,
             int *lock, struct error *err);

/*
 * Once the state of the container `id` exists: notes it in that of its sandbox, whose lock is held.
 * document: as pod_join left it. Returns 0, or -1 with *err.
 */
int pod_record_member(const struct runtime *runtime, const json_t *document, const char *id,
                      struct error *err);

#endif
