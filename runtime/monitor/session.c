#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/cgroup/cgroup.h"

enum { INPUT, OUTPUT, ERROR_OUTPUT };

static const char *const names[SESSION_STREAMS] = { "standard input", "standard output",
                                                    "standard error" };

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int refuse(int which, struct error *err)
{
    return error_set_errno(err, EXIT_OURS, errno, "cannot attach %s", names[which]);
}

/* The workload's side of a pipe blocks, as programs expect; ours does not. */
static int make_pipe(int *ours, int *workload, int ours_index)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    *ours = ends[ours_index];
    *workload = ends[1 - ours_index];
    return set_nonblocking(*ours);
}

static int join_input(struct stream *stream, const struct session_caller *caller)
{
    if (!caller->interactive)
        return 0;
    stream->from_caller = true;
    if (caller->fds[INPUT] < 0) {
        stream->paused = true; /* detached with -i: kept open, nobody writes */
        return 0;
    }
    size_t ignored;
    stream->source = stream_open_caller(caller->fds[INPUT], false, &ignored);
    return stream->source;
}

static int join_output(struct stream *stream, const struct session_caller *caller, int which)
{
    stream->log = caller->log;
    stream->name = which == OUTPUT ? LOG_STDOUT : LOG_STDERR;
    stream->discard = caller->fds[which] < 0;
    if (!stream->discard)
        stream->sink = stream_open_caller(caller->fds[which], true, &stream->sink_limit);
    return stream->discard ? 0 : stream->sink;
}

static int open_pipes(struct session *session, const struct session_caller *caller, int *ends,
                      struct error *err)
{
    if (caller->interactive) {
        struct stream *input = &session->streams[INPUT];
        if (make_pipe(&input->sink, &ends[INPUT], 1) < 0 || join_input(input, caller) < 0)
            return refuse(INPUT, err);
    } else {
        ends[INPUT] = caller->standard_is_null
                          ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
                          : cgroup_open_device("/dev/null", O_RDONLY);
        if (ends[INPUT] < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null");
    }
    for (int which = OUTPUT; which <= ERROR_OUTPUT; which++) {
        struct stream *stream = &session->streams[which];
        if (make_pipe(&stream->source, &ends[which], 0) < 0 ||
            join_output(stream, caller, which) < 0)
            return refuse(which, err);
    }
    return 0;
}

int session_open(struct session *session, const struct session_caller *caller,
                 int workload_ends[SESSION_STREAMS], struct error *err)
{
    session->terminal = caller->terminal;
    session->caller = (struct terminal){ .fd = -1 };
    if (caller->modes) {
        int fd = fcntl(caller->fds[INPUT], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        session->caller = (struct terminal){ .fd = fd, .raw = fd >= 0, .saved = *caller->modes };
    }
    for (int i = 0; i < SESSION_STREAMS; i++) {
        session->streams[i] = STREAM_NONE;
        workload_ends[i] = -1;
    }
    if (caller->terminal || open_pipes(session, caller, workload_ends, err) == 0)
        return 0;
    for (int i = 0; i < SESSION_STREAMS; i++)
        cleanup_close(&workload_ends[i]);
    session_close(session);
    return -1;
}

int session_join_terminal(struct session *session, const struct session_caller *caller,
                          int terminal_fd, struct error *err)
{
    struct stream *input = &session->streams[INPUT];
    struct stream *output = &session->streams[OUTPUT];
    output->source = terminal_fd;
    if (set_nonblocking(terminal_fd) < 0 || join_output(output, caller, OUTPUT) < 0)
        return refuse(OUTPUT, err);
    if (!caller->interactive || caller->fds[INPUT] < 0)
        return 0;
    input->sink = fcntl(terminal_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (input->sink < 0 || join_input(input, caller) < 0)
        return refuse(INPUT, err);
    return 0;
}

size_t session_poll(struct session *session, struct pollfd *fds)
{
    size_t count = 0;
    for (int i = 0; i < SESSION_STREAMS; i++)
        count += stream_poll(&session->streams[i], fds + count);
    return count;
}

void session_dispatch(struct session *session, struct session_report *report)
{
    for (int i = 0; i < SESSION_STREAMS; i++) {
        switch (stream_dispatch(&session->streams[i])) {
        case STREAM_BACKGROUND:
            report->background = true;
            break;
        case STREAM_SINK_FAILED:
            report->failed = names[i];
            report->cause = errno;
            break;
        case STREAM_SOURCE_ENDED:
            /* The caller's terminal was hung up: so is the workload's, by closing its master. */
            if (i != INPUT || !session->terminal)
                break;
            session_close(session);
            report->hung_up = true;
            break;
        case STREAM_SINK_GONE:
        case STREAM_NOTHING:
            break;
        }
    }
}

void session_pause(struct session *session, bool paused)
{
    session->caller.raw = !paused && session->caller.fd >= 0;
    for (int i = 0; i < SESSION_STREAMS; i++)
        if (session->streams[i].from_caller ? session->streams[i].source >= 0
                                            : !session->streams[i].discard)
            session->streams[i].paused = paused;
}

void session_close_input(struct session *session)
{
    stream_close(&session->streams[INPUT]);
}

bool session_is_drained(const struct session *session)
{
    return !stream_is_open(&session->streams[OUTPUT]) &&
           !stream_is_open(&session->streams[ERROR_OUTPUT]);
}

void session_restore_terminal(struct session *session)
{
    terminal_restore(&session->caller);
}

void session_close(struct session *session)
{
    cleanup_close(&session->caller.fd);
    session->caller = (struct terminal){ .fd = -1 };
    for (int i = 0; i < SESSION_STREAMS; i++)
        stream_close(&session->streams[i]);
}
