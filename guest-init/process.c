/* The table of processes: the workload and the exec sessions in it. */
#include "guest.h"
#include "log.h"

#include "cleanup.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

enum {
    /* What a terminal still holds reaches its master a moment after the last writer has ended. */
    TERMINAL_GRACE = 50, /* milliseconds */
    /* More than a terminal holds and does not tell of: Linux buffers 8 KiB before its master. */
    TERMINAL_HOLDS = 64 * 1024,
    /* How long the workload's end waits for the last words of exec sessions. */
    SESSIONS_GRACE = 1000,
    /* And for the peers of its TCP connections to take what was written: longer than a few
     * retransmissions, shorter than what a peer that is gone may cost. */
    NETWORK_GRACE = 3000,
    KILL_PATIENCE = 5 * 1000, /* for the killed to be gone */
};

struct process *process_find(struct workload *workload, uint32_t number)
{
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++) {
        struct process *process = &workload->processes[i];
        if (process->state != PROCESS_UNUSED && process->number == number)
            return process;
    }
    return NULL;
}

struct process *process_allocate(struct workload *workload, uint32_t number, struct error *err)
{
    size_t first = number == WIRE_MAIN_PROCESS ? 0 : 1;
    size_t last = number == WIRE_MAIN_PROCESS ? 1 : WIRE_MAX_PROCESSES;
    for (size_t i = first; i < last; i++) {
        struct process *process = &workload->processes[i];
        if (process->state != PROCESS_UNUSED)
            continue;
        *process = (struct process){ .number = number,
                                     .child = { .pidfd = -1, .sync_fd = -1, .terminal_fd = -1 } };
        for (size_t j = 0; j < PROCESS_RELAYS; j++)
            process->relays[j] = (struct relay){ .from = -1, .to = -1 };
        return process;
    }
    (void)error_set(err, EXIT_OURS, "%d processes are running in this workload already",
                    WIRE_MAX_PROCESSES);
    return NULL;
}

void process_release(struct process *process)
{
    for (size_t i = 0; i < PROCESS_RELAYS; i++)
        relay_close(&process->relays[i]);
    if (process->state == PROCESS_ENDED) /* reaped: only descriptors are left */
        process->child.pid = 0;
    sandbox_abandon(&process->child);
    process->state = PROCESS_UNUSED;
}

static struct process *find_by_pid(struct workload *workload, pid_t pid)
{
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++) {
        struct process *process = &workload->processes[i];
        bool alive = process->state == PROCESS_PREPARED || process->state == PROCESS_RUNNING;
        if (alive && process->child.pid == pid)
            return process;
    }
    return NULL;
}

/*
 * What it wrote is in its pipes by now, and so is what those wrote who ended with it. Others may
 * have them open, too, and fill them without end: what an exec session leaves behind, and, with the
 * processes shared, root of another container by way of /proc. Nobody waits for those.
 */
static void limit_output(struct process *process)
{
    if (process->terminal)
        relay_limit(&process->relays[2], TERMINAL_HOLDS); /* its end is that of the next */
    for (size_t i = 1; !process->terminal && i < PROCESS_RELAYS; i++)
        relay_limit(&process->relays[i], 0);
}

void process_reap(struct guest *guest)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid <= 0)
            return;
        struct process *process = find_by_pid(&guest->workload, pid);
        if (!process) {
            pod_note_end(guest, pid, status); /* or it was an orphan */
            continue;
        }
        /* Where it is not process 1 of its namespace, no other ends by its end. */
        if (process->number == WIRE_MAIN_PROCESS && guest->joins)
            cgroup_kill(guest->workload.cgroup);
        limit_output(process);
        process->state = PROCESS_ENDED;
        process->ended = wire_clock_milliseconds();
        process->status =
            WIFSIGNALED(status) ? EXIT_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
    }
}

void process_await_all(void)
{
    int64_t deadline = wire_clock_milliseconds() + KILL_PATIENCE;
    while (wire_clock_milliseconds() < deadline) {
        pid_t pid = waitpid(-1, NULL, WNOHANG | __WALL);
        if (pid < 0 && errno == ECHILD)
            return;
        if (pid == 0)
            (void)poll(NULL, 0, 1);
    }
    log_error("processes of the workload do not end");
}

/* Whether everything that the process wrote before its end is on its way (limit_output). */
static bool is_drained(const struct process *process)
{
    bool drained = true;
    for (size_t i = process->terminal ? 2 : 1; i < PROCESS_RELAYS; i++)
        drained = drained && relay_is_drained(&process->relays[i]);
    if (drained && process->terminal && relay_is_open(&process->relays[2]))
        return wire_clock_milliseconds() - process->ended >= TERMINAL_GRACE;
    return drained;
}

/* The workload's end is the last word: the sessions in it have died with it and go first. */
static bool must_wait_for_sessions(const struct workload *workload, const struct process *process)
{
    if (process->number != WIRE_MAIN_PROCESS ||
        wire_clock_milliseconds() - process->ended >= SESSIONS_GRACE)
        return false;
    for (size_t i = 1; i < WIRE_MAX_PROCESSES; i++) {
        if (workload->processes[i].state != PROCESS_UNUSED)
            return true;
    }
    return false;
}

/* A pod's machine stays when one of its containers ends, and delivers what is on its way. */
static bool must_wait_for_network(const struct guest *guest, const struct process *process)
{
    return guest->role == GUEST_OWN && process->number == WIRE_MAIN_PROCESS &&
           wire_clock_milliseconds() - process->ended < NETWORK_GRACE &&
           guest_network_is_busy(guest);
}

static void report(struct guest *guest, struct process *process)
{
    struct error err;
    struct wire_exited exited = { .status = (uint32_t)process->status };
    bool killed = process->status == EXIT_SIGNAL_BASE + SIGKILL;
    if (guest->workload.cgroup && cgroup_oom_kills(guest->workload.cgroup) > process->oom_kills &&
        (killed || process->number == WIRE_MAIN_PROCESS))
        exited.flags |= WIRE_EXITED_OOM;
    uint32_t number = process->number;
    process_release(process); /* half-closes the streams before the word is said */
    if (control_send(guest, WIRE_EXITED, number, &exited, sizeof exited, &err) < 0) {
        log_error("%s", err.message);
        guest->done = true;
    }
}

int process_report(struct guest *guest)
{
    int again = -1;
    /* From the last to the first, which is the workload itself. */
    for (size_t i = WIRE_MAX_PROCESSES; i-- > 0;) {
        struct process *process = &guest->workload.processes[i];
        if (process->state != PROCESS_ENDED)
            continue;
        if (is_drained(process) && !must_wait_for_sessions(&guest->workload, process) &&
            !must_wait_for_network(guest, process))
            report(guest, process);
        else
            again = TERMINAL_GRACE / 5;
    }
    return again;
}
