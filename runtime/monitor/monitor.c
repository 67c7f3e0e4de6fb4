/* The monitor's life: set up, event loop, end. */
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "monitor_parts.h"
#include "runtime/cgroup/cgroup.h"
#include "stamp.h"

/* What a command has to end by itself after its terminal was hung up, before it is killed; and what
 * was killed, whose output has no end, for that. */
enum { HURRY_MILLISECONDS = 2000 };

static int64_t milliseconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void monitor_hurry(struct monitor *monitor)
{
    if (monitor->deadline == 0)
        monitor->deadline = milliseconds_now() + HURRY_MILLISECONDS;
}

static bool is_attached(const struct monitor *monitor)
{
    return !monitor->request->detached;
}

static struct session_caller main_caller(const struct monitor *monitor)
{
    struct session_caller caller = {
        .fds = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO },
        .interactive = monitor->request->interactive,
        .terminal = monitor->request->spec.plan->terminal,
        .modes = monitor->request->terminal,
        .log = monitor->log,
    };
    for (int i = 0; !is_attached(monitor) && i < SESSION_STREAMS; i++)
        caller.fds[i] = -1;
    return caller;
}

/*
 * Lets go of the caller's own 0, 1 and 2: the streams hold descriptions of their own. The caller's
 * pipes then see end of file when the workload closes its side, not when we end.
 */
