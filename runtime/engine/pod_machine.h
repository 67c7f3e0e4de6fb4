/*
 * The machine of a pod of VMs, and its keeper (runtime/vm/pod.h), as engines' calls bring them
 * about: the first start of a container makes it, in the cgroup "<that of the sandbox>-vm"; it ends
 * with the sandbox. In the sandbox's state directory are: pod.sock, where the keeper listens;
 * pod.json, which keeper there is or was, and its cgroup, written before there is anything of it;
 * pod.lock, held while a keeper is made or removed.
 */
#ifndef HYBRID_ENGINE_POD_MACHINE_H
#define HYBRID_ENGINE_POD_MACHINE_H

#include <jansson.h>

#include "error.h"
#include "plan.h"
#include "runtime/runtime.h"

/* The configuration of a sandbox. New reference, or NULL with *err. */
json_t *pod_read_config(const struct runtime *runtime, const char *sandbox, struct error *err);

/* The source of its mount on /dev/shm, which its containers share; NULL: none. Pure. */
const char *pod_find_shm(const json_t *config);

/*
 * What the machine is to have, by the sandbox's configuration and its plan: memory as the
 * annotation or linux.resources say, the less of the two, else PLAN_VM_POD_MEMORY; processors
 * likewise (a quota; -1: none). Pure. Returns 0, or -1 with *err: an annotation that is no number.
 */
int pod_size_machine(const json_t *config, const struct plan *plan,
                     struct plan_resources *resources, struct error *err);

/* Refuses a container whose memory limit is beyond what its pod's machine has. Pure. Returns 0, or
 * -1 with *err. */
int pod_check_memory(const char *sandbox, const json_t *config, const json_t *document,
                     struct error *err);

/*
 * Makes sure that the pod has a machine: returns 0 once its keeper answers, or -1 with *err. Waits
 * for others that make it, but no longer than the process lives, a pidfd, of the container that is
 * to run in it.
 */
int pod_start_machine(const struct runtime *runtime, const char *sandbox, int process,
                      struct error *err);

/*
 * Ends the machine, if there is one, and removes all that is left of it. Containers that still run
 * in it have some seconds to end: podman deletes a pod's sandbox while it stops them. directory: of
 * the sandbox, whose process has ended; network: the path of its network namespace; NULL: it had
 * its own. Returns 0, or -1 with *err.
 */
int pod_end_machine(const char *directory, const char *network, struct error *err);

#endif
