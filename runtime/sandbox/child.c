/* The child's side: wait, apply the plan step by step, report, execute. */
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "context.h"
#include "io.h"
#include "namespaces.h"
#include "path.h"

static sandbox_step *const step_table[PLAN_STEP_KINDS] = {
    [PLAN_MOUNT] = mount_apply,
    [PLAN_FILE] = file_make,
    [PLAN_DEVICE] = device_make,
    [PLAN_SYMLINK] = symlink_make,
    [PLAN_CONSOLE] = console_make,
    [PLAN_HOOKS] = hooks_await,
    [PLAN_HOOK_CREATE] = hook_apply,
    [PLAN_ROOT] = root_enter,
    [PLAN_CWD_MAKE] = cwd_make,
    [PLAN_MASK] = mask_path,
    [PLAN_READONLY_PATH] = path_make_readonly,
    [PLAN_READONLY_ROOT] = root_make_readonly,
    [PLAN_SYSCTL] = sysctl_set,
    [PLAN_HOSTNAME] = hostname_set,
    [PLAN_DOMAINNAME] = domainname_set,
    [PLAN_LOOPBACK_UP] = loopback_up,
    [PLAN_OOM_SCORE] = oom_score_set,
    [PLAN_PERSONALITY] = personality_set,
    [PLAN_SCHEDULER] = scheduler_set,
    [PLAN_IO_PRIORITY] = io_priority_set,
    [PLAN_RLIMIT] = rlimit_set,
    [PLAN_UMASK] = umask_set,
    [PLAN_USER] = user_resolve,
    [PLAN_CWD] = cwd_enter,
    [PLAN_APPARMOR] = label_set,
    [PLAN_SELINUX] = label_set,
    [PLAN_CAPABILITIES] = capabilities_set,
    [PLAN_NO_NEW_PRIVS] = no_new_privs_set,
    [PLAN_HOOK_START] = hook_apply,
    [PLAN_SECCOMP] = filter_load,
    [PLAN_EXEC] = command_execute,
    [PLAN_PAUSE] = namespaces_hold,
};

int child_send(int sync_fd, uint32_t type, const struct error *error, const int *fd)
{
    struct sandbox_message message = { .type = type };
    if (error)
        message.error = *error;
    return io_send_fds(sync_fd, &message, sizeof message, fd, fd ? 1 : 0);
}

/* Waits for a message of the caller. If the caller has gone, so does the child. */
void child_await(struct sandbox *sandbox, uint32_t wanted)
{
    for (;;) {
        struct sandbox_message message;
        int fds[IO_MAX_FDS];
        size_t fd_count;
        ssize_t n = io_receive_fds(sandbox->sync_fd, &message, sizeof message, fds, &fd_count);
        if (n != (ssize_t)sizeof message)
            _exit(EXIT_OURS);
        if (message.type == SANDBOX_ROOT && fd_count == 1)
            sandbox->given_root_fd = fds[0];
        if (message.type == SANDBOX_GIVEN && fd_count == 1)
            sandbox->given_fd = fds[0];
        if (message.type == wanted)
            return;
    }
}

int child_ask(struct sandbox *sandbox, uint32_t type, uint32_t step, const int *fd, int *given_fd)
{
    const struct sandbox_message question = { .type = type, .step = step };
    *given_fd = -1;
    if (io_send_fds(sandbox->sync_fd, &question, sizeof question, fd, fd ? 1 : 0) < 0)
        return -1;
    child_await(sandbox, SANDBOX_GIVEN);
    *given_fd = take_fd(&sandbox->given_fd);
    return 0;
}

/*
 * Handlers, ignored signals and the mask are the caller's; a command starts with none of them. By
 * the system call itself: the C library refuses to touch 32 and 33, which are its own, but an
 * ignored one would be inherited like any other.
 */
