#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "machine.h"
#include "parts.h"
#include "pod_machine.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/container/container.h"
#include "runtime/container/hooks.h"
#include "runtime/container/notify.h"
#include "runtime/launch/workload.h"
#include "runtime/network/network.h"
#include "runtime/plan/compose.h"
#include "runtime/state/local_socket.h"
#include "salvage.h"

enum { KILL_PATIENCE_MS = 10000, END_PATIENCE_MS = 3000 };

bool engine_owns(const struct runtime *runtime, const char *id)
{
    _cleanup_state_ struct state state = { 0 };
    struct error ignored;
    return state_read(runtime->root, id, &state, &ignored) == 0 && state.bundle;
}

int engine_require(const struct state *state, struct error *err)
{
    if (state->bundle)
        return 0;
    return error_set(
        err, EXIT_OURS,
        "%s was not created from a bundle but is a workload of `hybrid run`, which looks "
        "after it: use stop, kill and rm",
        state->id);
}

int engine_lock(const struct runtime *runtime, const char *id, int *lock, struct state *state,
                struct error *err)
{
    if (state_read(runtime->root, id, state, err) < 0 || engine_require(state, err) < 0)
        return -1;
    int locked = workload_lock_soon(runtime, id, lock, err);
    if (locked == 1)
        return error_set(err, EXIT_OURS, "%s is being used by another command; try again", id);
    state_free(state);
    return locked < 0 ? -1 : state_read_locked(runtime->root, id, state, err);
}

int engine_open_process(const struct state *state, struct error *err)
{
    _cleanup_close_ int pidfd = state->pid > 0 ? (int)syscall(SYS_pidfd_open, state->pid, 0) : -1;
    if (pidfd < 0 && state->pid > 0 && errno != ESRCH)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open process %d", state->pid);
    /* Looked at after it was opened: the number cannot have become another process's in between. */
    if (pidfd < 0 || !state_process_lives(state->pid, state->pid_start))
        return error_set(err, EXIT_OURS, "%s: container not running", state->id);
    return take_fd(&pidfd);
}

/* --- start --------------------------------------------------------------------------------------
 */

static int refuse_start(const struct state *state, struct error *err)
{
    return error_set(err, EXIT_OURS, "cannot start %s: it is %s; only a created container can be",
                     state->id, state_status_name(state->status));
}

/* Reads the plan back, for its hooks: without the filter. */
static int load_plan(const struct runtime *runtime, const struct state *state, struct plan *plan,
                     struct error *err)
{
    const char *id = state->id;
    unsigned int flags = strcmp(state->isolation, "sandbox") == 0 ? PLAN_PARSE_SANDBOX : 0;
    *plan = (struct plan){ 0 };
    _cleanup_free_ char *text = state_read_config(runtime->root, id, err);
    json_error_t where;
    json_t *document = text ? plan_load_json(text, &where) : NULL;
    if (text && !document)
        return error_set(err, EXIT_OURS, "the configuration of %s: %s", id, where.text);
    return document ? plan_parse(document, flags, plan, err) : -1;
}

static void run_hooks_or_warn(const struct runtime *runtime, const struct plan *plan,
                              enum plan_hooks kind, const struct state *state, const char *status,
                              pid_t pid)
{
    struct error why = { 0 };
    _cleanup_free_ char *open_state = hooks_open_state(state->id, state->bundle, plan);
    if (open_state && hooks_run(plan, kind, open_state, status, pid, &why) < 0)
        runtime->warn(why.message);
}

void engine_run_last_hooks(const struct runtime *runtime, const struct plan *plan,
                           const struct state *state)
{
    run_hooks_or_warn(runtime, plan, PLAN_HOOKS_POSTSTOP, state, "stopped", 0);
}

