/* Whole reads and writes, and descriptors over Unix sockets. */
#ifndef HYBRID_IO_H
#define HYBRID_IO_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

enum { IO_MAX_FDS = 8 };

/*
 * Whether the descriptor has one of the events (POLLIN, POLLOUT, an error) now. Not by poll(2),
 * even though it does not wait: one that a SIGSTOP meets goes on by restart_syscall(2), which
 * hybrid-vmm's filters do not allow.
 */
static inline bool io_is_ready(int fd, short events)
{
    struct pollfd asked = { .fd = fd, .events = events };
    const struct timespec no_wait = { 0 };
    return ppoll(&asked, 1, &no_wait, NULL) > 0;
}

/* Writes all of data, waiting where the descriptor does not block. Returns 0, or -1 with errno. */
static inline int io_write_all(int fd, const void *data, size_t length)
{
    const char *at = data;
    while (length > 0) {
        ssize_t n = write(fd, at, length);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd wait = { .fd = fd, .events = POLLOUT };
            (void)poll(&wait, 1, -1);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Reads until length bytes or the end. Returns the bytes read, or -1 with errno. */
static inline ssize_t io_read_all(int fd, void *data, size_t length)
{
    char *at = data;
    size_t got = 0;
    while (got < length) {
        ssize_t n = read(fd, at + got, length - got);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd wait = { .fd = fd, .events = POLLIN };
            (void)poll(&wait, 1, -1);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

/*
 * Sends one message with up to IO_MAX_FDS descriptors (which stay the caller's).
 * Returns 0, or -1 with errno.
 */
static inline int io_send_fds(int socket, const void *data, size_t length, const int *fds,
                              size_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * IO_MAX_FDS)];
    } control = { 0 };
    struct iovec part = { .iov_base = (void *)data, .iov_len = length };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (fd_count > IO_MAX_FDS) {
        errno = EINVAL;
        return -1;
    }
    if (fd_count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET; // fanalyzer: there is one, control.bytes has room for it
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * fd_count);
    }
    ssize_t n;
    do
        n = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    if ((size_t)n != length) {
        errno = EMSGSIZE;
        return -1;
    }
    return 0;
}

/*
 * Receives one message and its descriptors (now the caller's, close-on-exec).
 * fds has room for IO_MAX_FDS. Returns the length (0: the peer closed), or -1 with errno;
 * EMSGSIZE when the message or its descriptors were cut short.
 */
static inline ssize_t io_receive_fds(int socket, void *data, size_t size, int *fds,
                                     size_t *fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * IO_MAX_FDS)];
    } control;
    struct iovec part = { .iov_base = data, .iov_len = size };
    struct msghdr message = { .msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
    *fd_count = 0;
    ssize_t n;
    do
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds + *fd_count, CMSG_DATA(header), count * sizeof(int));
        *fd_count += count;
    }
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        for (size_t i = 0; i < *fd_count; i++)
            (void)close(fds[i]);
        *fd_count = 0;
        errno = EMSGSIZE;
        return -1;
    }
    return n;
}

#endif
