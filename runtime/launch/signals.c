#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/monitor/control.h"
#include "runtime/plan/compose.h"

enum {
    ANSWER_MILLISECONDS = 10 * 1000, /* for a monitor to say that it has sent a signal */
    /* For what was killed to be gone: beyond what the back ends give guests and cgroups for it. */
    END_MILLISECONDS = 60 * 1000,
    LOOK_MILLISECONDS = 1000, /* meanwhile, between two looks at the monitor */
};

int signal_parse(const char *text, const char *option, struct error *err)
{
    int number = signal_from_name(text);
    if (number > 0)
        return number;
    const char *nearest = signal_nearest(text);
    if (nearest)
        return error_set(err, EXIT_OURS, "%s: unknown signal \"%.40s\"; did you mean %s?", option,
                         text, nearest);
    return error_set(err, EXIT_OURS,
                     "%s: unknown signal \"%.40s\"; write a name such as TERM, or a "
                     "number",
                     option, text);
}

int workload_refuse_stopped(const char *name, struct error *err)
{
    return error_set(err, EXIT_OURS, "%s is not running; start it with: hybrid start %s", name,
                     name);
}

/* Returns the socket, -1 with *err, or -2 if the workload does not run. */
static int connect_running(const struct runtime *runtime, const char *name, struct error *err)
{
    _cleanup_state_ struct state state = { 0 };
    if (workload_read(runtime, name, &state, err) < 0)
        return -1;
    if (state.bundle)
        return error_set(
            err, EXIT_OURS,
            "%s was created from a bundle, and nobody here watches over it: use hybrid "
            "kill, state and delete",
            name);
    if (state.status == STATE_STOPPED)
        return -2;
    const struct timespec pause = { .tv_nsec = 2000000L };
    int socket = -1;
    /* Being started: the monitor listens in a moment. */
    for (int attempt = 0; attempt < 500; attempt++) {
        socket = workload_connect(runtime, name, err);
        if (socket >= 0 || (errno != ENOENT && errno != ECONNREFUSED))
            break;
        state_free(&state);
        if (state_read(runtime->root, name, &state, err) < 0)
            return -1;
        if (state.status == STATE_STOPPED)
            return -2;
        (void)nanosleep(&pause, NULL);
    }
    return socket;
}

/* Waits at most `milliseconds` (-1: for ever). 1: *message, 0: time is over, -1: the peer is gone.
 */
static int receive_within(int socket, int milliseconds, struct control_message *message)
{
    struct pollfd fd = { .fd = socket, .events = POLLIN };
    int ready;
    do
        ready = poll(&fd, 1, milliseconds);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0)
        return ready;
    return control_receive(socket, message, NULL, NULL) == 1 ? 1 : -1;
}

static int send_and_check(int socket, const char *name, uint32_t type, int value, struct error *err)
{
    struct control_message reply;
    int result = control_send_simple(socket, type, value) < 0
                     ? -1
                     : receive_within(socket, ANSWER_MILLISECONDS, &reply);
    if (result == 0)
        return error_set(err, EXIT_OURS,
                         "the monitor of %s does not answer (is it stopped?); hybrid rm -f %s ends "
                         "it with the workload",
                         name, name);
    if (result < 0)
        return error_set(err, EXIT_OURS, "%s ended before its monitor could do it", name);
    if (reply.type == CONTROL_FAILED)
        return error_set(err, EXIT_OURS, "%s: %s", name, reply.text);
    return 0;
}

int workload_request(const struct runtime *runtime, const char *name, uint32_t type, int value,
                     struct error *err)
{
    int connected = connect_running(runtime, name, err);
    if (connected == -2)
        return workload_refuse_stopped(name, err);
    _cleanup_close_ int socket = connected;
    return socket < 0 ? -1 : send_and_check(socket, name, type, value, err);
}

int workload_signal(const struct runtime *runtime, const char *name, int signal, struct error *err)
{
    if (signal == 0) {
        _cleanup_close_ int socket = connect_running(runtime, name, err);
        return socket == -2 ? workload_refuse_stopped(name, err) : socket < 0 ? -1 : 0;
    }
    return workload_request(runtime, name, CONTROL_SIGNAL, signal, err);
}

