#include "change.h"

#include <string.h>

#include "cleanup.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/monitor/control.h"
#include "signals.h"

int workload_pause(const struct runtime *runtime, const char *name, bool pause, struct error *err)
{
    return workload_request(runtime, name, pause ? CONTROL_FREEZE : CONTROL_THAW, 0, err);
}

/* What only the kernel inside of the VM could enforce, or what is fixed when it boots. */
static bool is_of_guest(const struct plan_resources *resources)
{
    if (resources->memory_limit != -1 || resources->memory_swap != -1 ||
        resources->memory_reservation != -1 || resources->pids_limit != -1)
        return true;
    for (size_t i = 0; i < resources->setting_count; i++)
        if (strcmp(resources->settings[i].controller, "memory") == 0 ||
            strcmp(resources->settings[i].controller, "pids") == 0)
            return true;
    return false;
}

int workload_set_limits(const struct state *state, const struct plan_resources *resources,
                        struct error *err)
{
    if (strcmp(state->isolation, "vm") == 0 && is_of_guest(resources))
        return error_set(err, EXIT_OURS,
                         "%s is a VM: while it runs, its --cpu-*, --cpuset-* and --blkio-weight "
                         "limits can be changed, its memory and what its own kernel limits cannot; "
                         "remove it and make it anew",
                         state->id);
    struct cgroup *cgroup = cgroup_open(state->cgroup, err);
    int result = cgroup ? cgroup_set_resources(cgroup, resources, err) : -1;
    cgroup_close(cgroup);
    return result;
}

int workload_update(const struct runtime *runtime, const char *name,
                    const struct plan_resources *resources, struct error *err)
{
    _cleanup_state_ struct state state = { 0 };
    if (workload_read(runtime, name, &state, err) < 0)
        return -1;
    if (state.status != STATE_RUNNING && state.status != STATE_PAUSED)
        return workload_refuse_stopped(name, err);
    return workload_set_limits(&state, resources, err);
}
