/* The caller's side: make the child, let it go on step by step, learn what went wrong. */
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context.h"
#include "io.h"
#include "namespaces.h"

static int clone_child(const struct sandbox_request *request, int *pidfd, struct error *err)
{
    struct clone_args arguments = {
        .flags = CLONE_PIDFD | namespaces_at_birth(request),
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
    };
    if (request->cgroup_fd >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (uint64_t)request->cgroup_fd;
    }
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    int cause = errno;
    if (pid >= 0)
        return (int)pid;
    (void)sandbox_fail(err, "cannot make a process in new namespaces (clone3 with flags %#llx)",
                       (unsigned long long)arguments.flags);
    /* Those two are limits of the workload, or the moment's. */
    return cause == EAGAIN || cause == ENOMEM ? -1 : error_see_doctor(err, "namespaces");
}

/* The same, born on the processors that the plan says. */
static int clone_on_processors(const struct sandbox_request *request, int *pidfd, struct error *err)
{
    struct plan_processors before;
    int moved = affinity_begin(request, &before, err);
    if (moved < 0)
        return -1;
    int pid = clone_child(request, pidfd, err);
    struct error lost;
    if (pid != 0 && moved && affinity_end(&before, &lost) < 0 && pid > 0) {
        *err = lost;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return -1;
    }
    return pid;
}

static int send_request(int sync_fd, uint32_t type, const int *fd, struct error *err)
{
    struct sandbox_message message = { .type = type };
    if (io_send_fds(sync_fd, &message, sizeof message, fd, fd ? 1 : 0) < 0)
        return sandbox_fail(err, "cannot reach the new process");
    return 0;
}

/* What only the caller can do for a child in a user namespace: its id maps, and its root. */
static int equip_user_namespace(const struct sandbox_request *request,
                                const struct sandbox_child *child, struct error *err)
{
    if (namespaces_write_maps(request->plan, child->pid, err) < 0)
        return -1;
    if (!request->root)
        return 0;
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/ns/user", (int)child->pid);
    _cleanup_close_ int user_namespace = open(path, O_RDONLY | O_CLOEXEC);
    if (user_namespace < 0)
        return sandbox_fail(err, "cannot open %s", path);
    _cleanup_close_ int root = root_make_outside(request, user_namespace, err);
    return root < 0 ? -1 : send_request(child->sync_fd, SANDBOX_ROOT, &root, err);
}

/* Mounts that only the caller can make, in the order of the plan. */
static int send_mounts(const struct sandbox_request *request, const struct sandbox_child *child,
                       struct error *err)
{
    for (size_t i = 0; i < request->plan->step_count; i++) {
        const struct plan_step *step = &request->plan->steps[i];
        if (step->kind != PLAN_MOUNT || !step->mount.idmap)
            continue;
        _cleanup_close_ int mount = idmap_make_mount(&step->mount, child->pid, err);
        if (mount < 0 || send_request(child->sync_fd, SANDBOX_MOUNT, &mount, err) < 0)
            return -1;
    }
    return 0;
}

static int spawn(const struct sandbox_request *request, struct sandbox_child *child,
                 struct error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return sandbox_fail(err, "cannot make a socket pair");
    child->sync_fd = pair[0];
    _cleanup_close_ int other = pair[1];
    struct namespaces_restore restore = { -1, -1 };
    struct namespaces_joined joined;
    int pid = namespaces_open(request, &joined, err) < 0 ||
                      namespaces_prepare(request, &joined, &restore, err) < 0
                  ? -1
                  : clone_on_processors(request, &child->pidfd, err);
    if (pid == 0) {
        (void)close(pair[0]);
        child_run(request, &joined, other);
    }
    namespaces_close(&joined);
    if (pid > 0)
        child->pid = pid;
    if (namespaces_restore(&restore, err) < 0 || pid < 0)
        return -1;
    if ((namespaces_at_birth(request) & CLONE_NEWUSER) &&
        equip_user_namespace(request, child, err) < 0)
        return -1;
    return send_mounts(request, child, err);
}