/* The child, whose sync_fd is connected, gets what it may need of us, and executes. */
static int execute_child(struct sandbox_child *child, const struct state *state,
                         const struct plan *plan, struct error *err)
{
    const struct notify_process process = {
        .container = plan,
        .id = state->id,
        .bundle = state->bundle,
        .status = state_status_name(state->status),
        .container_pid = state->pid,
        .pid = state->pid,
    };
    struct notify notify;
    child->pidfd = engine_open_process(state, err);
    if (child->pidfd < 0 || notify_prepare(&notify, &process, err) < 0) {
        sandbox_abandon(child);
        return -1;
    }
    child->pass_listener = notify_send;
    // cppcheck-suppress autoVariables ; taken back below
    child->listener_context = &notify;
    int result = sandbox_execute(child, err);
    child->pass_listener = NULL;
    child->listener_context = NULL;
    cleanup_close(&child->pidfd);
    notify_free(&notify);
    return result;
}

static bool is_machine(const struct state *state)
{
    return strcmp(state->isolation, "vm") == 0;
}

/* Has the waiting process execute its command. */
static int execute_waiting(const struct runtime *runtime, struct state *state,
                           const struct plan *plan, struct error *err)
{
    _cleanup_free_ char *directory = state_directory(runtime->root, state->id, err);
    if (!directory)
        return -1;
    struct sandbox_child child = { .pidfd = -1, .terminal_fd = -1 };
    child.sync_fd = local_socket_connect(directory, START_SOCKET);
    /* Nobody listens any more: an earlier start was killed when it had done its work. */
    if (child.sync_fd < 0 && errno == ECONNREFUSED)
        state->status = STATE_RUNNING;
    if (child.sync_fd < 0)
        return state->status == STATE_RUNNING
                   ? refuse_start(state, err)
                   : error_set_errno(err, EXIT_OURS, errno, "cannot reach the process of %s",
                                     state->id);
    return execute_child(&child, state, plan, err);
}

static int start_pod(const struct runtime *runtime, const struct state *state, struct error *err)
{
    _cleanup_close_ int process = engine_open_process(state, err);
    return process < 0 ? -1 : pod_start_machine(runtime, state->pod, process, err);
}

static int execute(const struct runtime *runtime, struct state *state, const struct plan *plan,
                   struct error *err)
{
    if (state->pod && start_pod(runtime, state, err) < 0)
        return -1;
    int result = is_machine(state) ? machine_start(runtime, state, err)
                                   : execute_waiting(runtime, state, plan, err);
    if (result < 0)
        return -1;
    state->status = STATE_RUNNING;
    state->started = time(NULL);
    return state_write(runtime->root, state, err);
}

int engine_start(const struct runtime *runtime, const char *id, struct error *err)
{
    _cleanup_close_ int lock = -1;
    _cleanup_state_ struct state state = { 0 };
    if (engine_lock(runtime, id, &lock, &state, err) < 0)
        return -1;
    if (state.status != STATE_CREATED)
        return refuse_start(&state, err);
    struct plan plan;
    int result = load_plan(runtime, &state, &plan, err);
    if (result == 0)
        result = execute(runtime, &state, &plan, err);
    if (result == 0)
        run_hooks_or_warn(runtime, &plan, PLAN_HOOKS_POSTSTART, &state, "running", state.pid);
    plan_free(&plan);
    return result;
}

/* --- signals ------------------------------------------------------------------------------------
 */

/* A container by its cgroup; a VM by its monitor, which is in the cgroup itself. */
static int set_frozen(const struct runtime *runtime, const struct state *state, bool frozen,
                      struct error *err)
{
    if (is_machine(state))
        return machine_pause(runtime, state, frozen, err);
    struct cgroup *cgroup = cgroup_open(state->cgroup, err);
    int result = cgroup ? cgroup_freeze(cgroup, frozen, err) : -1;
    cgroup_close(cgroup);
    return result;
}

static int signal_all(const struct state *state, int signal, struct error *err)
{
    if (!state->cgroup || !*state->cgroup)
        return error_set(err, EXIT_OURS, "%s has no cgroup by which all its processes are known",
                         state->id);
    struct error missing;
    struct cgroup *cgroup = cgroup_open(state->cgroup, &missing);
    if (!cgroup)
        return error_set(err, EXIT_OURS, "%s: container not running", state->id);
    if (signal == SIGKILL)
        cgroup_kill(cgroup);
    else
        cgroup_signal(cgroup, signal);
    cgroup_close(cgroup);
    return 0;
}

