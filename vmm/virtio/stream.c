#include "vmm/virtio/stream.h"

#include "io.h"
#include "vmm/virtio/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void stream_endpoint_open(struct stream_endpoint *endpoint, int fd)
{
    struct stat status;
    *endpoint = (struct stream_endpoint){ .fd = fd };
    if (fd < 0)
        return;
    endpoint->is_socket = fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
    endpoint->non_blocking = fcntl(fd, F_GETFL) & O_NONBLOCK;
}

static void stream_close_endpoint(struct stream_endpoint *endpoint, struct loop *loop, int how)
{
    if (endpoint->fd < 0)
        return;
    if (endpoint->watched)
        loop_remove(loop, &endpoint->source);
    if (endpoint->is_socket)
        (void)shutdown(endpoint->fd, how);
    (void)close(endpoint->fd);
    *endpoint = (struct stream_endpoint){ .fd = -1 };
}

static void stream_watch_endpoint(struct stream_endpoint *endpoint, struct loop *loop,
                                  uint32_t events, struct stream *stream,
                                  void (*ready)(void *, uint32_t))
{
    if (endpoint->fd < 0)
        return;
    endpoint->source =
        (struct loop_source){ .fd = endpoint->fd, .ready = ready, .context = stream };
    endpoint->watched = loop_add(loop, &endpoint->source, events | EPOLLONESHOT) == 0;
    if (endpoint->watched)
        return;
    /* What epoll refuses (a regular file, /dev/null) never blocks for long: always ready. Any other
     * failure, such as a full table, would make a read block the loop. */
    if (errno == EPERM)
        endpoint->ready = true;
    else
        stream_close_endpoint(endpoint, loop, SHUT_RDWR);
}

void stream_watch(struct stream *stream, struct loop *loop, void (*input_ready)(void *, uint32_t),
                  void (*output_ready)(void *, uint32_t))
{
    stream_watch_endpoint(&stream->input, loop, EPOLLIN, stream, input_ready);
    /* No event asked for: an error (the reader is gone) is reported all the same. */
    stream_watch_endpoint(&stream->output, loop, 0, stream, output_ready);
}

void stream_close_input(struct stream *stream, struct loop *loop)
{
    stream_close_endpoint(&stream->input, loop, SHUT_RD);
}

void stream_close_output(struct stream *stream, struct loop *loop)
{
    stream_close_endpoint(&stream->output, loop, SHUT_WR);
}

void stream_await_input(struct stream *stream, struct loop *loop)
{
    struct stream_endpoint *input = &stream->input;
    if (input->fd < 0 || !input->watched)
        return;
    input->ready = false;
    (void)loop_modify(loop, &input->source, EPOLLIN | EPOLLONESHOT);
}

uint32_t stream_credit(const struct stream *stream)
{
    uint32_t in_flight = stream->sent - stream->peer_forwarded; /* counters wrap: 5.10.6.3 */
    return in_flight > stream->peer_allocated ? 0 : stream->peer_allocated - in_flight;
}

/*
 * One write that does not block. A blocking descriptor is asked first and then given no more than
 * PIPE_BUF bytes, which a pipe that polls as writable takes at once (pipe(7)).
 * Returns the bytes written, or -1 with errno (EAGAIN: not now).
 */
static ssize_t stream_write_once(const struct stream_endpoint *output, struct iovec *parts,
                                 size_t count)
{
    ssize_t n;
    struct iovec first = parts[0];
    if (!output->is_socket && !output->non_blocking && output->watched) {
        if (!io_is_ready(output->fd, POLLOUT)) {
            errno = EAGAIN;
            return -1;
        }
        if (first.iov_len > PIPE_BUF)
            first.iov_len = PIPE_BUF;
        parts = &first;
        count = 1;
    }
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
    do
        n = output->is_socket ? sendmsg(output->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
                              : writev(output->fd, parts, (int)count);
    while (n < 0 && errno == EINTR);
    return n;
}

/*
 * Writes as much of [offset, length) of the parts as goes without blocking. Returns the bytes
 * written, or -1 if the output is broken.
 */
static ssize_t stream_write(const struct stream_endpoint *output, const struct iovec *parts,
                            size_t count, size_t length)
{
    struct iovec rest[QUEUE_MAX_SIZE];
    size_t written = 0;
    while (written < length) {
        size_t left = queue_slice(parts, count, written, length - written, rest);
        ssize_t n = stream_write_once(output, rest, left);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n <= 0)
            return -1;
        written += (size_t)n;
    }
    return (ssize_t)written;
}