static int leave_standard_descriptors(struct monitor *monitor, struct error *err)
{
    _cleanup_close_ int null = take_fd(&monitor->null);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (dup2(null, fd) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot replace descriptor %d", fd);
    return 0;
}

static int watch_signals(struct monitor *monitor, struct error *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    if (monitor->request->hold)
        (void)sigaddset(&set, SIGWINCH);
    monitor->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (monitor->signals < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch signals");
    return 0;
}

/* Everything that the workload's creation needs. */
static int prepare(struct monitor *monitor, struct error *err)
{
    struct monitor_request *request = monitor->request;
    /* Before we may stand in for a workload, whose /dev/null could be anything. */
    monitor->null = cgroup_open_device("/dev/null", O_RDWR);
    if (monitor->null < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null");
    if (request->detached || request->hold) {
        (void)setsid();
        if (request->hold && request->hold->terminal >= 0)
            (void)ioctl(request->hold->terminal, TIOCSCTTY, 0);
        if (chdir("/") < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot enter /");
        if (watch_signals(monitor, err) < 0)
            return -1;
    }
    if (request->keep_log) {
        monitor->log = log_open(request->spec.paths.data_dir, LOG_MAX_BYTES, err);
        if (!monitor->log)
            return -1;
    }
    if (request->state || request->hold) {
        monitor->listener = control_listen(request->spec.paths.state_dir, err);
        if (monitor->listener < 0)
            return -1;
    }
    return 0;
}

/* The workload waits for its start; whoever had it created goes. */
static int hold(struct monitor *monitor, struct error *err)
{
    struct monitor_request *request = monitor->request;
    monitor->workload = request->ops->hold(&request->spec, err);
    if (!monitor->workload)
        return -1;
    if (control_send_simple(request->client, CONTROL_CREATED, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "nobody waits for the creation of %s",
                               request->spec.id);
    (void)close(request->client);
    request->client = -1;
    return 0;
}

static int create_workload(struct monitor *monitor, int *terminal_fd, struct error *err)
{
    struct monitor_request *request = monitor->request;
    int result = 0;
    if (monitor->workload)
        result = request->ops->prepare(monitor->workload, &request->spec, terminal_fd, err);
    else
        monitor->workload = request->ops->create(&request->spec, terminal_fd, err);
    for (int i = 0; i < SESSION_STREAMS; i++)
        request->spec.stdio[i] = -1; /* the back end's now */
    return monitor->workload ? result : -1;
}

/* Everything but the execution of the command. */
static int set_up(struct monitor *monitor, struct error *err)
{
    struct session_caller caller = main_caller(monitor);
    int terminal_fd = -1;
    if (create_workload(monitor, &terminal_fd, err) < 0 ||
        (terminal_fd >= 0 &&
         session_join_terminal(&monitor->main, &caller, terminal_fd, err) < 0) ||
        monitor_record_start(monitor, err) < 0)
        return -1;
    return leave_standard_descriptors(monitor, err);
}

/* A terminal that an engine holds the other end of has another size now. */
static void follow_size(struct monitor *monitor)
{
    struct monitor_request *request = monitor->request;
    struct winsize size;
    struct error ignored;
    if (ioctl(request->hold->terminal, TIOCGWINSZ, &size) < 0)
        return;
    if (monitor->started) {
        (void)request->ops->resize(monitor->workload, 0, size.ws_row, size.ws_col, &ignored);
        return;
    }
    request->spec.rows = size.ws_row;
    request->spec.columns = size.ws_col;
    monitor->resized = true;
}

int monitor_launch(struct monitor *monitor, struct error *err)
{
    const struct monitor_request *request = monitor->request;
    if (request->hold)
        follow_size(monitor);
    if (set_up(monitor, err) < 0 || request->ops->start(monitor->workload, err) < 0)
        return -1;
    monitor->started = true;
    monitor_deliver_held(monitor);
    return 0;
}

static int start(struct monitor *monitor, struct error *err)
{
    struct monitor_request *request = monitor->request;
    if (prepare(monitor, err) < 0)
        return -1;
    struct session_caller caller = main_caller(monitor);
    if (session_open(&monitor->main, &caller, request->spec.stdio, err) < 0)
        return -1;
    if (request->hold)
        return hold(monitor, err);
    if (monitor_launch(monitor, err) < 0)
        return -1;
    if (request->detached)
        (void)control_send_simple(request->client, CONTROL_STARTED, 0);
    return 0;
}

static void exec_ended(void *context, uint32_t number, int status, const struct error *error)
{
    struct monitor *monitor = context;
    for (struct session *session = monitor->sessions; session; session = session->next) {
        if (session->number != number || session == &monitor->main)
            continue;
        session->ended = true;
        session->exit = (struct workload_exit){ .status = status };
        if (error && error->exit_code != 0) {
            session->exit.failed = true;
            session->exit.status = error->exit_code;
            session->exit.error = *error;
        }
    }
}

/* The command was killed: what it ran goes with it, and its terminal is as it was. */
static void lose_command(struct monitor *monitor)
{
    (void)close(monitor->request->client);
    monitor->request->client = -1;
    if (!is_attached(monitor))
        return;
    monitor->abandoned = true;
    session_restore_terminal(&monitor->main);
}

void monitor_serve_command(struct monitor *monitor)
{
    struct control_message message;
    struct error ignored; /* a signal to a workload that has just ended */
    int result = control_receive(monitor->request->client, &message, NULL, NULL);
    if (result > 0)
        (void)monitor_handle(monitor, &monitor->main, &message, &ignored);
    else if (result == 0 || (errno != EAGAIN && errno != EINTR))
        lose_command(monitor);
}

void monitor_serve_signals(struct monitor *monitor)
{
    struct signalfd_siginfo info;
    struct error ignored;
    if (read(monitor->signals, &info, sizeof info) != sizeof info || monitor->main.ended)
        return;
    if (info.ssi_signo == SIGWINCH)
        follow_size(monitor);
    else if (monitor->started)
        (void)monitor->request->ops->signal(monitor->workload, (int)info.ssi_signo, false,
                                            &ignored);
    else if (!monitor->request->hold || monitor->starter) /* what is only held handles none */
        (void)monitor_hold_signal(monitor, (int)info.ssi_signo, &ignored);
}

static void serve_sessions(struct monitor *monitor)
{
    for (struct session *session = monitor->sessions; session; session = session->next) {
        struct session_report report = { 0 };
        session_dispatch(session, &report);
        if (session != &monitor->main)
            continue;
        if (report.hung_up) /* PID 1 may not even notice the SIGHUP, and nobody can type any more */
            monitor_hurry(monitor);
        if (report.background && monitor->request->client >= 0)
            (void)control_send_simple(monitor->request->client, CONTROL_BACKGROUND, 0);
        if (report.failed) {
            char text[256];
            (void)snprintf(text, sizeof text, "cannot write to %s: %s", report.failed,
                           strerror(report.cause));
            monitor_warn(monitor, text);
        }
    }
    int failure = monitor->log ? log_failure(monitor->log) : 0;
    if (failure) {
        char text[256];
        (void)snprintf(text, sizeof text,
                       "cannot write the log, `hybrid logs` will lack the rest: %s",
                       strerror(failure));
        monitor_warn(monitor, text);
    }
}

/* Where each kind of descriptor was put for this round. */
struct round {
    size_t count;
    struct pollfd *command, *listener, *signals, *backend;
    size_t backend_count;
    struct pollfd *clients[MONITOR_MAX_CLIENTS];
};

static struct pollfd *add(struct monitor *monitor, struct round *round, int fd)
{
    if (fd < 0)
        return NULL;
    monitor->fds[round->count] = (struct pollfd){ .fd = fd, .events = POLLIN };
    return &monitor->fds[round->count++];
}

static void collect(struct monitor *monitor, struct round *round)
{
    *round = (struct round){ 0 };
    round->command = add(monitor, round, monitor->request->client);
    round->listener = add(monitor, round, monitor->listener);
    round->signals = add(monitor, round, monitor->signals);
    for (size_t i = 0; i < MONITOR_MAX_CLIENTS; i++)
        round->clients[i] = add(monitor, round, monitor->clients[i].fd);
    if (!monitor->main.ended && monitor->started) { /* what is held has nothing to tell */
        round->backend = &monitor->fds[round->count];
        round->backend_count =
            monitor->request->ops->poll_fds(monitor->workload, round->backend, MONITOR_BACKEND_FDS);
        round->count += round->backend_count;
    }
    for (struct session *session = monitor->sessions; session; session = session->next)
        round->count += session_poll(session, monitor->fds + round->count);
}

static void serve_backend(struct monitor *monitor, const struct round *round)
{
    bool ended =
        monitor->request->ops->dispatch(monitor->workload, round->backend, round->backend_count,
                                        exec_ended, monitor, &monitor->main.exit) == 1;
    monitor_record_warning(monitor);
    if (!ended)
        return;
    monitor->main.ended = true;
    stamp("run");
    session_close_input(&monitor->main);
}

static void dispatch(struct monitor *monitor, const struct round *round)
{
    if (round->command && round->command->revents)
        monitor_serve_command(monitor);
    if (round->signals && round->signals->revents)
        monitor_serve_signals(monitor);
    for (size_t i = 0; i < MONITOR_MAX_CLIENTS; i++)
        if (round->clients[i] && round->clients[i]->revents)
            monitor_serve_client(monitor, &monitor->clients[i]);
    if (round->listener && round->listener->revents)
        monitor_accept(monitor);
    serve_sessions(monitor);
    if (round->backend && !monitor->main.ended)
        serve_backend(monitor, round);
    if (monitor->request->ops->exec_started && !monitor->main.ended)
        monitor_announce_sessions(monitor);
    monitor_finish_sessions(monitor);
}

/* As poll(2). Sets `abandoned` when the time is over. */
static int wait_for_events(struct monitor *monitor, size_t count)
{
    for (;;) {
        int64_t left = monitor->deadline - milliseconds_now();
        int ready = poll(monitor->fds, count,
                         monitor->deadline == 0 ? -1
                         : left < 0             ? 0
                                                : (int)left);
        if (ready == 0 || (monitor->deadline != 0 && left < 0)) /* a guest may never be silent */
            monitor->abandoned = true;
        if (ready >= 0 || errno != EINTR)
            return ready;
    }
}

/* Until the workload has ended and all its output is delivered, or nobody wants it. */
static void loop(struct monitor *monitor)
{
    while (!monitor->abandoned && !(monitor->main.ended && session_is_drained(&monitor->main))) {
        struct round round;
        collect(monitor, &round);
        int ready = wait_for_events(monitor, round.count);
        if (ready < 0) {
            monitor->main.exit = (struct workload_exit){ .status = EXIT_OURS, .failed = true };
            (void)error_set_errno(&monitor->main.exit.error, EXIT_OURS, errno, "poll failed");
            break;
        }
        dispatch(monitor, &round);
    }
    if (monitor->abandoned && !monitor->main.ended)
        monitor->main.exit = (struct workload_exit){ .status = EXIT_SIGNAL_BASE + SIGKILL };
}

int monitor_run(struct monitor_request *request)
{
    struct monitor monitor = {
        .request = request,
        .listener = -1,
        .signals = -1,
        .null = -1,
        .next_number = 1,
        .sessions = &monitor.main,
        .main = { .caller = { .fd = -1 }, .streams = { STREAM_NONE, STREAM_NONE, STREAM_NONE } },
    };
    const struct workload_watch watch = {
        .poll_fds = monitor_early_fds,
        .serve = monitor_early_serve,
        .context = &monitor,
    };
    request->spec.watch = &watch;
    for (size_t i = 0; i < MONITOR_MAX_CLIENTS; i++)
        monitor.clients[i].fd = -1;
    (void)prctl(PR_SET_NAME, "hybrid-monitor");
    struct error err = { 0 };
    if (start(&monitor, &err) == 0) {
        loop(&monitor);
    } else if (monitor.abandoned) {
        monitor.main.exit = (struct workload_exit){ .status = EXIT_SIGNAL_BASE + SIGKILL };
    } else {
        monitor.main.exit = (struct workload_exit){ .status = err.exit_code, .failed = true };
        monitor.main.exit.error = err;
    }
    monitor.main.ended = true;
    monitor_finish(&monitor);
    if (request->hold && monitor.started && monitor.main.exit.failed)
        (void)dprintf(request->hold->messages, "hybrid: %s\n", monitor.main.exit.error.message);
    return request->hold ? monitor.main.exit.status : 0;
}
