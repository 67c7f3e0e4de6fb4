/* The container back end: namespaces and cgroups on the host's kernel. */
#ifndef HYBRID_CONTAINER_H
#define HYBRID_CONTAINER_H

#include <limits.h>

#include "notify.h"
#include "runtime/monitor/workload.h"
#include "runtime/sandbox/sandbox.h"

/* A command to be run in a running container. Everything is borrowed but stdio. */
struct container_exec_request {
    const struct workload_join *join;
    struct notify *notify;   /* zeroed; is used by sandbox_execute, and freed by the caller then */
    const struct plan *plan; /* made by plan_parse_process, with its filter */
    int stdio[3];            /* as in workload_spec: taken, also on failure; terminal: -1 */
    uint16_t rows, columns;  /* initial size of the terminal */
    int keep_fds;            /* descriptors 3..3+n-1 are the command's too */
    bool outlives;           /* it does not die with the caller */
};

/*
 * Starts a process in the container's namespaces and cgroup, up to, not including, its execve. The
 * caller then calls sandbox_execute, waits for child->pid and closes the descriptors; the process
 * dies with the caller unless it is to outlive it. With a terminal in the plan, child->terminal_fd
 * is its master. Returns 0, or -1 with *err and nothing left behind.
 */
int container_exec(const struct container_exec_request *request, struct sandbox_child *child,
                   struct error *err);

/*
 * Lets go of a container that was created with a `hold`: it waits for its start, whatever becomes
 * of the caller. Frees the workload, also on failure, which ends the container. Returns 0, or -1
 * with *err.
 */
int container_release(struct workload *workload, struct error *err);

/* Refuses what only a VM can be given, before anything is made. Returns 0, or -1 with *err. */
int container_check_plan(const struct plan *plan, struct error *err);

/* The name of the cgroup that a container with this plan has. */
void container_cgroup_name(const struct plan *plan, const char *id, char name[PATH_MAX]);

/*
 * Removes what a killed monitor left of a container: its processes, its cgroup, and the layer
 * mounts that nobody uses any more. cgroup: as recorded in the state, "" if none. Works on what is
 * not there too. Returns 0, or -1 with *err.
 */
int container_cleanup(const struct workload_paths *paths, const char *cgroup, struct error *err);

#endif