static void stream_await_output(struct stream *stream, struct loop *loop)
{
    if (stream->output.watched)
        (void)loop_modify(loop, &stream->output.source, EPOLLOUT | EPOLLONESHOT);
}

/* Counts bytes as taken from the guest, and gives it new credit once that is worth a packet. */
static void stream_forward(struct stream *stream, uint32_t bytes)
{
    stream->forwarded += bytes;
    if (stream->forwarded - stream->advertised >= STREAM_BACKLOG / 2)
        stream->pending |= STREAM_SEND_CREDIT;
}

static void stream_release_backlog(struct stream *stream)
{
    if (stream->backlog)
        (void)munmap(stream->backlog, STREAM_BACKLOG);
    stream->backlog = NULL;
    stream->backlog_start = stream->backlog_length = 0;
}

void stream_discard_output(struct stream *stream, struct loop *loop)
{
    uint32_t lost = stream->backlog_length;
    stream_release_backlog(stream);
    stream_close_output(stream, loop);
    stream_forward(stream, lost);
    if (!(stream->shutdown_flags & VIRTIO_VSOCK_SHUTDOWN_RCV)) {
        stream->shutdown_flags |= VIRTIO_VSOCK_SHUTDOWN_RCV;
        stream->pending |= STREAM_SEND_SHUTDOWN;
    }
}

/* Copies [skip, length) of the parts behind the backlog; the caller checked that it fits. */
static int stream_keep(struct stream *stream, const struct iovec *parts, size_t count,
                       uint32_t skip, uint32_t length)
{
    if (!stream->backlog) {
        /* A mapping of its own, so that it goes back to the system as soon as it is empty. */
        void *ring =
            mmap(NULL, STREAM_BACKLOG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (ring == MAP_FAILED)
            return -1;
        stream->backlog = ring;
    }
    struct iovec rest[QUEUE_MAX_SIZE];
    size_t left = queue_slice(parts, count, skip, length - skip, rest);
    for (size_t i = 0; i < left; i++) {
        const char *from = rest[i].iov_base;
        size_t size = rest[i].iov_len;
        while (size > 0) {
            uint32_t at = (stream->backlog_start + stream->backlog_length) % STREAM_BACKLOG;
            size_t here = STREAM_BACKLOG - at < size ? STREAM_BACKLOG - at : size;
            memcpy(stream->backlog + at, from, here);
            stream->backlog_length += (uint32_t)here;
            from += here;
            size -= here;
        }
    }
    return 0;
}

int stream_deliver(struct stream *stream, struct loop *loop, const struct iovec *parts,
                   size_t count, uint32_t length)
{
    if (length > STREAM_BACKLOG - (stream->received - stream->forwarded))
        return -1;
    stream->received += length;
    ssize_t written = length;
    if (stream->output.fd >= 0 && stream->backlog_length > 0)
        written = 0;
    else if (stream->output.fd >= 0)
        written = stream_write(&stream->output, parts, count, length);
    if (written >= 0)
        stream_forward(stream, (uint32_t)written);
    if (written >= 0 && (uint32_t)written < length) {
        if (stream_keep(stream, parts, count, (uint32_t)written, length) == 0)
            stream_await_output(stream, loop);
        else
            written = -1;
    }
    if (written < 0) { /* broken: none of it counts as kept */
        stream->forwarded = stream->received - stream->backlog_length;
        stream_discard_output(stream, loop);
    }
    return 0;
}

void stream_flush(struct stream *stream, struct loop *loop)
{
    while (stream->backlog_length > 0) {
        uint32_t to_end = STREAM_BACKLOG - stream->backlog_start;
        uint32_t first = stream->backlog_length < to_end ? stream->backlog_length : to_end;
        struct iovec parts[2] = {
            { .iov_base = stream->backlog + stream->backlog_start, .iov_len = first },
            { .iov_base = stream->backlog, .iov_len = stream->backlog_length - first },
        };
        ssize_t n = stream_write(&stream->output, parts, 2, stream->backlog_length);
        if (n < 0) {
            stream_discard_output(stream, loop);
            return;
        }
        if (n == 0) {
            stream_await_output(stream, loop);
            return;
        }
        stream->backlog_start = (stream->backlog_start + (uint32_t)n) % STREAM_BACKLOG;
        stream->backlog_length -= (uint32_t)n;
        stream_forward(stream, (uint32_t)n);
    }
    stream_release_backlog(stream);
}

void stream_destroy(struct stream *stream, struct loop *loop)
{
    stream_close_input(stream, loop);
    stream_close_output(stream, loop);
    stream_release_backlog(stream);
    free(stream);
}
