/*
 * Bundles that run in a VM. Here a process of hybrid's does stay between an engine's calls: the
 * monitor, which stands for the container on the host, as its first process does for the others.
 *
 * The VM boots at the start, not before: engines configure the network before create (podman, CNI
 * plugins), by a hook of create (dockerd up to 26), or between create and start (dockerd later,
 * `ctr run --cni`), and a machine gets the devices that it has at its boot.
 */
#ifndef HYBRID_ENGINE_MACHINE_H
#define HYBRID_ENGINE_MACHINE_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "error.h"
#include "exec.h"
#include "runtime/monitor/workload.h"
#include "runtime/runtime.h"
#include "runtime/state/state.h"

/*
 * Refuses what has no meaning in a machine with a kernel of its own, naming the field. in_pod: the
 * namespaces that a pod shares were checked (pod_join). Returns 0, or -1 with *err.
 */
int machine_check(const struct plan *plan, const struct workload_hold *hold, bool in_pod,
                  struct error *err);

/* A limit among these, by its member of the configuration, to which the VM of a pod cannot hold one
 * of its containers; NULL: there is none. Borrowed. */
const char *machine_find_unheld(const struct plan_resources *resources);

/* Those that it can be held to, as linux.resources for the guest. malloc'd; NULL: out of memory. */
char *machine_describe_limits(const struct plan_resources *resources);

/*
 * Takes the AppArmor profile out of an OCI process object for a VM: it confines what a process asks
 * of the host's kernel, which one in a VM asks nothing, and engines name one wherever the host has
 * AppArmor. Returns whether there was one.
 */
bool machine_leave_out_profile(json_t *process);

/* The monitor of a VM that is to be started. */
struct machine {
    pid_t pid;       /* our child, until somebody adopts it */
    int terminal_fd; /* the terminal's master, the caller's; -1 */
};

/*
 * Makes the monitor, in the VM's cgroup and network namespace. It inherits no descriptor but the
 * streams: not the state's lock either. Returns 0, or -1 with *err and no process left.
 */
int machine_create(const struct workload_spec *spec, struct machine *machine, struct error *err);

/* Ends a machine that was just created. */
void machine_abandon(struct machine *machine);

struct control_message;

/* Asks the monitor, and waits for its answer. Returns 0, or -1 with *err. */
int machine_ask(const struct runtime *runtime, const struct state *state,
                const struct control_message *question, struct error *err);

/* What `start`, `pause`, `resume` and `kill` tell the monitor. Return 0, or -1 with *err. */
int machine_start(const struct runtime *runtime, const struct state *state, struct error *err);
int machine_pause(const struct runtime *runtime, const struct state *state, bool pause,
                  struct error *err);
int machine_signal(const struct runtime *runtime, const struct state *state, int signal, bool all,
                   struct error *err);

/* Tells the monitor to kill its workload, and then to end in its own time: when it has, nothing
 * holds the workload's files. Waits for nothing. */
void machine_ask_to_end(const struct runtime *runtime, const struct state *state);

/*
 * Changes what a container of a pod of VMs is limited to in its guest: memory, processor time,
 * processes. What the host would have to do is refused. Returns 0, or -1 with *err.
 */
int machine_update(const struct runtime *runtime, const struct state *state,
                   const struct plan_resources *resources, struct error *err);

/*
 * Starts a process in it. A process of ours stands for it on the host and is left to whoever adopts
 * it; it exits as the process in the VM does. Returns 0, an exit status whose cause has been told,
 * or -1 with *err.
 */
int machine_exec_detached(const struct runtime *runtime, const struct state *state,
                          int process_file, const struct plan *plan,
                          const struct engine_exec_options *options, struct error *err);

#endif
