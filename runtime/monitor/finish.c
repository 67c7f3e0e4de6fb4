/* What the monitor records when the workload starts, and does when it has ended. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "monitor_parts.h"
#include "runtime/state/tree.h"

void monitor_warn(const struct monitor *monitor, const char *text)
{
    struct control_message message = { .type = CONTROL_WARNING };
    (void)snprintf(message.text, sizeof message.text, "%s", text);
    if (monitor->request->client >= 0)
        (void)control_send(monitor->request->client, &message, NULL, 0);
}

/* Written before the command runs: whoever meets the state later knows what to clean up. */
int monitor_record_start(struct monitor *monitor, struct error *err)
{
    const struct monitor_request *request = monitor->request;
    struct state *state = request->state;
    if (!state)
        return 0;
    free(state->cgroup);
    state->cgroup = strdup(request->ops->cgroup(monitor->workload));
    if (!state->cgroup)
        return error_set(err, EXIT_OURS, "out of memory");
    state->status = STATE_RUNNING;
    state->pid = request->ops->pid(monitor->workload);
    state->pid_start = state_process_start(state->pid);
    state->landlock = request->ops->landlock ? request->ops->landlock(monitor->workload) : 0;
    state->monitor_pid = getpid();
    state->monitor_start = state_process_start(state->monitor_pid);
    state->started = time(NULL);
    state->exited = state->oom = false;
    state->exit_status = 0;
    free(state->warning);
    state->warning = NULL;
    return state_write(request->spec.paths.root, state, err);
}

void monitor_record_warning(struct monitor *monitor)
{
    const struct monitor_request *request = monitor->request;
    struct state *state = request->state;
    const char *warning =
        state && request->ops->warning ? request->ops->warning(monitor->workload) : "";
    struct error err;
    if (!*warning || state->warning)
        return;
    state->warning = strdup(warning);
    if (state_write(request->spec.paths.root, state, &err) < 0)
        monitor_warn(monitor, err.message);
}

static void record_end(struct monitor *monitor)
{
    const struct monitor_request *request = monitor->request;
    struct state *state = request->state;
    struct error err = { 0 };
    int result;
    if (!state)
        return;
    /* What was killed while it was being started stays, as what was killed later does. */
    if (state->remove || (request->fresh && !monitor->started && !monitor->abandoned)) {
        result = tree_remove(request->spec.paths.data_dir, &err);
        if (state_remove(request->spec.paths.root, state->id, &err) < 0)
            result = -1;
    } else {
        state->status = STATE_STOPPED;
        state->pid = 0;
        state->exited = true;
        state->exit_status = monitor->main.exit.status;
        state->oom = monitor->main.exit.oom;
        state->finished = time(NULL);
        result = state_write(request->spec.paths.root, state, &err);
    }
    if (result < 0)
        monitor_warn(monitor, err.message);
}

/* What was written last may fail only now, and nobody would hear of it later. */
static void end_workload(struct monitor *monitor)
{
    const struct workload_ops *ops = monitor->request->ops;
    char note[WORKLOAD_NOTE] = "";
    if (!monitor->workload)
        return;
    if (ops->say_farewell)
        ops->say_farewell(monitor->workload, note, sizeof note);
    monitor_record_warning(monitor);
    if (*note)
        monitor_warn(monitor, note);
    ops->destroy(monitor->workload);
    monitor->workload = NULL;
}

void monitor_finish(struct monitor *monitor)
{
    struct monitor_request *request = monitor->request;
    monitor_finish_sessions(monitor);
    session_close(&monitor->main);
    monitor_thaw(monitor);
    end_workload(monitor);
    log_close(monitor->log);
    record_end(monitor);
    /* Whoever is told may remove or start the workload at once: the lock must be free. */
    if (request->lock >= 0)
        (void)close(request->lock);
    struct control_message message = monitor_exited_message(&monitor->main.exit);
    for (size_t i = 0; i < MONITOR_MAX_CLIENTS; i++)
        if (monitor->clients[i].fd >= 0 &&
            (monitor->clients[i].waits || monitor->clients[i].session))
            (void)control_send(monitor->clients[i].fd, &message, NULL, 0);
    if (request->client >= 0)
        (void)control_send(request->client, &message, NULL, 0);
}
