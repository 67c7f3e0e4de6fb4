#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/scope.h"
#include "runtime/container/container.h"
#include "runtime/monitor/attach.h"
#include "runtime/network/network.h"
#include "workload.h"

static void describe_limit(const struct plan *plan, char *text, size_t size)
{
    int64_t limit = plan->resources.memory_limit;
    const int64_t mebi = 1 << 20;
    if (limit > 0 && limit % mebi == 0)
        (void)snprintf(text, size, "%lld MiB", (long long)(limit / mebi));
    else
        (void)snprintf(text, size, "%lld bytes", (long long)limit);
}

static int report(const struct runtime *runtime, const struct attach_end *end,
                  const struct plan *plan, bool quiet)
{
    if (end->broken) {
        runtime->warn(end->text);
    } else if (end->oom && !quiet && end->status == EXIT_SIGNAL_BASE + SIGKILL) {
        char text[256], limit[64];
        describe_limit(plan, limit, sizeof limit);
        if (plan->resources.memory_limit > 0)
            (void)snprintf(
                text, sizeof text,
                "the workload ran out of memory and was ended by the out-of-memory killer "
                "(memory limit %s); raise it with --memory",
                limit);
        else
            (void)snprintf(text, sizeof text,
                           "the workload was ended by the out-of-memory killer: the machine ran "
                           "out of memory");
        runtime->warn(text);
    }
    return end->status;
}

/* The monitor was killed: do what it would have done at the end. */
static int take_over(const struct runtime *runtime, const struct launch *launch, struct error *err)
{
    if (!launch->state)
        return error_set(err, EXIT_OURS,
                         "the process that watched over the command was killed, and the command "
                         "with it");
    _cleanup_close_ int lock = -1;
    _cleanup_state_ struct state state = { 0 };
    const char *id = launch->state->id;
    struct error why = { 0 };
    int result = workload_lock_soon(runtime, id, &lock, &why);
    if (result == 0)
        result = state_read_locked(runtime->root, id, &state, &why);
    if (result == 0 && state.abandoned) {
        if (launch->request.fresh && state.started == 0)
            state.remove = true; /* it never ran: as after any other failure to start */
        result = workload_clean_up(runtime, &state, &why);
    }
    if (result != 0 && *why.message)
        return error_set(err, EXIT_OURS, "the monitor of %s was killed; cleaning up failed: %s", id,
                         why.message);
    return error_set(err, EXIT_OURS, "the monitor of %s was killed; the workload was ended with it",
                     id);
}

/*
 * Our copies of the caller's 0 and 1 would keep its pipes open after the workload has closed its
 * side. Messages go to 2.
 */
static void leave_streams(const struct runtime *runtime)
{
    struct error err;
    _cleanup_close_ int null = cgroup_open_device("/dev/null", O_RDWR);
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0)
        return;
    (void)error_set_errno(&err, EXIT_OURS, errno,
                          "standard input and output stay open until the command has ended, also "
                          "where it closes its own: cannot replace them by /dev/null");
    runtime->warn(err.message); /* the command runs already, and is not ended for that */
}

static int follow(const struct runtime *runtime, struct launch *launch, int socket, pid_t monitor,
                  struct error *err)
{
    struct terminal *terminal = &launch->terminal;
    const struct monitor_request *request = &launch->request;
    struct attach attach = { .socket = socket,
                             .started_fd = -1,
                             .monitor = monitor,
                             .terminal = terminal,
                             .resize = request->spec.plan->terminal && !request->detached,
                             .warn = runtime->warn };
    struct attach_end end;
    if (!request->detached && !request->spec.plan->terminal)
        leave_streams(runtime);
    terminal_make_raw(terminal);
    enum attach_result result = attach_run(&attach, request->detached, &end, err);
    terminal_restore(terminal);
    if (result != ATTACH_ENDED)
        return result == ATTACH_STARTED ? 0 : -1;
    (void)waitpid(monitor, NULL, 0);
    return end.lost ? take_over(runtime, launch, err)
                    : report(runtime, &end, request->spec.plan, launch->quiet);
}

int launch_check_terminal(struct error *err)
{
    if (isatty(STDIN_FILENO))
        return 0;
    return error_set(err, EXIT_OURS, "the input device is not a TTY; leave -t out, or -i");
}

/*
 * Looks at the caller's terminal, before the fork, so that the monitor knows the modes to go back
 * to. */
static int prepare_terminal(struct terminal *terminal, bool interactive, uint16_t *rows,
                            uint16_t *columns, struct error *err)
{
    terminal_size(rows, columns);
    if (!interactive)
        return 0;
    if (launch_check_terminal(err) < 0)
        return -1;
    return terminal_open(terminal, STDIN_FILENO, err);
}

/* Who makes the cgroup was said when the workload was run: `start` is told nothing of it. */
static const char *manager_of(const struct runtime *runtime, const struct state *state)
{
    const char *said = json_string_value(json_object_get(state->options, "cgroup_manager"));
    return said ? said : runtime->cgroup_manager;
}

