/* The processes of one container, by their numbers on the host. */
#include "cleanup.h"
#include "engine.h"
#include "runtime/cgroup/cgroup.h"

int engine_list_processes(const struct state *state, pid_t **pids, size_t *count, struct error *err)
{
    *pids = NULL;
    *count = 0;
    if (state->status == STATE_STOPPED)
        return error_set(err, EXIT_OURS, "%s: container not running", state->id);
    if (state->cgroup && *state->cgroup) {
        struct cgroup *cgroup = cgroup_open(state->cgroup, err);
        int result = cgroup ? cgroup_list_processes(cgroup, pids, count, err) : -1;
        cgroup_close(cgroup);
        return result;
    }
    return error_set(err, EXIT_OURS, "%s has no cgroup by which its processes are known",
                     state->id);
}
