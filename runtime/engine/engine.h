/*
 * Workloads of bundles, as engines drive them: created, started, signalled and deleted by calls of
 * their own. Of a container no process of hybrid's stays between them (of a VM: machine.h). Its
 * first process becomes a child of whoever adopts orphans (conmon, the shim), which collects its
 * exit status.
 *
 * Between create and start that process waits on a socket in the state directory. The lock of the
 * state is held by a command that changes it, and only while it does.
 */
#ifndef HYBRID_ENGINE_H
#define HYBRID_ENGINE_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "error.h"
#include "runtime/runtime.h"
#include "runtime/state/state.h"

struct engine_create_options {
    const char *bundle;         /* "." by default */
    const char *pid_file;       /* NULL: none */
    const char *console_socket; /* NULL: none */
    int *terminal_fd; /* receives the terminal's master in place of console_socket; NULL */
    bool no_pivot;    /* for callers of runc: pivot_root works everywhere here */
    bool no_new_keyring;
    int64_t preserve_fds; /* descriptors 3..3+n-1 are the command's too */
};

/* Creates a container from a bundle. Returns 0, or -1 with *err and nothing left behind. */
int engine_create(const struct runtime *runtime, const char *id,
                  const struct engine_create_options *options, struct error *err);

/* Whether there is such a container and it was made from a bundle. */
bool engine_owns(const struct runtime *runtime, const char *id);

/* Refuses a workload of an image, for verbs that engines alone use. Returns 0, or -1 with *err. */
int engine_require(const struct state *state, struct error *err);

/*
 * Takes the lock and reads the state, for a command that changes the container. Waits for others
 * that do. Returns 0, or -1 with *err.
 */
int engine_lock(const struct runtime *runtime, const char *id, int *lock, struct state *state,
                struct error *err);

/* Executes the command of a created container. Returns 0, or -1 with *err. */
int engine_start(const struct runtime *runtime, const char *id, struct error *err);

/*
 * Sends a signal to the first process, or to all, as SIGKILL goes where the pid namespace is not
 * the container's own; 0: only tells whether it could. Returns 0, or -1 with *err.
 */
int engine_signal(const struct runtime *runtime, const char *id, int signal, bool all,
                  struct error *err);

/* Pauses a running container, or lets a paused one go on. Returns 0, or -1 with *err. */
int engine_pause(const struct runtime *runtime, const char *id, bool pause, struct error *err);

/*
 * The processes of a container by their numbers on the host, *pids malloc'd. Of a VM, those that
 * make it up: the workload's own belong to the guest's kernel. Returns 0, or -1 with *err.
 */
int engine_list_processes(const struct state *state, pid_t **pids, size_t *count,
                          struct error *err);

/*
 * Removes a container that has stopped (runtime.md, "Delete": no other); with force any, killing it
 * first, and one that does not exist is no error. Returns 0, or -1 with *err.
 */
int engine_delete(const struct runtime *runtime, const char *id, bool force, struct error *err);

/* The state as the specification has it, with what engines read beside it. New reference, or NULL
 * with *err. */
json_t *engine_describe(const struct runtime *runtime, const struct state *state,
                        struct error *err);

/* A descriptor of its first process, which cannot come to mean another one; -1 with *err. */
int engine_open_process(const struct state *state, struct error *err);

#endif