/* Its processes are the guest's: the monitor passes the signal on. */
static int signal_machine(const struct runtime *runtime, const struct state *state, int signal,
                          bool all, struct error *err)
{
    _cleanup_close_ int pidfd = engine_open_process(state, err);
    if (pidfd < 0)
        return -1;
    return signal == 0 ? 0 : machine_signal(runtime, state, signal, all, err);
}

/*
 * The end of the first process of a pid namespace is that of all others, but not of one that is not
 * the container's own: others are left, perhaps longer than the first.
 */
static bool leaves_others(const struct runtime *runtime, const struct state *state)
{
    struct plan plan = { 0 };
    struct error ignored;
    pid_t *pids = NULL;
    size_t count = 0;
    bool shared = state->cgroup && *state->cgroup &&
                  load_plan(runtime, state, &plan, &ignored) == 0 &&
                  !(plan.namespaces.create & CLONE_NEWPID);
    plan_free(&plan);
    struct cgroup *cgroup = shared ? cgroup_open(state->cgroup, &ignored) : NULL;
    if (cgroup)
        (void)cgroup_list_processes(cgroup, &pids, &count, &ignored);
    cgroup_close(cgroup);
    free(pids);
    return count > 0;
}

int engine_signal(const struct runtime *runtime, const char *id, int signal, bool all,
                  struct error *err)
{
    _cleanup_state_ struct state state = { 0 };
    if (state_read(runtime->root, id, &state, err) < 0)
        return -1;
    if (engine_require(&state, err) < 0)
        return -1;
    if (is_machine(&state))
        return signal_machine(runtime, &state, signal, all, err);
    if (all || (signal == SIGKILL && leaves_others(runtime, &state)))
        return signal_all(&state, signal, err);
    _cleanup_close_ int pidfd = engine_open_process(&state, err);
    if (pidfd < 0)
        return -1;
    if (syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0)
        return errno == ESRCH
                   ? error_set(err, EXIT_OURS, "%s: container not running", id)
                   : error_set_errno(err, EXIT_OURS, errno, "cannot send signal %d to process %d",
                                     signal, state.pid);
    /* On v1, a frozen process dies when it is thawed. */
    if (signal == SIGKILL && state.status == STATE_PAUSED)
        return set_frozen(runtime, &state, false, err);
    return 0;
}

/*
 * Recorded as paused as long as it may be: a pause that is killed between leaves something that
 * resume, kill and delete know how to let go on.
 */
static int thaw_and_record(const struct runtime *runtime, struct state *state, struct error *err)
{
    state->status = STATE_RUNNING;
    return set_frozen(runtime, state, false, err) < 0 ? -1 : state_write(runtime->root, state, err);
}

static int freeze(const struct runtime *runtime, struct state *state, struct error *err)
{
    struct error ignored;
    state->status = STATE_PAUSED;
    if (state_write(runtime->root, state, err) < 0)
        return -1;
    int result = set_frozen(runtime, state, true, err);
    if (result < 0)
        (void)thaw_and_record(runtime, state, &ignored);
    return result;
}

int engine_pause(const struct runtime *runtime, const char *id, bool pause, struct error *err)
{
    _cleanup_close_ int lock = -1;
    _cleanup_state_ struct state state = { 0 };
    if (engine_lock(runtime, id, &lock, &state, err) < 0)
        return -1;
    enum state_status from = pause ? STATE_RUNNING : STATE_PAUSED;
    if (state.status != from)
        return error_set(err, EXIT_OURS, "cannot %s %s: it is %s", pause ? "pause" : "resume", id,
                         state_status_name(state.status));
    if (!state.cgroup || !*state.cgroup)
        return error_set(err, EXIT_OURS, "cannot pause %s: it has no cgroup of its own", id);
    return pause ? freeze(runtime, &state, err) : thaw_and_record(runtime, &state, err);
}