/* The properties of the unit are not taken from annotations, which labels of an image are among. */
static int make_scope(const struct runtime *runtime, struct launch *launch,
                      struct cgroup_scope *scope, struct error *err)
{
    if (!launch->state || strcmp(manager_of(runtime, launch->state), "systemd") != 0)
        return 0;
    launch->request.spec.scope = scope;
    return cgroup_scope_check_host(err) < 0
               ? -1
               : cgroup_scope_make(NULL, launch->state->id, NULL, scope, err);
}

/*
 * Before anything is made: if all of us are killed while it is, whoever meets the state knows that
 * there is something to clean up, and where.
 */
static int record_cgroup(const struct runtime *runtime, struct launch *launch, struct error *err)
{
    char name[PATH_MAX];
    struct state *state = launch->state;
    const struct workload_spec *spec = &launch->request.spec;
    if (!state)
        return 0;
    container_cgroup_name(spec->plan, state->id, name);
    free(state->cgroup);
    state->cgroup = strdup(spec->scope ? spec->scope->path : name);
    if (!state->cgroup)
        return error_set(err, EXIT_OURS, "out of memory");
    state->status = STATE_CREATING;
    return state_write(runtime->root, state, err);
}

static int fork_and_follow(const struct runtime *runtime, struct launch *launch, int lock_fd,
                           struct error *err)
{
    int ends[2];
    _cleanup_close_ int lock = lock_fd;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pair of sockets");
    _cleanup_close_ int ours = ends[0];
    _cleanup_close_ int theirs = ends[1];
    sigset_t set;
    attach_signals(&set);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)fflush(NULL); /* else the monitor would write it again */
    pid_t monitor = fork();
    if (monitor < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot start the monitor");
    launch->forked = true;
    if (monitor == 0) {
        (void)close(take_fd(&ours));
        /* Also what stops a process that touches its terminal from the background. */
        (void)sigaddset(&set, SIGTTIN);
        (void)sigaddset(&set, SIGTTOU);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        launch->request.state = launch->state;
        launch->request.lock = take_fd(&lock);
        launch->request.client = take_fd(&theirs);
        _exit(monitor_run(&launch->request));
    }
    (void)close(take_fd(&theirs));
    if (lock >= 0)
        (void)close(take_fd(&lock));
    return follow(runtime, launch, ours, monitor, err);
}

int launch_run(const struct runtime *runtime, struct launch *launch, struct error *err)
{
    struct cgroup_scope scope = { .properties = NULL };
    _cleanup_close_ int lock = launch->lock;
    struct monitor_request *request = &launch->request;
    const char *network = request->spec.plan->namespaces.path[PLAN_NS_NETWORK];
    launch->terminal.fd = -1;
    /* The back ends would find out too, but not each the same, nor before anything is made. */
    if (network && launch->state && network_check_path(network, err) < 0)
        return -1;
    if (request->spec.plan->terminal && !request->detached) {
        if (prepare_terminal(&launch->terminal, request->interactive, &request->spec.rows,
                             &request->spec.columns, err) < 0)
            return -1;
        request->terminal = launch->terminal.fd < 0 ? NULL : &launch->terminal.saved;
    }
    int status = make_scope(runtime, launch, &scope, err);
    if (status == 0)
        status = record_cgroup(runtime, launch, err);
    if (status == 0)
        status = fork_and_follow(runtime, launch, take_fd(&lock), err);
    cgroup_scope_free(&scope);
    return status;
}

int launch_exec_remote(const struct runtime *runtime, int socket, int process_file,
                       const struct plan *plan, bool interactive, int started_fd, struct error *err)
{
    struct terminal terminal = { .fd = -1 };
    struct control_message message = { .type = CONTROL_EXEC,
                                       .flags = interactive ? CONTROL_INPUT : 0 };
    if (plan->terminal &&
        prepare_terminal(&terminal, interactive, &message.rows, &message.columns, err) < 0)
        return -1;
    if (terminal.fd >= 0) {
        message.flags |= CONTROL_RAW;
        message.modes = terminal.saved;
    }
    sigset_t set;
    attach_signals(&set);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    const int fds[CONTROL_EXEC_FDS] = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, process_file };
    if (control_send(socket, &message, fds, CONTROL_EXEC_FDS) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot reach the workload's monitor");
    struct attach attach = { .socket = socket,
                             .started_fd = started_fd,
                             .terminal = &terminal,
                             .resize = plan->terminal,
                             .warn = runtime->warn };
    struct attach_end end;
    if (!plan->terminal)
        leave_streams(runtime);
    terminal_make_raw(&terminal);
    enum attach_result result = attach_run(&attach, false, &end, err);
    terminal_restore(&terminal);
    if (result == ATTACH_FAILED)
        return -1;
    if (end.lost)
        return error_set(err, EXIT_OURS,
                         "the workload's monitor was killed, and the command with it");
    return report(runtime, &end, plan, true);
}
