#include "workload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/container/container.h"
#include "runtime/state/tree.h"
#include "runtime/vm/vm.h"

int paths_make(const struct cli *cli, const char *id, struct paths *paths, struct error *err)
{
    *paths = (struct paths){ 0 };
    if (asprintf(&paths->state_dir, "%s/%s", cli->root, id) < 0 ||
        asprintf(&paths->data_dir, "%s/workloads/%s", cli->data, id) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    paths->paths = (struct workload_paths){ .root = cli->root,
                                            .data = cli->data,
                                            .state_dir = paths->state_dir,
                                            .data_dir = paths->data_dir,
                                            .exe_dir = cli->exe_dir };
    return 0;
}

void paths_free(struct paths *paths)
{
    free(paths->state_dir);
    free(paths->data_dir);
}

static int clean_vm(const struct workload_paths *paths, const char *cgroup, struct error *err)
{
    (void)paths; /* a VM mounts nothing on the host */
    return vm_remove_leftovers(cgroup, err);
}

static const struct backend {
    const struct workload_ops *ops;
    int (*clean_up)(const struct workload_paths *paths, const char *cgroup, struct error *err);
} backends[] = {
    { &container_ops, container_cleanup },
    { &vm_ops, clean_vm },
};

static const struct backend *find_backend(const char *isolation, struct error *err)
{
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strcmp(backends[i].ops->name, isolation) == 0)
            return &backends[i];
    (void)error_set(err, EXIT_OURS, "unknown isolation \"%s\"", isolation);
    return NULL;
}

const struct workload_ops *workload_find_ops(const char *isolation, struct error *err)
{
    const struct backend *backend = find_backend(isolation, err);
    return backend ? backend->ops : NULL;
}

static int clean_backend(const struct cli *cli, const struct state *state, struct error *err)
{
    struct paths paths;
    const struct backend *backend = find_backend(state->isolation, err);
    if (!backend)
        return -1;
    /* Killed before it could record the name: it is the one that back ends choose. */
    char cgroup[STATE_MAX_ID + 16];
    (void)snprintf(cgroup, sizeof cgroup, "hybrid-%s", state->id);
    bool recorded = state->cgroup && *state->cgroup;
    int result = paths_make(cli, state->id, &paths, err);
    if (result == 0)
        result = backend->clean_up(&paths.paths, recorded ? state->cgroup : cgroup, err);
    paths_free(&paths);
    return result;
}

int workload_remove(const struct cli *cli, struct state *state, struct error *err)
{
    struct paths paths;
    int result = paths_make(cli, state->id, &paths, err);
    /* The state last: while it is there, a removal that failed can be repeated. */
    if (result == 0)
        result = tree_remove(paths.data_dir, err);
    if (result == 0)
        result = state_remove(cli->root, state->id, err);
    paths_free(&paths);
    return result;
}

int workload_clean_up(const struct cli *cli, struct state *state, struct error *err)
{
    if (clean_backend(cli, state, err) < 0)
        return -1;
    state->abandoned = false;
    if (state->remove)
        return workload_remove(cli, state, err);
    state->status = STATE_STOPPED;
    state->exited = true;
    state->exit_status = EXIT_OURS;
    state->pid = state->monitor_pid = 0;
    state->finished = time(NULL);
    return state_write(cli->root, state, err);
}

int workload_read(const struct cli *cli, const char *name, struct state *state, struct error *err)
{
    if (state_read(cli->root, name, state, err) < 0)
        return -1;
    if (!state->abandoned)
        return 0;
    _cleanup_close_ int lock = -1;
    int locked = state_lock(cli->root, name, &lock, err);
    bool gone = state->remove;
    /* Locked by somebody else: who is just doing the same. */
    int result = locked == 0 ? workload_clean_up(cli, state, err) : locked < 0 ? -1 : 0;
    if (result == 0 && gone)
        result = error_set(err, EXIT_OURS,
                           "no such workload: %s does not exist; `hybrid ps -a` lists them", name);
    if (result < 0)
        state_free(state);
    return result;
}

int workload_lock_soon(const struct cli *cli, const char *id, int *lock, struct error *err)
{
    const struct timespec pause = { .tv_nsec = 2000000L };
    int result = 1;
    for (int attempt = 0; result == 1 && attempt < 1000; attempt++) {
        result = state_lock(cli->root, id, lock, err);
        if (result == 1)
            (void)nanosleep(&pause, NULL);
    }
    return result;
}

int workload_connect(const struct cli *cli, const char *id, struct error *err)
{
    _cleanup_free_ char *directory = state_directory(cli->root, id, err);
    return directory ? control_connect(directory, err) : -1;
}

int workload_each(const struct cli *cli, char **names, size_t count, bool print,
                  int (*one)(const struct cli *cli, const char *name, const void *context,
                             struct error *err),
                  const void *context)
{
    int status = 0;
    for (size_t i = 0; i < count; i++) {
        struct error err = { 0 };
        if (one(cli, names[i], context, &err) < 0) {
            cli_warn(err.message);
            status = EXIT_OURS;
        } else if (print) {
            (void)fprintf(cli->out, "%s\n", names[i]);
            (void)fflush(cli->out);
        }
    }
    return status;
}
