/* hybrid run --bundle: create, start, wait and delete in one call. */
#include "run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/monitor/attach.h"
#include "runtime/monitor/terminal.h"

/* What is watched while the container runs. */
struct watch {
    const struct runtime *runtime;
    const char *id;
    int pidfd, signals;
    int master; /* of its terminal; -1: none, or closed by it */
    bool input; /* there is still something to be typed */
};

static void copy_size(int master)
{
    struct winsize size = { 0 };
    terminal_size(&size.ws_row, &size.ws_col);
    if (size.ws_row || size.ws_col)
        (void)ioctl(master, TIOCSWINSZ, &size);
}

static void forward_signal(const struct watch *watch)
{
    struct signalfd_siginfo info;
    struct error ignored; /* it has just ended */
    if (read(watch->signals, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGWINCH && watch->master >= 0)
        copy_size(watch->master);
    else
        (void)engine_signal(watch->runtime, watch->id, (int)info.ssi_signo, false, &ignored);
}

/* Returns false at the end of `from`. */
static bool relay(int from, int to)
{
    char buffer[16384];
    ssize_t n = read(from, buffer, sizeof buffer);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    return n > 0 && io_write_all(to, buffer, (size_t)n) == 0;
}

/* What the terminal still holds when its last process has ended. */
static void drain(struct watch *watch)
{
    struct pollfd rest = { .fd = watch->master, .events = POLLIN };
    while (watch->master >= 0 && poll(&rest, 1, 0) == 1 && (rest.revents & POLLIN))
        if (!relay(watch->master, STDOUT_FILENO))
            return;
}

/* Until the container's first process has ended. Returns its wait status, or -1 with *err. */
static int serve(struct watch *watch, struct error *err)
{
    for (;;) {
        struct pollfd fds[] = {
            { .fd = watch->pidfd, .events = POLLIN },
            { .fd = watch->signals, .events = POLLIN },
            { .fd = watch->master, .events = POLLIN },
            { .fd = watch->master >= 0 && watch->input ? STDIN_FILENO : -1, .events = POLLIN },
        };
        if (poll(fds, sizeof fds / sizeof *fds, -1) < 0 && errno != EINTR)
            return error_set_errno(err, EXIT_OURS, errno, "poll failed");
        if (fds[1].revents)
            forward_signal(watch);
        if (fds[2].revents && !relay(watch->master, STDOUT_FILENO))
            watch->master = -1;
        if (fds[3].revents)
            watch->input = relay(STDIN_FILENO, watch->master);
        if (!fds[0].revents)
            continue;
        drain(watch);
        siginfo_t info = { 0 };
        if (waitid(P_PIDFD, (id_t)watch->pidfd, &info, WEXITED) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for the container");
        return info.si_code == CLD_EXITED ? info.si_status : EXIT_SIGNAL_BASE + info.si_status;
    }
}

/* Starts it, and stays until its end. */
static int start_and_serve(const struct runtime *runtime, const char *id, int master,
                           struct error *err)
{
    _cleanup_state_ struct state state = { 0 };
    if (state_read(runtime->root, id, &state, err) < 0)
        return -1;
    _cleanup_close_ int pidfd = engine_open_process(&state, err);
    sigset_t set;
    attach_signals(&set);
    (void)sigdelset(&set, SIGTSTP); /* a stop stops us, and the terminal's foreground with us */
    if (pidfd < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -1;
    _cleanup_close_ int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch signals");
    struct watch watch = { .runtime = runtime,
                           .id = id,
                           .pidfd = pidfd,
                           .signals = signals,
                           .master = master,
                           .input = true };
    struct terminal terminal = { .fd = -1 };
    if (master >= 0 && isatty(STDIN_FILENO) && terminal_open(&terminal, STDIN_FILENO, err) < 0)
        return -1;
    if (master >= 0)
        copy_size(master);
    if (engine_start(runtime, id, err) < 0)
        return -1;
    terminal_make_raw(&terminal);
    int status = serve(&watch, err);
    terminal_restore(&terminal);
    return status;
}

int engine_run(const struct runtime *runtime, const char *id,
               const struct engine_run_options *options, struct error *err)
{
    struct engine_create_options create = options->create;
    _cleanup_close_ int master = -1;
    if (!options->detach && !create.console_socket)
        create.terminal_fd = &master;
    if (engine_create(runtime, id, &create, err) < 0)
        return -1;
    int status = options->detach ? engine_start(runtime, id, err)
                                 : start_and_serve(runtime, id, master, err);
    if (status >= 0 && (options->detach || options->keep))
        return status;
    struct error removal = { 0 };
    if (engine_delete(runtime, id, true, &removal) < 0 && status >= 0) {
        *err = removal;
        return -1;
    }
    return status;
}