int sandbox_spawn(const struct sandbox_request *request, struct sandbox_child *child,
                  struct error *err)
{
    *child = (struct sandbox_child){ .pidfd = -1, .sync_fd = -1, .terminal_fd = -1 };
    if (spawn(request, child, err) == 0)
        return 0;
    sandbox_abandon(child);
    return -1;
}

/* The child ended without a word: say how. */
static int explain_silence(struct sandbox_child *child, struct error *err)
{
    siginfo_t info = { 0 };
    if (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOWAIT) == 0 &&
        info.si_code != CLD_EXITED)
        return error_set(err, EXIT_OURS,
                         "the process was ended by signal %d (%s) while it was set up%s",
                         info.si_status, strsignal(info.si_status),
                         info.si_status == SIGKILL ? "; is the memory limit too small?" : "");
    return error_set(err, EXIT_OURS, "the process ended while it was set up");
}

static int receive_answer(struct sandbox_child *child, struct error *err);

/* The child waits until its listener is in the right hands, or is ended. */
static int pass_listener(struct sandbox_child *child, int page_fd, struct error *err)
{
    if (listener_accept(child, page_fd, err) == 0)
        return receive_answer(child, err);
    (void)syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
    return -1;
}

/* Receives the child's answer. Returns its type; 0 if the child has gone; -1 with *err. */
static int receive_answer(struct sandbox_child *child, struct error *err)
{
    struct sandbox_message message;
    int fds[IO_MAX_FDS];
    size_t fd_count;
    ssize_t n = io_receive_fds(child->sync_fd, &message, sizeof message, fds, &fd_count);
    if (n < 0 && errno != ECONNRESET)
        return sandbox_fail(err, "cannot hear from the new process");
    if (n <= 0)
        return 0;
    if (n != (ssize_t)sizeof message)
        return error_set(err, EXIT_OURS, "the new process sent a message of the wrong size");
    if (message.type == SANDBOX_LISTENING && fd_count == 1) {
        _cleanup_close_ int page = fds[0];
        return pass_listener(child, page, err);
    }
    if (fd_count == 1)
        child->terminal_fd = fds[0];
    if (message.type == SANDBOX_FAILED) {
        *err = message.error;
        err->message[sizeof err->message - 1] = '\0';
    }
    return (int)message.type;
}

/* Lets the child go on to the point where it says `wanted`. */
static int advance(struct sandbox_child *child, int wanted, struct error *err)
{
    int answer = send_request(child->sync_fd, SANDBOX_SET_UP, NULL, err);
    if (answer == 0)
        answer = receive_answer(child, err);
    if (answer == wanted)
        return 0;
    if (answer == 0)
        (void)explain_silence(child, err);
    sandbox_abandon(child);
    return -1;
}

int sandbox_mount(struct sandbox_child *child, struct error *err)
{
    return advance(child, SANDBOX_MOUNTED, err);
}

int sandbox_set_up(struct sandbox_child *child, struct error *err)
{
    return advance(child, SANDBOX_READY, err);
}

int sandbox_release(struct sandbox_child *child, struct error *err)
{
    int result = send_request(child->sync_fd, SANDBOX_RELEASE, NULL, err);
    if (result == 0)
        child->pid = 0; /* not ours any more */
    sandbox_abandon(child);
    return result;
}

int sandbox_execute(struct sandbox_child *child, struct error *err)
{
    int answer = send_request(child->sync_fd, SANDBOX_EXECUTE, NULL, err);
    if (answer == 0)
        answer = receive_answer(child, err);
    if (answer == 0) {
        cleanup_close(&child->sync_fd);
        child->sync_fd = -1;
        return 0; /* execve closed the socket; if a signal did, waiting for the child tells */
    }
    sandbox_abandon(child);
    return -1;
}

void sandbox_abandon(struct sandbox_child *child)
{
    if (child->pid > 0) {
        (void)kill(child->pid, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    cleanup_close(&child->pidfd);
    cleanup_close(&child->sync_fd);
    cleanup_close(&child->terminal_fd);
    *child = (struct sandbox_child){ .pidfd = -1, .sync_fd = -1, .terminal_fd = -1 };
}
