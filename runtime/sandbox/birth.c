/*
 * The birth of the child: by clone3, in its new namespaces. They belong to the user namespace of
 * whoever calls it, and what is joined by path may belong to the host's. So where a user namespace
 * is joined, or a new one meets namespaces that are joined, another process stands between: it
 * joins first what it may as the host's root, then the user namespace, makes the child there, as
 * the caller's (CLONE_PARENT), and ends. Nothing of it stays: the child's parent, the signal of its
 * end and its pid are as ever.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context.h"
#include "namespaces.h"

/* pidfd NULL: made for our own parent, who opens one. */
static int clone_child(const struct sandbox_request *request, int *pidfd, struct error *err)
{
    struct clone_args arguments = {
        .flags = (pidfd ? CLONE_PIDFD : CLONE_PARENT) | namespaces_at_birth(request),
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = pidfd ? SIGCHLD : 0, /* with CLONE_PARENT it is ours */
    };
    if (request->cgroup_fd >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (uint64_t)request->cgroup_fd;
    }
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    int cause = errno;
    if (pid >= 0)
        return (int)pid;
    /* clone(2): so it is also where process 1 of the namespace has ended. */
    if (cause == ENOMEM &&
        (request->join_pidfd >= 0 || request->plan->namespaces.path[PLAN_NS_PID]))
        return error_set(err, EXIT_OURS,
                         "cannot make a process in the pid namespace that is to be joined: its "
                         "first process has ended, or there is no memory");
    const char *cgroup_namespace = request->plan->namespaces.path[PLAN_NS_CGROUP];
    if (cause == ENOENT && request->cgroup_fd >= 0 && cgroup_namespace)
        return error_set(err, EXIT_OURS,
                         "cannot make a process in its cgroup: with nsdelegate, an option of this "
                         "host's cgroup2, that takes a cgroup namespace that has it and hybrid's "
                         "own; %s (linux.namespaces) does not. Leave it out, or join one that "
                         "belongs to the user namespace",
                         cgroup_namespace);
    (void)sandbox_fail(err, "cannot make a process in new namespaces (clone3 with flags %#llx)",
                       (unsigned long long)arguments.flags);
    /* Those two are limits of the workload, or the moment's. */
    return cause == EAGAIN || cause == ENOMEM ? -1 : error_see_doctor(err, "namespaces");
}

/* What the caller hears: of the process between, why there is no child; or of the child, whose pid
 * the kernel adds, as the caller sees it. */
struct birth {
    bool born;
    struct error error;
};

/* In the process between. Returns, 0, in the child only. */
static int make_for_parent(const struct sandbox_request *request,
                           const struct namespaces_joined *joined, int report_fd)
{
    struct birth birth = { 0 };
    int pid = -1;
    /* Root of the user namespace, or who is in its pid namespace, must not trace us in there. */
    if (setpgid(0, 0) < 0)
        (void)sandbox_fail(&birth.error, "cannot make a process group");
    else if (identity_protect(SIGKILL, &birth.error) == 0 &&
             namespaces_join_first(request, joined, &birth.error) == 0 &&
             identity_protect(SIGKILL, &birth.error) == 0)
        pid = clone_child(request, NULL, &birth.error);
    birth.born = pid == 0;
    /* Should we be killed now, the child is there all the same: so it speaks for itself. */
    if (pid <= 0 && send(report_fd, &birth, sizeof birth, MSG_NOSIGNAL) == (ssize_t)sizeof birth &&
        pid == 0)
        return 0;
    _exit(0);
}

/* Returns the sender's pid; -1: all that could have said something have ended. */
static pid_t receive_birth(int fd, struct birth *birth)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec data = { .iov_base = birth, .iov_len = sizeof *birth };
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    ssize_t length;
    do
        length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == EINTR);
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (length != (ssize_t)sizeof *birth || !header || header->cmsg_type != SCM_CREDENTIALS)
        return -1;
    struct ucred sender;
    memcpy(&sender, CMSG_DATA(header), sizeof sender);
    return sender.pid;
}

static int open_child(pid_t pid, int *pidfd, struct error *err)
{
    *pidfd = (int)syscall(SYS_pidfd_open, pid, 0); /* our child: the number is not another's */
    if (*pidfd >= 0)
        return (int)pid;
    (void)sandbox_fail(err, "cannot open the new process %d", (int)pid);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    return -1;
}

/*
 * Where nobody said anything, the child may have been made, and ended before it could: it was in
 * the process group of the one between, until it would have made a session of its own.
 */
static void reap_between(pid_t between, bool told)
{
    while (waitpid(between, NULL, 0) < 0 && errno == EINTR)
        ;
    while (!told && (waitpid(-between, NULL, 0) > 0 || errno == EINTR))
        ;
}

/* Returns as clone does. */
static int birth_between(const struct sandbox_request *request,
                         const struct namespaces_joined *joined, int *pidfd, struct error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return sandbox_fail(err, "cannot make a socket pair");
    _cleanup_close_ int ours = ends[0];
    _cleanup_close_ int theirs = ends[1];
    if (setsockopt(ours, SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int)) < 0)
        return sandbox_fail(err, "cannot ask for the pid of who sends");
    /* With memory of its own: ours is not to be mapped by a process in that user namespace. */
    pid_t between = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (between < 0)
        return sandbox_fail(err, "cannot make a process to join the user namespace");
    if (between == 0)
        return make_for_parent(request, joined, theirs);
    (void)close(take_fd(&theirs));
    struct birth birth;
    pid_t sender = receive_birth(ours, &birth);
    reap_between(between, sender > 0);
    if (sender <= 0)
        return error_set(err, EXIT_OURS, "the process that joined the user namespace was ended");
    if (birth.born)
        return open_child(sender, pidfd, err);
    *err = birth.error;
    return -1;
}

int birth_on_processors(const struct sandbox_request *request,
                        const struct namespaces_joined *joined, int *pidfd, struct error *err)
{
    struct plan_processors before;
    int moved = affinity_begin(request, &before, err);
    if (moved < 0)
        return -1;
    int pid = namespaces_join_early(request) ? birth_between(request, joined, pidfd, err)
                                             : clone_child(request, pidfd, err);
    struct error lost;
    if (pid != 0 && moved && affinity_end(&before, &lost) < 0 && pid > 0) {
        *err = lost;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return -1;
    }
    return pid;
}
