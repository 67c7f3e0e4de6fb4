/*
 * The monitor: one process a workload, which starts it through a back end, relays its streams,
 * keeps its log, records its state, answers on its control socket, and cleans up when it has ended.
 * Forked by `hybrid run` and `hybrid start`; also what `hybrid exec` forks for a container, then
 * without state, log and socket.
 */
#ifndef HYBRID_MONITOR_H
#define HYBRID_MONITOR_H

#include <termios.h>

#include "runtime/state/state.h"
#include "session.h"
#include "workload.h"

/*
 * A workload of a bundle: one command creates it, another one starts it, and the monitor is the
 * process that stands for it on the host. It has no lock, records nothing, leaves the cgroup to who
 * deletes the workload, and exits with the workload's status. Its 0, 1 and 2 are the workload's.
 */
struct monitor_hold {
    int messages; /* where it is told how hybrid failed, for nobody waits for that; -1 */
    int terminal; /* the same, where they are a terminal: it becomes the controlling one; or -1 */
};

struct monitor_request { /* borrowed */
    const struct workload_ops *ops;
    struct workload_spec spec; /* stdio: made by the monitor */
    struct state *state;       /* NULL: an exec session */
    int lock;                  /* the state's lock, now the monitor's; -1 with an exec session */
    int client;                /* our end of the pair to the command that forked us */
    bool detached;             /* the command leaves once the workload has started */
    bool interactive;          /* -i */
    bool keep_log;
    const struct monitor_hold *hold; /* NULL: started at once */
    bool fresh; /* made by this command: nothing is to stay if it cannot be started */
    const struct termios
        *terminal; /* what the caller's terminal was before raw mode; NULL: not raw */
};

/*
 * Runs until the workload has ended and nothing of it is left. Call it in a process of its own,
 * with the signals of attach_signals() blocked. Returns the process's exit status.
 */
int monitor_run(struct monitor_request *request);

#endif