static int64_t milliseconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for EXITED until the deadline (-1: none); other messages are answers that need no look. */
static int await_exit(int socket, int64_t deadline, struct control_message *message)
{
    for (;;) {
        int64_t left = deadline < 0 ? -1 : deadline - milliseconds_now();
        if (deadline >= 0 && left < 0)
            left = 0;
        int result = receive_within(socket, left > INT32_MAX ? INT32_MAX : (int)left, message);
        if (result != 1 || message->type == CONTROL_EXITED)
            return result;
    }
}

/* Whether a signal or a debugger holds the process where it is. */
static bool is_stopped(pid_t pid)
{
    char path[32], text[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : io_read_all(fd, text, sizeof text - 1);
    text[length > 0 ? length : 0] = '\0';
    const char *end = strrchr(text, ')'); /* behind the name, which may hold anything */
    return end && end[1] && (end[2] == 'T' || end[2] == 't');
}

/* The monitor at the other end, or -1 if it has ended: its number may be another's then. */
static int open_monitor(int socket, bool *stopped)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    struct pollfd over = { .fd = socket };
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || peer.pid <= 0)
        return -1;
    _cleanup_close_ int process = pidfd_open(peer.pid, 0);
    *stopped = is_stopped(peer.pid);
    if (process < 0 || poll(&over, 1, 0) != 0)
        return -1;
    return take_fd(&process);
}

/*
 * Waits for the end of what was killed. A monitor that is stopped, or takes beyond all measure, is
 * killed too: what it leaves is cleaned up by whoever looks next. Returns as await_exit(-1).
 */
static int await_end(int socket, struct control_message *message)
{
    int64_t deadline = milliseconds_now() + END_MILLISECONDS;
    for (;;) {
        int result = await_exit(socket, milliseconds_now() + LOOK_MILLISECONDS, message);
        if (result != 0)
            return result;
        bool stopped = false;
        _cleanup_close_ int process = open_monitor(socket, &stopped);
        if (process < 0 || (!stopped && milliseconds_now() < deadline))
            continue;
        (void)pidfd_send_signal(process, SIGKILL, NULL, 0);
        struct pollfd ended = { .fd = process, .events = POLLIN };
        (void)poll(&ended, 1, -1);
    }
}

int workload_stop(const struct runtime *runtime, const char *name,
                  const struct stop_options *options, struct error *err)
{
    int connected = connect_running(runtime, name, err);
    if (connected == -2)
        return 0;
    _cleanup_close_ int socket = connected;
    if (socket < 0)
        return -1;
    struct control_message message;
    bool kills = options->signal == SIGKILL;
    int64_t deadline = options->seconds < 0 ? -1 : milliseconds_now() + options->seconds * 1000;
    if (control_send_simple(socket, CONTROL_WAIT, 0) < 0 ||
        control_send_simple(socket, CONTROL_SIGNAL, options->signal) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot reach the monitor of %s", name);
    int result = kills ? 0 : await_exit(socket, deadline, &message);
    if (result == 0) {
        (void)control_send_simple(socket, CONTROL_SIGNAL, SIGKILL);
        result = await_end(socket, &message);
    }
    if (result == 1)
        return 0;
    /* The monitor was killed meanwhile: the next look at the state cleans up. */
    _cleanup_state_ struct state state = { 0 };
    struct error ignored;
    (void)workload_read(runtime, name, &state, &ignored);
    return 0;
}

int workload_kill_by_monitor(const struct runtime *runtime, const char *name, struct error *err)
{
    struct control_message message;
    _cleanup_close_ int socket = workload_connect(runtime, name, err);
    if (socket < 0)
        return errno == ENOENT || errno == ECONNREFUSED ? 0 : -1;
    if (control_send_simple(socket, CONTROL_WAIT, 0) < 0 ||
        control_send_simple(socket, CONTROL_SIGNAL, SIGKILL) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot reach the monitor of %s", name);
    (void)await_end(socket, &message);
    return 0;
}

int workload_wait(const struct runtime *runtime, const char *name, struct error *err)
{
    int connected = connect_running(runtime, name, err);
    if (connected == -1)
        return -1;
    _cleanup_close_ int socket = connected;
    struct control_message message;
    if (socket >= 0 && control_send_simple(socket, CONTROL_WAIT, 0) == 0 &&
        await_exit(socket, -1, &message) == 1)
        return message.value;
    _cleanup_state_ struct state state = { 0 };
    if (workload_read(runtime, name, &state, err) < 0)
        return -1;
    if (!state.exited)
        return error_set(err, EXIT_OURS, "%s has not been started yet", name);
    return state.exit_status;
}
