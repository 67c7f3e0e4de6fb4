#include "exec_container.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "runtime/container/container.h"

struct workload {
    struct sandbox_child child;
    struct notify notify;
    const struct workload_join *join;
    pid_t pid;
    int terminal_fd; /* our copy of the master, for resizing; -1 */
    bool ended;
};

static void destroy(struct workload *workload)
{
    if (!workload->ended && workload->child.pidfd >= 0)
        (void)syscall(SYS_pidfd_send_signal, workload->child.pidfd, SIGKILL, NULL, 0);
    if (workload->ended)
        workload->child.pid = 0; /* reaped */
    sandbox_abandon(&workload->child);
    cleanup_close(&workload->terminal_fd);
    notify_free(&workload->notify);
    free(workload);
}

static struct workload *create(const struct workload_spec *spec, int *terminal_fd,
                               struct error *err)
{
    struct container_exec_request request = {
        .join = spec->join,
        .plan = spec->plan,
        .keep_fds = spec->join->keep_fds,
        .stdio = { spec->stdio[0], spec->stdio[1], spec->stdio[2] },
        .rows = spec->rows,
        .columns = spec->columns,
    };
    *terminal_fd = -1;
    struct workload *workload = calloc(1, sizeof *workload);
    if (!workload) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    workload->terminal_fd = -1;
    workload->join = spec->join;
    request.notify = &workload->notify;
    if (container_exec(&request, &workload->child, err) < 0) {
        notify_free(&workload->notify);
        free(workload);
        return NULL;
    }
    workload->pid = workload->child.pid;
    if (workload->child.terminal_fd >= 0)
        workload->terminal_fd = fcntl(workload->child.terminal_fd, F_DUPFD_CLOEXEC, 3);
    *terminal_fd = take_fd(&workload->child.terminal_fd);
    return workload;
}

static int start(struct workload *workload, struct error *err)
{
    const struct workload_join *join = workload->join;
    if (sandbox_execute(&workload->child, err) < 0)
        return -1;
    return join->started ? join->started(join->started_context, workload->pid, err) : 0;
}

static pid_t pid_of(const struct workload *workload)
{
    return workload->pid;
}

static const char *cgroup_of(const struct workload *workload)
{
    (void)workload; /* the container's; not ours to remove */
    return "";
}

static size_t poll_fds(const struct workload *workload, struct pollfd *fds, size_t max)
{
    if (max == 0 || workload->ended)
        return 0;
    fds[0] = (struct pollfd){ .fd = workload->child.pidfd, .events = POLLIN };
    return 1;
}

static int dispatch(struct workload *workload, const struct pollfd *fds, size_t count,
                    void (*exec_ended)(void *context, uint32_t number, int status,
                                       const struct error *error),
                    void *context, struct workload_exit *exit)
{
    (void)exec_ended, (void)context;
    siginfo_t info = { 0 };
    if (workload->ended || count == 0 || !fds[0].revents)
        return 0;
    if (waitid(P_PIDFD, (id_t)workload->child.pidfd, &info, WEXITED | WNOHANG) < 0) {
        *exit = (struct workload_exit){ .status = EXIT_OURS, .failed = true };
        (void)error_set_errno(&exit->error, EXIT_OURS, errno, "cannot wait for the command");
    } else if (info.si_pid == 0) {
        return 0;
    } else {
        exit->status =
            info.si_code == CLD_EXITED ? info.si_status : EXIT_SIGNAL_BASE + info.si_status;
    }
    workload->ended = true;
    return 1;
}

static int send_signal(struct workload *workload, int signal, bool all, struct error *err)
{
    (void)all;
    if (syscall(SYS_pidfd_send_signal, workload->child.pidfd, signal, NULL, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot send signal %d to the command",
                               signal);
    return 0;
}

static int resize(struct workload *workload, uint32_t process, uint16_t rows, uint16_t columns,
                  struct error *err)
{
    (void)process;
    struct winsize size = { .ws_row = rows, .ws_col = columns };
    if (workload->terminal_fd < 0 || ioctl(workload->terminal_fd, TIOCSWINSZ, &size) < 0)
        return error_set(err, EXIT_OURS, "cannot set the size of the terminal");
    return 0;
}

const struct workload_ops exec_container_ops = {
    .name = "exec",
    .create = create,
    .start = start,
    .pid = pid_of,
    .cgroup = cgroup_of,
    .poll_fds = poll_fds,
    .dispatch = dispatch,
    .signal = send_signal,
    .resize = resize,
    .destroy = destroy,
};
