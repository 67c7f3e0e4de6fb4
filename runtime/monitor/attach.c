#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"

enum { LAST_INTERRUPT = 3, ANSWER_MILLISECONDS = 1000 };

/* Not here: what the kernel sends for our own mistakes, and SIGCHLD, SIGCONT, SIGPIPE, SIGURG. */
static const int forwarded[] = { SIGHUP,  SIGINT,    SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM,
                                 SIGXCPU, SIGVTALRM, SIGPROF, SIGIO,   SIGPWR,  SIGWINCH };

void attach_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
        (void)sigaddset(set, forwarded[i]);
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; signal++)
        (void)sigaddset(set, signal);
    (void)sigaddset(set, SIGTSTP);
}

static void send_size(const struct attach *attach)
{
    struct control_message message = { .type = CONTROL_RESIZE };
    terminal_size(&message.rows, &message.columns);
    (void)control_send(attach->socket, &message, NULL, 0);
}

/*
 * Stops ourselves by a signal with its default action. Returns true after SIGCONT; false at once in
 * an orphaned process group, which is not stopped since nobody could continue it.
 */
static bool stop_by(int signal)
{
    sigset_t stop, go, before;
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, signal);
    (void)sigemptyset(&go);
    (void)sigaddset(&go, SIGCONT);
    (void)sigprocmask(SIG_BLOCK, &go, &before); /* it stays pending, for us to see */
    (void)raise(signal);
    (void)sigprocmask(SIG_UNBLOCK, &stop, NULL); /* here we stop */
    const struct timespec now = { 0 };
    bool continued = sigtimedwait(&go, NULL, &now) == SIGCONT;
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return continued;
}

/*
 * The shell gets its terminal back as it was, and nobody reads from it or writes to it meanwhile.
 * Returns as stop_by.
 */
static bool suspend(const struct attach *attach, int signal)
{
    bool raw = attach->terminal->raw;
    (void)control_send_simple(attach->socket, CONTROL_PAUSE, 0);
    terminal_restore(attach->terminal);
    bool stopped = stop_by(signal);
    if (raw)
        terminal_make_raw(attach->terminal);
    (void)control_send_simple(attach->socket, CONTROL_RESUME, 0);
    if (attach->resize)
        send_size(attach);
    return stopped;
}

/* Asked of the controlling terminal: our own 0 may have been let go. */
static bool is_in_foreground(void)
{
    _cleanup_close_ int terminal = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
    return terminal >= 0 && tcgetpgrp(terminal) == getpgrp();
}

/* The monitor was refused input. Stop as a program that reads would; input ends if we cannot. */
static void answer_background(const struct attach *attach)
{
    if (is_in_foreground()) { /* again by now */
        (void)control_send_simple(attach->socket, CONTROL_RESUME, 0);
        return;
    }
    /* Continued in the background, the next read stops us again. */
    if (!suspend(attach, SIGTTIN))
        (void)control_send_simple(attach->socket, CONTROL_CLOSE_INPUT, 0);
}

static void forward(const struct attach *attach, int signal, int *interrupts)
{
    if (signal == SIGTSTP) {
        (void)suspend(attach, SIGTSTP);
        return;
    }
    if (signal == SIGWINCH && attach->resize) {
        send_size(attach);
        return;
    }
    if (signal == SIGINT && ++*interrupts == 2)
        signal = SIGKILL;
    if (*interrupts >= LAST_INTERRUPT)
        (void)control_send_simple(attach->socket, CONTROL_ABANDON, 0);
    else
        (void)control_send_simple(attach->socket, CONTROL_SIGNAL, signal);
}

static void take_end(const struct control_message *message, struct attach_end *end)
{
    end->status = message->value;
    end->oom = message->flags & CONTROL_OOM;
    end->broken = message->type == CONTROL_FAILED || (message->flags & CONTROL_BROKEN);
    memcpy(end->text, message->text, sizeof end->text);
    end->text[sizeof end->text - 1] = '\0';
}

/* On a terminal in raw mode a newline only goes down. */
static void warn(const struct attach *attach, const char *text)
{
    char line[CONTROL_MAX_TEXT + 1];
    (void)snprintf(line, sizeof line, "%s%s", text, attach->terminal->fd >= 0 ? "\r" : "");
    attach->warn(line);
}

/* Returns the type of a message that is of interest to the caller, else 0. */
static uint32_t receive(const struct attach *attach, struct attach_end *end)
{
    struct control_message message;
    int received = control_receive(attach->socket, &message, NULL, NULL);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (received <= 0) {
        end->lost = true;
        return CONTROL_EXITED;
    }
    switch (message.type) {
    case CONTROL_EXITED:
    case CONTROL_FAILED:
        take_end(&message, end);
        return CONTROL_EXITED;
    case CONTROL_WARNING:
        warn(attach, message.text);
        return 0;
    case CONTROL_BACKGROUND:
        answer_background(attach);
        return 0;
    default:
        return message.type;
    }
}

/*
 * Waits for events. After the last interrupt a monitor that is busy (a VM that does not boot) has a
 * moment to answer; then it is killed, and its end of the socket closes. Returns as poll(2).
 */
static int wait_for_events(const struct attach *attach, struct pollfd fds[2], int interrupts)
{
    bool last = interrupts >= LAST_INTERRUPT && attach->monitor > 0;
    int ready = poll(fds, 2, last ? ANSWER_MILLISECONDS : -1);
    if (ready == 0)
        (void)kill(attach->monitor, SIGKILL);
    return ready;
}

enum attach_result attach_run(const struct attach *attach, bool until_started,
                              struct attach_end *end, struct error *err)
{
    *end = (struct attach_end){ 0 };
    sigset_t set;
    attach_signals(&set);
    _cleanup_close_ int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch signals");
    int interrupts = 0;
    for (;;) {
        struct pollfd fds[] = { { .fd = attach->socket, .events = POLLIN },
                                { .fd = signals, .events = POLLIN } };
        if (wait_for_events(attach, fds, interrupts) < 0 && errno != EINTR)
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for the workload");
        struct signalfd_siginfo info;
        if (fds[1].revents && read(signals, &info, sizeof info) == sizeof info)
            forward(attach, (int)info.ssi_signo, &interrupts);
        uint32_t type = fds[0].revents ? receive(attach, end) : 0;
        if (type == CONTROL_EXITED)
            return ATTACH_ENDED;
        if (type == CONTROL_STARTED && attach->started_fd >= 0)
            (void)!write(attach->started_fd, "", 1);
        if (type == CONTROL_STARTED && until_started)
            return ATTACH_STARTED;
    }
}