/* --- delete -------------------------------------------------------------------------------------
 */

static int end_process(const struct runtime *runtime, const struct state *state, struct error *err)
{
    struct error ended;
    _cleanup_close_ int pidfd = engine_open_process(state, &ended);
    if (pidfd < 0)
        return 0;
    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    if (state->status == STATE_PAUSED && !is_machine(state) &&
        set_frozen(runtime, state, false, err) < 0)
        return -1;
    struct pollfd end = { .fd = pidfd, .events = POLLIN };
    if (poll(&end, 1, KILL_PATIENCE_MS) == 1)
        return 0;
    return error_set(err, EXIT_OURS, "process %d of %s does not end", state->pid, state->id);
}

static bool is_sandbox(const struct state *state)
{
    return strcmp(state->isolation, "sandbox") == 0;
}

/* All that is left of it outside of its state. plan: NULL: it cannot be read. */
static int clean_up(const struct state *state, const char *directory, const struct plan *plan,
                    struct error *err)
{
    const char *network = plan ? plan->namespaces.path[PLAN_NS_NETWORK] : NULL;
    if (is_sandbox(state) && pod_end_machine(directory, network, err) < 0)
        return -1;
    if (state->cgroup && *state->cgroup && cgroup_belongs_to(state->cgroup, directory) &&
        cgroup_remove(state->cgroup, err) < 0)
        return -1;
    /* A namespace that others have made outlives a VM whose monitor was killed. */
    return is_machine(state) && !state->pod && network ? network_remove_leftovers(network, err) : 0;
}

/* Needs no lock, which a start holds for as long as it waits for a guest: it ends by this. */
static void kill_process(const struct runtime *runtime, const char *id)
{
    _cleanup_state_ struct state state = { 0 };
    struct error ignored; /* who takes the lock next looks again */
    if (state_read(runtime->root, id, &state, &ignored) < 0 || engine_require(&state, &ignored) < 0)
        return;
    _cleanup_close_ int pidfd = engine_open_process(&state, &ignored);
    if (pidfd < 0)
        return;
    struct pollfd end = { .fd = pidfd, .events = POLLIN };
    /* With a VM of its own its files are let go by that; the VM of a pod goes on. */
    if (state.pod)
        machine_ask_to_end(runtime, &state);
    if (!state.pod || poll(&end, 1, END_PATIENCE_MS) != 1)
        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

int engine_delete(const struct runtime *runtime, const char *id, bool force, struct error *err)
{
    _cleanup_close_ int lock = -1;
    _cleanup_state_ struct state state = { 0 };
    _cleanup_free_ char *directory = state_directory(runtime->root, id, err);
    if (!directory)
        return -1;
    if (force && state_is_absent(runtime->root, id))
        return state_sweep(runtime->root, err);
    int salvaged = force ? engine_salvage(runtime, id, err) : 1;
    if (salvaged != 1)
        return salvaged;
    if (force)
        kill_process(runtime, id);
    if (engine_lock(runtime, id, &lock, &state, err) < 0) /* or another command has deleted it */
        return force && state_is_absent(runtime->root, id) ? 0 : -1;
    if (!force && state.status != STATE_STOPPED)
        return error_set(err, EXIT_OURS,
                         "cannot delete %s: it is %s; stop it first, or kill and delete it: hybrid "
                         "delete --force %s",
                         id, state_status_name(state.status), id);
    struct plan plan;
    struct error unreadable = { 0 };
    bool hooks = load_plan(runtime, &state, &plan, &unreadable) == 0;
    if (!hooks)
        runtime->warn(unreadable.message); /* no reason to keep the container */
    int result = end_process(runtime, &state, err);
    if (result == 0)
        result = clean_up(&state, directory, hooks ? &plan : NULL, err);
    if (result == 0)
        result = state_remove(runtime->root, id, err);
    if (result == 0 && hooks)
        engine_run_last_hooks(runtime, &plan, &state);
    plan_free(&plan);
    return result;
}
