/* A container from a bundle, up to the point where it waits for its start. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bundle.h"
#include "cleanup.h"
#include "console.h"
#include "engine.h"
#include "exec.h"
#include "listen.h"
#include "machine.h"
#include "parts.h"
#include "pod.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/container/container.h"
#include "runtime/container/hooks.h"
#include "runtime/launch/workload.h"
#include "runtime/state/local_socket.h"

struct creation {
    const struct runtime *runtime;
    char *pid_file, *console_socket; /* absolute */
    int *terminal_fd;                /* as in the options */
    struct bundle bundle;
    struct paths paths;
    struct state state;
    int lock;
    int start_listener;
    int listen_fds; /* the first of those that the command is given */
    struct workload_hold hold;
    struct cgroup_scope scope;
    struct workload_pod pod; /* of a VM in one */
    bool in_scope;           /* systemd makes the cgroup */
    bool recorded;           /* there is a state directory of ours */
};

/* What is to be limited cannot be, without a cgroup. */
static bool has_limits(const struct plan_resources *resources)
{
    return resources->memory_limit > 0 || resources->memory_swap > 0 ||
           resources->memory_reservation > 0 || resources->cpu_shares > 0 ||
           resources->cpu_quota > 0 || resources->cpuset_cpus || resources->cpuset_mems ||
           resources->pids_limit > 0;
}

static int make_scope(struct creation *creation, const char *id, struct error *err)
{
    const struct plan *plan = &creation->bundle.plan;
    if (cgroup_scope_check_host(err) < 0)
        return -1;
    return cgroup_scope_make(plan->cgroup_path, id, json_object_get(plan->document, "annotations"),
                             &creation->scope, err);
}

static int check_cgroup_manager(struct creation *creation, const char *id, struct error *err)
{
    const char *manager = creation->runtime->cgroup_manager;
    creation->in_scope = strcmp(manager, "systemd") == 0;
    if (creation->in_scope)
        return make_scope(creation, id, err);
    creation->hold.no_cgroup = strcmp(manager, "disabled") == 0;
    if (creation->hold.no_cgroup && has_limits(&creation->bundle.plan.resources))
        return error_set(
            err, EXIT_OURS,
            "--cgroup-manager=disabled: linux.resources has limits, which only a cgroup "
            "can enforce");
    return 0;
}

static const char *isolation_of(const struct bundle *bundle)
{
    return bundle->sandbox ? "sandbox" : bundle->vm ? "vm" : "container";
}

static int fill_state(struct creation *creation, const char *id, struct error *err)
{
    const struct plan *plan = &creation->bundle.plan;
    const json_t *process = json_object_get(plan->document, "process");
    char cgroup[PATH_MAX] = "";
    if (creation->in_scope)
        (void)snprintf(cgroup, sizeof cgroup, "%s", creation->scope.path);
    else if (!creation->hold.no_cgroup)
        container_cgroup_name(plan, id, cgroup);
    creation->state = (struct state){
        .id = strdup(id),
        .isolation = strdup(isolation_of(&creation->bundle)),
        .bundle = strdup(creation->bundle.path),
        .cgroup = strdup(cgroup),
        .status = STATE_CREATING,
        .created = time(NULL),
        .command = creation->bundle.sandbox ? json_pack("[s]", "hybrid-pause")
                                            : json_incref(json_object_get(process, "args")),
        .policy = json_incref(creation->bundle.policy),
    };
    struct state *state = &creation->state;
    const char *pod = creation->bundle.pod.sandbox;
    state->pod = pod ? strdup(pod) : NULL;
    if ((pod && !state->pod) || !state->id || !state->isolation || !state->bundle || !state->cgroup)
        return error_set(err, EXIT_OURS, "out of memory");
    return 0;
}

static int record(struct creation *creation, struct error *err)
{
    const char *id = creation->state.id;
    int created = state_create(creation->runtime->root, &creation->state,
                               creation->bundle.config_text, &creation->lock, err);
    if (created == 1)
        return error_set(err, EXIT_OURS, "a container with the id %s already exists in %s", id,
                         creation->runtime->root);
    if (created < 0)
        return -1;
    creation->recorded = true;
    if (creation->bundle.vm)
        return 0;
    creation->start_listener = local_socket_listen(creation->paths.state_dir, START_SOCKET, 0, err);
    creation->hold.start_listener = &creation->start_listener;
    return creation->start_listener < 0 ? -1 : 0;
}

/*
 * What the command has from 3 on: sockets of systemd's, as any service has them there, then those
 * that the engine asks for, as with runc.
 */
static int count_descriptors(struct creation *creation, const struct engine_create_options *options,
                             struct error *err)
{
    if (listen_fds_count(&creation->listen_fds, err) < 0 ||
        preserved_fds_check("LISTEN_FDS", 3, creation->listen_fds, err) < 0 ||
        preserved_fds_check("--preserve-fds", 3 + creation->listen_fds, options->preserve_fds,
                            err) < 0)
        return -1;
    creation->hold.keep_fds = creation->listen_fds + (int)options->preserve_fds;
    return 0;
}

