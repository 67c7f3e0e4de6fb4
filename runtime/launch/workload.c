#include "workload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/container/container.h"
#include "runtime/monitor/control.h"
#include "runtime/plan/compose.h"
#include "runtime/state/tree.h"
#include "runtime/vm/vm.h"

int paths_make(const struct runtime *runtime, const char *id, struct paths *paths,
               struct error *err)
{
    *paths = (struct paths){ 0 };
    if (asprintf(&paths->state_dir, "%s/%s", runtime->root, id) < 0 ||
        asprintf(&paths->data_dir, "%s/workloads/%s", runtime->data, id) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    paths->paths = (struct workload_paths){ .root = runtime->root,
                                            .data = runtime->data,
                                            .state_dir = paths->state_dir,
                                            .data_dir = paths->data_dir,
                                            .exe_dir = runtime->exe_dir };
    return 0;
}

void paths_free(struct paths *paths)
{
    free(paths->state_dir);
    free(paths->data_dir);
}

int workload_check_root(const struct runtime *runtime, struct error *err)
{
    return strcmp(runtime->cgroup_manager, "disabled") == 0 ? 0 : cgroup_check_root(err);
}

/* The path of linux.namespaces that says "network", malloc'd; NULL: the VM is joined to none. */
static char *read_network_path(const struct workload_paths *paths, const char *id)
{
    struct error ignored; /* without a configuration nothing was ever started */
    _cleanup_free_ char *text = state_read_config(paths->root, id, &ignored);
    json_error_t where;
    json_auto_t *config = text ? plan_load_json(text, &where) : NULL;
    size_t index;
    const json_t *entry;
    json_array_foreach(json_object_get(json_object_get(config, "linux"), "namespaces"), index,
                       entry)
    {
        const char *type = json_string_value(json_object_get(entry, "type"));
        const char *path = json_string_value(json_object_get(entry, "path"));
        if (type && path && strcmp(type, "network") == 0)
            return strdup(path);
    }
    return NULL;
}

static int clean_vm(const struct workload_paths *paths, const char *id, const char *cgroup,
                    struct error *err)
{
    _cleanup_free_ char *network = read_network_path(paths, id);
    return vm_remove_leftovers(cgroup, network, err); /* a VM mounts nothing on the host */
}

static int clean_container(const struct workload_paths *paths, const char *id, const char *cgroup,
                           struct error *err)
{
    (void)id;
    return container_cleanup(paths, cgroup, err);
}

static const struct backend {
    const char *isolation;
    const struct workload_ops *ops;
    int (*clean_up)(const struct workload_paths *paths, const char *id, const char *cgroup,
                    struct error *err);
} backends[] = {
    { "container", &container_ops, clean_container },
    { "vm", &vm_ops, clean_vm },
    { "sandbox", &container_ops, clean_container },
};

static const struct backend *find_backend(const char *isolation, struct error *err)
{
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strcmp(backends[i].isolation, isolation) == 0)
            return &backends[i];
    (void)error_set(err, EXIT_OURS, "unknown isolation \"%s\"", isolation);
    return NULL;
}

const struct workload_ops *workload_find_ops(const char *isolation, struct error *err)
{
    const struct backend *backend = find_backend(isolation, err);
    return backend ? backend->ops : NULL;
}

static int clean_backend(const struct runtime *runtime, const struct state *state,
                         struct error *err)
{
    struct paths paths;
    const struct backend *backend = find_backend(state->isolation, err);
    if (!backend)
        return -1;
    /* It is recorded before it is made: without a name there is none. */
    const char *cgroup = state->cgroup ? state->cgroup : "";
    int result = paths_make(runtime, state->id, &paths, err);
    if (result == 0) {
        /* The same id below another root chooses the same name: that one's cgroup is left alone. */
        bool ours = *cgroup && cgroup_belongs_to(cgroup, paths.paths.state_dir);
        result = backend->clean_up(&paths.paths, state->id, ours ? cgroup : "", err);
    }
    paths_free(&paths);
    return result;
}

int workload_clean_unknown(const struct runtime *runtime, const char *id, struct error *err)
{
    struct paths paths;
    int result = paths_make(runtime, id, &paths, err);
    if (result == 0)
        result = clean_container(&paths.paths, id, "", err);
    if (result == 0)
        result = clean_vm(&paths.paths, id, "", err);
    paths_free(&paths);
    return result;
}

int workload_remove(const struct runtime *runtime, struct state *state, struct error *err)
{
    struct paths paths;
    int result = paths_make(runtime, state->id, &paths, err);
    /* The state last: while it is there, a removal that failed can be repeated. */
    if (result == 0)
        result = tree_remove(paths.data_dir, err);
    if (result == 0)
        result = state_remove(runtime->root, state->id, err);
    paths_free(&paths);
    return result;
}

int workload_clean_up(const struct runtime *runtime, struct state *state, struct error *err)
{
    if (clean_backend(runtime, state, err) < 0)
        return -1;
    state->abandoned = false;
    if (state->remove)
        return workload_remove(runtime, state, err);
    state->status = STATE_STOPPED;
    state->exited = true;
    state->exit_status = EXIT_OURS;
    state->pid = state->monitor_pid = 0;
    state->finished = time(NULL);
    return state_write(runtime->root, state, err);
}

int workload_read(const struct runtime *runtime, const char *name, struct state *state,
                  struct error *err)
{
    if (state_read(runtime->root, name, state, err) < 0)
        return -1;
    if (!state->abandoned)
        return 0;
    _cleanup_close_ int lock = -1;
    int locked = state_lock(runtime->root, name, &lock, err);
    bool gone = state->remove;
    /* Locked by somebody else: who is just doing the same. */
    int result = locked == 0 ? workload_clean_up(runtime, state, err) : locked < 0 ? -1 : 0;
    if (result == 0 && gone)
        result = error_set(err, EXIT_OURS,
                           "no such workload: %s does not exist; `hybrid ps -a` lists them", name);
    if (result < 0)
        state_free(state);
    return result;
}

int workload_lock_soon(const struct runtime *runtime, const char *id, int *lock, struct error *err)
{
    const struct timespec pause = { .tv_nsec = 2000000L };
    int result = 1;
    for (int attempt = 0; result == 1 && attempt < 1000; attempt++) {
        result = state_lock(runtime->root, id, lock, err);
        if (result == 1)
            (void)nanosleep(&pause, NULL);
    }
    return result;
}

int workload_connect(const struct runtime *runtime, const char *id, struct error *err)
{
    _cleanup_free_ char *directory = state_directory(runtime->root, id, err);
    return directory ? control_connect(directory, err) : -1;
}
