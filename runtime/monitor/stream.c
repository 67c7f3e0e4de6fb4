#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

static void close_end(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

int stream_open_caller(int fd, bool writing, size_t *limit)
{
    *limit = STREAM_BUFFER;
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -1;
    if (S_ISFIFO(status.st_mode) || (S_ISCHR(status.st_mode) && isatty(fd))) {
        char path[32];
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int own = open(path, (writing ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat opened;
        /* A monitor that stands in for its workload has no /proc but, at worst, what the workload
         * put there. */
        if (own >= 0 && fstat(own, &opened) == 0 && opened.st_dev == status.st_dev &&
            opened.st_ino == status.st_ino)
            return own;
        close_end(&own);
        /* Another user's terminal or pipe. A write of a page does not block when poll says so. */
        *limit = PIPE_BUF;
    }
    return fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

size_t stream_poll(struct stream *stream, struct pollfd *fds)
{
    size_t count = 0;
    stream->source_poll = stream->sink_poll = NULL;
    if (stream->paused)
        return 0;
    bool empty = stream->start == stream->end;
    if (stream->source >= 0 && empty) {
        fds[count] = (struct pollfd){ .fd = stream->source, .events = POLLIN };
        stream->source_poll = &fds[count++];
    }
    if (stream->sink >= 0) {
        /* Without events it still reports that the reader has gone. */
        fds[count] = (struct pollfd){ .fd = stream->sink, .events = empty ? 0 : POLLOUT };
        stream->sink_poll = &fds[count++];
    }
    return count;
}

static ssize_t write_some(int fd, const char *data, size_t length)
{
    ssize_t n = send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 && errno == ENOTSOCK ? write(fd, data, length) : n;
}

static enum stream_event lose_sink(struct stream *stream, int cause)
{
    stream_close(stream);
    errno = cause;
    return cause == EPIPE || cause == ECONNRESET || cause == EIO ? STREAM_SINK_GONE
                                                                 : STREAM_SINK_FAILED;
}

static enum stream_event drain(struct stream *stream)
{
    while (stream->start < stream->end) {
        size_t length = stream->end - stream->start;
        if (length > stream->sink_limit)
            length = stream->sink_limit;
        ssize_t n = write_some(stream->sink, stream->buffer + stream->start, length);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return STREAM_NOTHING;
        if (n < 0)
            return lose_sink(stream, errno);
        stream->start += (size_t)n;
        if (stream->sink_limit < STREAM_BUFFER)
            break; /* may block: ask poll again first */
    }
    return STREAM_NOTHING;
}

/* revents: of the source. */
static enum stream_event fill(struct stream *stream, int revents)
{
    if (!stream->buffer)
        stream->buffer = malloc(STREAM_BUFFER);
    if (!stream->buffer)
        return lose_sink(stream, ENOMEM);
    ssize_t n = read(stream->source, stream->buffer, STREAM_BUFFER);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return STREAM_NOTHING;
    /* A pty master answers EIO when the last slave was closed: its end of file. The caller's
     * terminal answers EIO to a background process that blocks SIGTTIN, unless it was hung up. */
    if (n < 0 && errno == EIO && stream->from_caller && !(revents & POLLHUP)) {
        stream->paused = true;
        return STREAM_BACKGROUND;
    }
    if (n <= 0) {
        close_end(&stream->source);
        return STREAM_SOURCE_ENDED;
    }
    stream->start = 0;
    stream->end = (size_t)n;
    if (stream->log)
        log_write(stream->log, stream->name, stream->buffer, stream->end);
    if (stream->discard)
        stream->start = stream->end;
    return stream->discard ? STREAM_NOTHING : drain(stream);
}

enum stream_event stream_dispatch(struct stream *stream)
{
    enum stream_event event = STREAM_NOTHING;
    int sink = stream->sink_poll ? stream->sink_poll->revents : 0;
    int source = stream->source_poll ? stream->source_poll->revents : 0;
    stream->source_poll = stream->sink_poll = NULL;
    if (sink & (POLLERR | POLLHUP | POLLNVAL))
        return lose_sink(stream, EPIPE);
    if (sink & POLLOUT)
        event = drain(stream);
    if (event == STREAM_NOTHING && source && stream->start == stream->end)
        event = fill(stream, source);
    if (stream->source < 0 && stream->start == stream->end)
        close_end(&stream->sink); /* end of file goes on only after the last byte */
    return event;
}

bool stream_is_open(const struct stream *stream)
{
    return stream->source >= 0 || (stream->sink >= 0 && stream->start < stream->end);
}

void stream_close(struct stream *stream)
{
    close_end(&stream->source);
    close_end(&stream->sink);
    free(stream->buffer);
    stream->buffer = NULL;
    stream->start = stream->end = 0;
}
