/* What the verbs share that start workloads, meet them, or talk to their monitors. */
#ifndef HYBRID_CLI_WORKLOAD_H
#define HYBRID_CLI_WORKLOAD_H

#include "cli.h"
#include "runtime/monitor/attach.h"
#include "runtime/monitor/monitor.h"
#include "runtime/state/state.h"

/* Owned strings behind a struct workload_paths. */
struct paths {
    struct workload_paths paths;
    char *state_dir, *data_dir;
};

int paths_make(const struct cli *cli, const char *id, struct paths *paths, struct error *err);
void paths_free(struct paths *paths);

/* The back end called `isolation`, or NULL with *err. */
const struct workload_ops *workload_find_ops(const char *isolation, struct error *err);

/*
 * Reads the state of a workload. If its monitor was killed, what it left is cleaned up first.
 * Returns 0, or -1 with *err: "no such workload".
 */
int workload_read(const struct cli *cli, const char *name, struct state *state, struct error *err);

/*
 * Removes what a killed monitor left: processes, cgroup, mounts; with --rm also the state and the
 * writable layer. The caller holds the lock. Returns 0, or -1 with *err.
 */
int workload_clean_up(const struct cli *cli, struct state *state, struct error *err);

/* Removes a workload that is not running, with its writable layer and log. As workload_clean_up. */
int workload_remove(const struct cli *cli, struct state *state, struct error *err);

/*
 * Takes the lock of a workload whose monitor is dying: waits for it up to two seconds. Returns 0,
 * 1 if it is still held, or -1 with *err.
 */
int workload_lock_soon(const struct cli *cli, const char *id, int *lock, struct error *err);

/* Connects to the monitor of a running workload. Returns the socket, or -1 with *err. */
int workload_connect(const struct cli *cli, const char *id, struct error *err);

/*
 * Calls one for each name; an error is printed and does not stop the others. Prints each name that
 * succeeded if asked to. Returns 0, or 125 if one failed.
 */
int workload_each(const struct cli *cli, char **names, size_t count, bool print,
                  int (*one)(const struct cli *cli, const char *name, const void *context,
                             struct error *err),
                  const void *context);

/* What is launched: a workload that was composed, or read back from its state. */
struct launch {
    struct state *state; /* NULL: an exec session in a container */
    int lock;            /* taken over */
    bool quiet;          /* say nothing about how the process ended */
    struct monitor_request request;
    struct terminal terminal; /* the caller's, while launch_run works */
    bool forked; /* result: there was a monitor, which took care of all that was made */
};

/* -i -t needs a terminal to type on. Returns 0, or -1 with *err. */
int launch_check_terminal(struct error *err);

/*
 * Forks the monitor and stays with it: until the end of the process (the result is its exit
 * status), or, detached, until it has started (0). Prints what the user must know.
 */
int launch_run(const struct cli *cli, struct launch *launch, struct error *err);

/*
 * Executes a command in a workload through its monitor, and stays with it: results as launch_run.
 * socket: a connection to the monitor; process_file: a descriptor of the OCI process object.
 */
int launch_exec_remote(int socket, int process_file, const struct plan *plan, bool interactive,
                       struct error *err);

/* The exit status for the end of a process, and what the user is told about it. */
int launch_report(const struct attach_end *end, const struct plan *plan, bool quiet);

/*
 * Makes the plan of a configuration, with the seccomp filter it needs: *filter is malloc'd, the
 * caller's, and borrowed by the plan. parse_flags: as plan_parse. Takes document over, also on
 * failure. 0, or -1 with *err.
 */
int launch_make_plan(const struct cli *cli, json_t *document, unsigned int parse_flags,
                     struct plan *plan, uint8_t **filter, struct error *err);

/* The same from the text of a configuration. */
int launch_load_plan(const struct cli *cli, const char *config_text, unsigned int parse_flags,
                     struct plan *plan, uint8_t **filter, struct error *err);

#endif