/* Everything that can be refused before anything is changed. */
static int prepare(struct creation *creation, const char *id,
                   const struct engine_create_options *options, struct error *err)
{
    creation->hold.keep_keyring = options->no_new_keyring;
    if (state_check_id(id, err) < 0 || count_descriptors(creation, options, err) < 0 ||
        path_make_absolute(options->pid_file, &creation->pid_file, err) < 0 ||
        path_make_absolute(options->console_socket, &creation->console_socket, err) < 0 ||
        bundle_load(creation->runtime, id, options->bundle, creation->listen_fds, &creation->bundle,
                    err) < 0 ||
        check_cgroup_manager(creation, id, err) < 0 ||
        (!options->terminal_fd &&
         console_check(creation->console_socket, creation->bundle.plan.terminal, err) < 0) ||
        (creation->bundle.vm && machine_check(&creation->bundle.plan, &creation->hold,
                                              creation->bundle.pod.sandbox, err) < 0) ||
        paths_make(creation->runtime, id, &creation->paths, err) < 0)
        return -1;
    return fill_state(creation, id, err);
}

/* Copies of the caller's streams: the back end closes those that it is given. */
static int copy_streams(int stdio[3], struct error *err)
{
    for (int i = 0; i < 3; i++) {
        stdio[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
        if (stdio[i] < 0) {
            int cause = errno;
            while (i-- > 0)
                (void)close(stdio[i]);
            return error_set_errno(err, EXIT_OURS, cause, "cannot copy stream %d", i);
        }
    }
    return 0;
}

static struct workload_spec describe(struct creation *creation)
{
    creation->pod = (struct workload_pod){ .directory = creation->bundle.pod.directory,
                                           .shm = creation->bundle.pod.shm,
                                           .processes = creation->bundle.pod.processes };
    return (struct workload_spec){
        .id = creation->state.id,
        .paths = creation->paths.paths,
        .plan = &creation->bundle.plan,
        .config_text = creation->bundle.config_text,
        .bundle = creation->bundle.path,
        .hold = &creation->hold,
        .scope = creation->in_scope ? &creation->scope : NULL,
        .pod = creation->pod.directory ? &creation->pod : NULL,
        .stdio = { -1, -1, -1 },
    };
}

static struct workload *spawn(struct creation *creation, int *terminal_fd, struct error *err)
{
    struct workload_spec spec = describe(creation);
    if (!creation->bundle.plan.terminal && copy_streams(spec.stdio, err) < 0)
        return NULL;
    /* It borrows the description for the call only (workload.h). */
    // cppcheck-suppress returnDanglingLifetime
    return container_ops.create(&spec, terminal_fd, err);
}

/* Hands over the terminal and the number, and makes the state that of a created container. */
static int hand_over(struct creation *creation, pid_t pid, int terminal_fd, struct error *err)
{
    struct state *state = &creation->state;
    if (creation->terminal_fd)
        *creation->terminal_fd = terminal_fd;
    else if (terminal_fd >= 0 && console_send(creation->console_socket, terminal_fd, err) < 0)
        return -1;
    state->pid = pid;
    state->pid_start = state_process_start(state->pid);
    state->status = STATE_CREATED;
    if (state_write(creation->runtime->root, state, err) < 0)
        return -1;
    return creation->pid_file ? pid_file_write(creation->pid_file, state->pid, err) : 0;
}

/* The hooks of the host; those of a container's namespaces were refused. */
static int run_hooks(const struct creation *creation, pid_t pid, struct error *err)
{
    const struct plan *plan = &creation->bundle.plan;
    _cleanup_free_ char *state = hooks_open_state(creation->state.id, creation->bundle.path, plan);
    if (!state)
        return error_set(err, EXIT_OURS, "out of memory");
    if (hooks_run(plan, PLAN_HOOKS_PRESTART, state, "created", pid, err) < 0)
        return -1;
    return hooks_run(plan, PLAN_HOOKS_CREATE_RUNTIME, state, "creating", pid, err);
}

static int create_machine(struct creation *creation, struct error *err)
{
    struct machine machine;
    struct error ignored;
    struct workload_spec spec = describe(creation);
    int result = machine_create(&spec, &machine, err);
    if (result == 0)
        result = pod_check_network(&creation->bundle.pod, machine.pid, err);
    if (result == 0)
        result = run_hooks(creation, machine.pid, err);
    if (result == 0)
        result = hand_over(creation, machine.pid, take_fd(&machine.terminal_fd), err);
    if (result == 0)
        return 0;
    machine_abandon(&machine);
    if (cgroup_belongs_to(creation->state.cgroup, creation->paths.state_dir))
        (void)cgroup_remove(creation->state.cgroup, &ignored);
    return -1;
}

static int create(struct creation *creation, struct error *err)
{
    int terminal_fd = -1;
    if (record(creation, err) < 0)
        return -1;
    if (creation->bundle.vm)
        return create_machine(creation, err);
    struct workload *workload = spawn(creation, &terminal_fd, err);
    if (!workload)
        return -1;
    if (hand_over(creation, container_ops.pid(workload), terminal_fd, err) == 0)
        return container_release(workload, err);
    container_ops.destroy(workload);
    return -1;
}

int engine_create(const struct runtime *runtime, const char *id,
                  const struct engine_create_options *options, struct error *err)
{
    struct creation creation = {
        .runtime = runtime,
        .terminal_fd = options->terminal_fd,
        .lock = -1,
        .start_listener = -1,
    };
    int result = prepare(&creation, id, options, err);
    if (result == 0)
        result = create(&creation, err);
    if (result < 0 && creation.recorded) {
        struct error ignored; /* what went wrong first is what the caller must know */
        engine_run_last_hooks(runtime, &creation.bundle.plan, &creation.state);
        (void)state_remove(runtime->root, id, &ignored);
    }
    cleanup_close(&creation.lock);
    cleanup_close(&creation.start_listener);
    state_free(&creation.state);
    paths_free(&creation.paths);
    cgroup_scope_free(&creation.scope);
    bundle_free(&creation.bundle);
    free(creation.pid_file);
    free(creation.console_socket);
    return result;
}
