/* A workload that stands still: all its processes, or those of its VM, on the host. */
#include "monitor_parts.h"

int monitor_freeze(struct monitor *monitor, bool frozen, struct error *err)
{
    struct state *state = monitor->request->state;
    if ((!state && !monitor->request->hold) || monitor->main.ended)
        return error_set(err, EXIT_OURS, "the workload has just ended");
    if (!monitor->started)
        return error_set(err, EXIT_OURS, "the workload is still being started; try again");
    /* Its state is recorded by who asks, who may have been killed between asking and recording. */
    if (!state && monitor->frozen == frozen)
        return 0;
    if (monitor->frozen == frozen)
        return error_set(err, EXIT_OURS, "it is %s", frozen ? "paused already" : "not paused");
    if (monitor->request->ops->pause(monitor->workload, frozen, err) < 0)
        return -1;
    monitor->frozen = frozen;
    if (!state)
        return 0;
    state->status = frozen ? STATE_PAUSED : STATE_RUNNING;
    return state_write(monitor->request->spec.paths.root, state, err);
}

void monitor_thaw(struct monitor *monitor)
{
    struct error err = { 0 };
    if (monitor->frozen && monitor->workload &&
        monitor->request->ops->pause(monitor->workload, false, &err) < 0)
        monitor_warn(monitor, err.message);
    monitor->frozen = false;
}
