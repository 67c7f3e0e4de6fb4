/*
 * The state directory of workloads, <root>/<id>/: made, locked, read, listed, removed. Crash-safe:
 * state.json is written to a temporary name and renamed; a state whose monitor is dead reads as
 * stopped; what a killed process left is removed by the next command that meets it.
 */
#ifndef HYBRID_STATE_H
#define HYBRID_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

enum state_status {
    STATE_CREATING,
    STATE_CREATED,
    STATE_RUNNING,
    STATE_PAUSED,
    STATE_STOPPED,
};

struct state {
    char *id;
    char *image;     /* reference as resolved; NULL for a bundle */
    char *isolation; /* "container", "vm", or "sandbox": a pod's, which runs no program at all */
    char *pod;       /* of a container in the VM of a pod: the id of the sandbox */
    char *bundle;    /* absolute; NULL: made from an image. An engine's container has no monitor: it
                        runs as long as its process does, and the lock is held by commands only */
    enum state_status status;
    pid_t pid;          /* container's first process, or hybrid-vmm; 0: none */
    uint64_t pid_start; /* its start time (field 22 of /proc/pid/stat), against reuse */
    pid_t monitor_pid;
    uint64_t monitor_start;
    char *cgroup;    /* as workload_ops.cgroup; "" none */
    int landlock;    /* of hybrid-vmm: the version in force; 0: none. The kernel tells it nowhere */
    int exit_status; /* valid when stopped and `exited` */
    bool exited;
    bool oom;
    char *warning;                      /* what went wrong without ending it; NULL: nothing */
    bool remove;                        /* --rm */
    int64_t created, started, finished; /* seconds since the epoch; 0: not yet */
    json_t *command;                    /* array of strings, for ps */
    json_t *layers;  /* array of diff-id hex, lowest first: start does not need the index */
    json_t *options; /* what `start` needs again: "stdin": true, "cgroup_manager": "systemd" */
    json_t *policy;  /* the policy's decision, as policy_decision_to_json; NULL: there was none */
    /* Not stored: the monitor was killed. What it left is still to be removed (a process, a cgroup,
     * mounts), by whoever holds the lock; `status` already reads STATE_STOPPED. */
    bool abandoned;
};

enum { STATE_MAX_ID = 128 };

/*
 * Checks that text can be an id: [a-zA-Z0-9_][a-zA-Z0-9_.-]*, at most STATE_MAX_ID bytes, not a
 * name that <root> uses itself. Returns 0, or -1 with *err.
 */
int state_check_id(const char *text, struct error *err);

/* <root>/<id>, malloc'd; NULL with *err. The id must have been checked. */
char *state_directory(const char *root, const char *id, struct error *err);

/*
 * Makes <root>/<id>/ with state.json, config.json and lock, all at once: nobody sees a part of it.
 * *lock: the descriptor that holds the lock, inherited over fork and released when the last copy is
 * closed. Returns 0, 1 if the id is in use (nothing was changed), or -1 with *err.
 */
int state_create(const char *root, const struct state *state, const char *config_text, int *lock,
                 struct error *err);

/*
 * Takes the lock of an existing workload: whoever holds it may change, start or remove it. Returns
 * 0, 1 if another process has it (a monitor: the workload runs), or -1 with *err (there is no such
 * workload). Does not wait.
 */
int state_lock(const char *root, const char *id, int *lock, struct error *err);

/* Reads <root>/<id>/state.json. Returns 0, or -1 with *err: "no such workload". */
int state_read(const char *root, const char *id, struct state *state, struct error *err);

/* The same for the holder of the lock, whose own lock does not count as a living monitor. */
int state_read_locked(const char *root, const char *id, struct state *state, struct error *err);

/*
 * Whether <root>/<id>/ is a workload's whose state is lost: it has the other files of one (a lock
 * and a configuration), and a state.json that is none, or none at all. 1: it is; 0: its state is
 * right, or it is no workload's, or there is no such directory; -1 with *err: nobody can tell, such
 * as for want of descriptors.
 */
int state_is_damaged(const char *root, const char *id, struct error *err);

/* Whether there is no <root>/<id>/ at all; not where nobody can tell. */
bool state_is_absent(const char *root, const char *id);

/* Writes state.json anew. Only the holder of the lock may. Returns 0, or -1 with *err. */
int state_write(const char *root, const struct state *state, struct error *err);

/* Reads <root>/<id>/config.json. malloc'd, or NULL with *err. */
char *state_read_config(const char *root, const char *id, struct error *err);

struct state_list {
    struct state *states; /* newest first */
    size_t count;
};

/* Reads all states. A root that does not exist has none. Returns 0, or -1 with *err. */
int state_list_read(const char *root, struct state_list *list, struct error *err);
void state_list_free(struct state_list *list);

/*
 * Removes what a creation or a removal left that was killed in its midst, as listing does. Returns
 * 0, or -1 with *err.
 */
int state_sweep(const char *root, struct error *err);

/* Removes <root>/<id>/ and what is in it. Only the holder of the lock may. 0, or -1 with *err. */
int state_remove(const char *root, const char *id, struct error *err);

void state_free(struct state *state);

/* "running", and the like. */
const char *state_status_name(enum state_status status);

/* The state as JSON (new reference), as in state.json; NULL: out of memory. */
json_t *state_to_json(const struct state *state);

/* Reads what state_to_json wrote. Returns 0, or -1 with *err; *state is safe to free either way. */
int state_from_json(const json_t *document, struct state *state, struct error *err);

/* Whether the process with this start time exists and has not ended: a zombie has. */
bool state_process_lives(pid_t pid, uint64_t start);

/* Start time of a process as the kernel counts it, 0 if there is no such process. */
uint64_t state_process_start(pid_t pid);

static inline void cleanup_state(struct state *state)
{
    state_free(state);
}
#define _cleanup_state_ __attribute__((cleanup(cleanup_state)))

#endif
