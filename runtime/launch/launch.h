/* From a composed workload to a running one: the monitor is forked, and the command stays with it.
 */
#ifndef HYBRID_LAUNCH_H
#define HYBRID_LAUNCH_H

#include <stdbool.h>

#include "runtime/monitor/monitor.h"
#include "runtime/monitor/terminal.h"
#include "runtime/runtime.h"
#include "runtime/state/state.h"

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
int launch_run(const struct runtime *runtime, struct launch *launch, struct error *err);

/*
 * Executes a command in a workload through its monitor, and stays with it: results as launch_run.
 * socket: a connection to the monitor; process_file: a descriptor of the OCI process object;
 * started_fd: gets one byte when the command has been executed; -1.
 */
int launch_exec_remote(const struct runtime *runtime, int socket, int process_file,
                       const struct plan *plan, bool interactive, int started_fd,
                       struct error *err);

#endif
