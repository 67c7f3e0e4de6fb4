#include "spawn.h"

#include "cleanup.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* In the child: the descriptors at their numbers, inheritable; all others are close-on-exec. */
static int place_fds(const struct spawn_request *request, int null, int report_fd)
{
    const int after = SPAWN_FIRST_FD + (int)request->fd_count;
    int streams[] = { null, request->stdout_fd < 0 ? null : request->stdout_fd,
                      request->stderr_fd < 0 ? null : request->stderr_fd };
    /* First all out of the way, then each to its place: no one overwrites another. */
    int report = fcntl(report_fd, F_DUPFD_CLOEXEC, after);
    if (report < 0)
        return -1;
    _cleanup_free_ int *copies = calloc(request->fd_count + 3, sizeof *copies);
    if (!copies)
        return -1;
    for (size_t i = 0; i < request->fd_count + 3; i++) {
        copies[i] = fcntl(i < 3 ? streams[i] : request->fds[i - 3], F_DUPFD_CLOEXEC, after);
        if (copies[i] < 0)
            return -1;
    }
    for (size_t i = 0; i < request->fd_count + 3; i++) {
        if (dup2(copies[i], (int)i) < 0)
            return -1;
    }
    /* The program of another may have leaked descriptors into us. */
    (void)close_range((unsigned)after, ~0U, CLOSE_RANGE_CLOEXEC);
    return report;
}

/* Processors too: those of the cgroup, as in containers, not those that the caller may use. */
static int join_cgroup(const struct cgroup *cgroup)
{
    unsigned char every[128];
    const int *task_fds;
    const char *const *hierarchies;
    size_t count = cgroup ? cgroup_task_fds(cgroup, &task_fds, &hierarchies) : 0;
    for (size_t i = 0; i < count; i++) {
        if (write(task_fds[i], "0", 1) < 0)
            return -1;
    }
    memset(every, 0xff, sizeof every);
    return cgroup ? (int)syscall(SYS_sched_setaffinity, 0, sizeof every, every) : 0;
}

static void reset_signals(void)
{
    sigset_t none;
    (void)sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    /* systemd stops a scope by SIGTERM to all that is in it. It is for the workload, which may take
     * its time: what serves it ends with its monitor. A program with a handler of its own has it
     * blocked by request->prepare. */
    (void)signal(SIGTERM, SIG_IGN);
}

/* Whether nobody reads our report: the parent died before PR_SET_PDEATHSIG. (Its process id is of
 * no use: in a pid namespace of our own the parent's is always 0.) */
static bool is_orphan(int report_fd)
{
    struct pollfd asked = { .fd = report_fd };
    errno = ESRCH;
    return poll(&asked, 1, 0) != 0;
}

/* What the child tells of a failure. */
struct report {
    int cause;      /* an errno value */
    bool preparing; /* request->prepare failed */
};

__attribute__((noreturn)) static void run_child(const struct spawn_request *request, int null,
                                                const int report_fds[2])
{
    char *const no_environment[] = { NULL }; /* may hold secrets, and no helper needs it */
    int report = report_fds[1];
    struct report failure = { 0 };
    (void)close(report_fds[0]);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && !is_orphan(report) &&
        join_cgroup(request->cgroup) == 0) {
        int placed = place_fds(request, null, report);
        if (placed >= 0) {
            report = placed;
            (void)setsid(); /* Ctrl-C at the terminal is not for it */
            reset_signals();
            failure.preparing = request->prepare && request->prepare(request->context) < 0;
            if (!failure.preparing)
                (void)execve(request->path, request->argv, no_environment);
        }
    }
    failure.cause = errno;
    (void)!write(report, &failure, sizeof failure);
    _exit(EXIT_OURS);
}

static pid_t clone_child(const struct spawn_request *request, int *pidfd)
{
    const struct cgroup *cgroup = request->cgroup;
    struct clone_args arguments = { .flags = CLONE_PIDFD | (uint64_t)request->namespaces,
                                    .pidfd = (uint64_t)(uintptr_t)pidfd,
                                    .exit_signal = SIGCHLD };
    int birth = cgroup ? cgroup_birth_fd(cgroup) : -1;
    if (birth >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (uint64_t)birth;
    }
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

int spawn_program(const struct spawn_request *request, struct spawned *spawned, struct error *err)
{
    int report[2];
    _cleanup_close_ int null = cgroup_open_device("/dev/null", O_RDWR);
    if (null < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null");
    if (pipe2(report, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int report_read = report[0];
    *spawned = (struct spawned){ .pidfd = -1 };
    spawned->pid = clone_child(request, &spawned->pidfd);
    if (spawned->pid == 0)
        run_child(request, null, report);
    int cause = errno;
    (void)close(report[1]);
    if (spawned->pid < 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot make a process for %s%s",
                               request->path,
                               request->namespaces && cause == EPERM
                                   ? " in namespaces of its own (is CAP_SYS_ADMIN missing?)"
                                   : "");
    struct report failure = { 0 };
    ssize_t n;
    do
        n = read(report_read, &failure, sizeof failure);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return 0; /* execve closed the pipe */
    (void)spawn_wait(spawned);
    return error_set_errno(err, EXIT_OURS, n == (ssize_t)sizeof failure ? failure.cause : EPIPE,
                           failure.preparing ? "cannot build the jail of %s" : "cannot execute %s",
                           request->path);
}

int spawn_wait(struct spawned *spawned)
{
    int status = -1;
    if (spawned->pid > 0) {
        while (waitpid(spawned->pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    cleanup_close(&spawned->pidfd);
    *spawned = (struct spawned){ .pidfd = -1 };
    return status;
}