static void reset_signals(void)
{
    /* The kernel's struct sigaction, all zero: SIG_DFL, no flags, no restorer, an empty mask. */
    static const unsigned long standard[4];
    for (int signal = 1; signal < NSIG; signal++)
        (void)syscall(SYS_rt_sigaction, signal, standard, NULL, sizeof(uint64_t));
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int set_stdio(const struct sandbox_request *request, struct error *err)
{
    int high[3];
    for (int i = 0; i < 3; i++) {
        /* Out of the way first: one stream's number may be another's target. */
        high[i] = fcntl(request->stdio[i], F_DUPFD_CLOEXEC, 3 + request->keep_fds);
        if (high[i] < 0)
            return sandbox_fail(err, "cannot use descriptor %d as stream %d", request->stdio[i], i);
        sandbox_guard_null(high[i]);
    }
    for (int i = 0; i < 3; i++) {
        if (dup2(high[i], i) < 0)
            return sandbox_fail(err, "cannot set stream %d", i);
        (void)close(high[i]);
    }
    return 0;
}

/* Joins the v1 hierarchies: a single thread that moves itself needs no system-wide lock. */
static int join_hierarchies(const struct sandbox_request *request, struct error *err)
{
    for (size_t i = 0; i < request->task_fd_count; i++)
        if (write(request->task_fds[i], "0", 1) != 1)
            return sandbox_fail(err, "cannot join the cgroup of hierarchy %s",
                                request->task_hierarchies[i]);
    return 0;
}

/*
 * The caller's session keyring, root's, must not be the workload's. A kernel without keyrings has
 * none to protect.
 */
static int leave_keyring(const struct sandbox_request *request, struct error *err)
{
    if (request->keep_keyring || syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 ||
        errno == ENOSYS)
        return 0;
    return sandbox_fail(err, "cannot make a session keyring (--no-new-keyring keeps the caller's)");
}

/* Everything before the first step of the plan. */
static int prepare(struct sandbox *sandbox, struct error *err)
{
    const struct sandbox_request *request = sandbox->request;
    if (close_range(3 + (unsigned int)request->keep_fds, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return sandbox_fail(err, "cannot mark descriptors to be closed");
    if (!sandbox->plan->terminal && set_stdio(request, err) < 0)
        return -1;
    if (oom_score_open(sandbox, err) < 0 || label_open(sandbox, err) < 0 ||
        leave_keyring(request, err) < 0 || join_hierarchies(request, err) < 0 ||
        affinity_settle(request, err) < 0 || namespaces_enter(request, sandbox->joined, err) < 0)
        return -1;
    sandbox->user_namespace = namespaces_have_user(request);
    if (sandbox->user_namespace && identity_enter_user_namespace(sandbox, err) < 0)
        return -1;
    sandbox->held_capabilities = capabilities_held();
    if (request->root)
        return root_prepare(sandbox, err) < 0 ? -1 : mask_prepare(sandbox, err);
    sandbox->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return sandbox->root_fd < 0 ? sandbox_fail(err, "cannot open the root directory") : 0;
}

/* The terminal must be there before its owner is set, and before the caller is told. */
static int use_terminal(struct sandbox *sandbox, struct error *err)
{
    if (!sandbox->plan->terminal || sandbox->terminal_taken)
        return 0;
    if (terminal_make(sandbox, err) < 0 || terminal_take(sandbox, err) < 0)
        return -1;
    sandbox->terminal_taken = true;
    return 0;
}

int hooks_await(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)step;
    if (child_send(sandbox->sync_fd, SANDBOX_MOUNTED, NULL, NULL) < 0)
        return sandbox_fail(err, "cannot report to the caller");
    child_await(sandbox, SANDBOX_SET_UP);
    return 0;
}

/* Whether a caller that has just connected wants the command executed, and did not end before. */
static bool is_start(int fd)
{
    struct sandbox_message message;
    int fds[IO_MAX_FDS];
    size_t fd_count;
    ssize_t n = io_receive_fds(fd, &message, sizeof message, fds, &fd_count);
    while (fd_count > 0)
        (void)close(fds[--fd_count]);
    return n == (ssize_t)sizeof message && message.type == SANDBOX_EXECUTE;
}

/*
 * Closes everything that is not the command's but the listener: what came from the caller, such as
 * the lock of its state, must not be held as long as nobody starts the command. Returns the
 * listener.
 */
static int keep_listener(const struct sandbox_request *request)
{
    int listener = 3 + request->keep_fds;
    if (*request->start_listener != listener && dup2(*request->start_listener, listener) < 0)
        return -1;
    (void)fcntl(listener, F_SETFD, FD_CLOEXEC);
    return close_range((unsigned int)listener + 1, ~0U, 0) < 0 ? -1 : listener;
}

/*
 * From here on nobody need watch over this process: its state is recorded. The answer to
 * SANDBOX_EXECUTE goes to who sent it.
 */
static void await_start(struct sandbox *sandbox)
{
    child_await(sandbox, SANDBOX_RELEASE);
    int listener = keep_listener(sandbox->request);
    if (listener < 0)
        _exit(EXIT_OURS);
    for (;;) {
        sandbox->sync_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (sandbox->sync_fd >= 0 && is_start(sandbox->sync_fd))
            break;
        if (sandbox->sync_fd < 0 && errno != EINTR && errno != ECONNABORTED)
            _exit(EXIT_OURS);
        cleanup_close(&sandbox->sync_fd);
    }
    (void)close(listener);
}

/* Tells the caller that all is set up, and waits until the command may start. */
static int rendezvous(struct sandbox *sandbox, struct error *err)
{
    if (use_terminal(sandbox, err) < 0)
        return -1;
    null_settle(sandbox);
    bool held = sandbox->request->start_listener != NULL;
    /* Who starts the command later is not who can still choose another one: look now. */
    if (held && command_check(sandbox, err) < 0)
        return -1;
    const int *fd = sandbox->terminal_fd >= 0 ? &sandbox->terminal_fd : NULL;
    if (child_send(sandbox->sync_fd, SANDBOX_READY, NULL, fd) < 0)
        return sandbox_fail(err, "cannot report to the caller");
    cleanup_close(&sandbox->terminal_fd);
    sandbox->terminal_fd = -1;
    if (held)
        await_start(sandbox);
    else
        child_await(sandbox, SANDBOX_EXECUTE);
    return 0;
}

static bool belongs_to_execution(enum plan_step_kind kind)
{
    return kind == PLAN_HOOK_START || kind == PLAN_SECCOMP || kind == PLAN_EXEC ||
           kind == PLAN_PAUSE;
}

/* The filter may forbid that the limit of descriptors is set; but one with a listener, which needs
 * a descriptor, sees to it itself. */
static bool belongs_after_limit(const struct plan *plan, enum plan_step_kind kind)
{
    return kind == PLAN_EXEC || (kind == PLAN_SECCOMP && !filter_listens(plan));
}

static int apply_plan(struct sandbox *sandbox, struct error *err)
{
    bool met = false;
    for (size_t i = 0; i < sandbox->plan->step_count; i++) {
        const struct plan_step *step = &sandbox->plan->steps[i];
        if (step->kind >= PLAN_STEP_KINDS)
            return error_set(err, EXIT_OURS, "the plan has a step of unknown kind %d", step->kind);
        if (step->kind == PLAN_USER && use_terminal(sandbox, err) < 0)
            return -1;
        if (!met && belongs_to_execution(step->kind)) {
            if (rendezvous(sandbox, err) < 0)
                return -1;
            met = true;
            if (sandbox->plan->init)
                init_conceal(sandbox);
        }
        if (belongs_after_limit(sandbox->plan, step->kind) && descriptors_limit(sandbox, err) < 0)
            return -1;
        if (propagation_check(sandbox, step, err) < 0 ||
            step_table[step->kind](sandbox, step, err) < 0)
            return -1;
    }
    if (!met && rendezvous(sandbox, err) < 0)
        return -1;
    return error_set(err, EXIT_OURS, "there is no command: the configuration has no process");
}

void child_run(const struct sandbox_request *request, const struct namespaces_joined *joined,
               int sync_fd)
{
    struct sandbox sandbox = {
        .request = request,
        .plan = request->plan,
        .joined = joined,
        .sync_fd = sync_fd,
        .given_fd = -1,
        .given_root_fd = -1,
        .root_fd = -1,
        .workshop_fd = -1,
        .proc_fd = -1,
        .sys_fd = -1,
        .proc_sys_fd = -1,
        .oom_score_fd = -1,
        .confinement_fds = { -1, -1 },
        .null_fd = -1,
        .empty_fd = -1,
        .terminal_fd = -1,
        .terminal_peer_fd = -1,
        .parent_fd = -1,
    };
    struct error error = { 0 };
    reset_signals();
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_PDEATHSIG, request->death_signal, 0, 0, 0);
    (void)umask(0);
    (void)setsid();
    child_await(&sandbox, SANDBOX_SET_UP);
    if (prepare(&sandbox, &error) == 0)
        (void)apply_plan(&sandbox, &error);
    (void)child_send(sandbox.sync_fd, SANDBOX_FAILED, &error, NULL);
    _exit(error.exit_code);
}
