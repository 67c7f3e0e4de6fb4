/* The workload half of `hybrid inspect`. */
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli.h"
#include "inspect_security.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/launch/workload.h"

/* Returns 1 with its state if there is such a workload, 0 if not, -1 with *err. */
static int find_workload(const struct cli *cli, const char *name, struct state *state,
                         struct error *err)
{
    struct error absent;
    if (state_check_id(name, &absent) < 0)
        return 0;
    _cleanup_free_ char *directory = state_directory(cli->runtime.root, name, err);
    if (!directory)
        return -1;
    if (access(directory, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    return workload_read(&cli->runtime, name, state, err) < 0 ? -1 : 1;
}

/*
 * What else makes a VM up: the virtiofsd of its shared files, and with a bundle, whose process is
 * the monitor, hybrid-vmm. New reference.
 */
static json_t *inspect_companions(const struct state *state)
{
    json_t *list = json_array();
    struct error ignored;
    struct cgroup *cgroup = cgroup_open(state->cgroup, &ignored);
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = 0;
    if (cgroup)
        (void)cgroup_list_processes(cgroup, &pids, &count, &ignored);
    cgroup_close(cgroup);
    for (size_t i = 0; i < count; i++) {
        uint64_t start = state_process_start(pids[i]);
        json_t *process =
            pids[i] == state->pid || start == 0 ? NULL : inspect_security(pids[i], start, &ignored);
        if (process && json_array_size(json_object_get(process, "descriptors")) > 0)
            (void)json_array_append(list, process); /* others are the kernel's helpers of KVM */
        json_decref(process);
    }
    return list;
}

int cli_inspect_workload_security(const struct cli *cli, const char *name, json_t **value,
                                  struct error *err)
{
    _cleanup_state_ struct state state = { 0 };
    int found = find_workload(cli, name, &state, err);
    if (found <= 0)
        return found;
    if ((state.status != STATE_RUNNING && state.status != STATE_PAUSED) || state.pid <= 0)
        return error_set(err, EXIT_OURS,
                         "%s is not running: nothing is in force; `hybrid inspect %s` shows its "
                         "configuration",
                         name, name);
    json_t *process = inspect_security(state.pid, state.pid_start, err);
    if (!process)
        return -1;
    /* On the host, a VM is hybrid-vmm: what its workload has inside is the guest's kernel's to say.
     */
    bool vm = strcmp(state.isolation, "vm") == 0;
    *value = json_pack("{s:s, s:s, s:s, s:o}", "id", state.id, "isolation", state.isolation,
                       "boundary", vm ? "hybrid-vmm" : "workload", "process", process);
    /* No file of /proc tells; hybrid-vmm did, before it let the guest run. */
    if (vm && *value)
        (void)json_object_set_new(process, "landlock", json_integer(state.landlock));
    if (vm && *value)
        (void)json_object_set_new(*value, "companions", inspect_companions(&state));
    return *value ? 1 : error_set(err, EXIT_OURS, "out of memory");
}

int cli_inspect_workload(const struct cli *cli, const char *name, json_t **value, struct error *err)
{
    _cleanup_state_ struct state state = { 0 };
    int found = find_workload(cli, name, &state, err);
    if (found <= 0)
        return found;
    _cleanup_free_ char *text = state_read_config(cli->runtime.root, name, err);
    if (!text)
        return -1;
    json_t *object = state_to_json(&state);
    json_t *config = json_loads(text, 0, NULL);
    if (!object || !config || json_object_set_new(object, "config", config) < 0) {
        json_decref(object);
        return error_set(err, EXIT_OURS, "cannot read the configuration of %s", name);
    }
    *value = object;
    return 1;
}
