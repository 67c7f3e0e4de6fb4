#include "relay.h"

#include "cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    RELAY_CHUNK = 64 * 1024, /* as much as a pipe holds */
    RELAY_TURN = 16,         /* chunks before the other streams have their turn */
};

static void make_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void relay_open(struct relay *relay, int from, int to)
{
    make_nonblocking(from);
    make_nonblocking(to);
    *relay = (struct relay){ .from = from, .to = to };
}

bool relay_is_open(const struct relay *relay)
{
    return relay->from >= 0;
}

void relay_watch(const struct relay *relay, struct pollfd fds[RELAY_POLL_FDS])
{
    /* The side without events still reports errors: a receiver that went away is noticed at once,
     * not when the next byte comes. */
    fds[0] = (struct pollfd){ .fd = relay->from, .events = POLLIN };
    fds[1] = (struct pollfd){ .fd = relay->to };
    if (relay->waits_for_space) {
        fds[0].fd = -1; /* readable or hung up already: it would only wake us */
        fds[1].events = POLLOUT;
    }
}

void relay_close(struct relay *relay)
{
    /* Other descriptors of the same connection may be open: the peer must hear of it now. Fails
     * harmlessly on what is no socket. */
    if (relay->to >= 0)
        (void)shutdown(relay->to, SHUT_WR);
    if (relay->from >= 0)
        (void)shutdown(relay->from, SHUT_RD);
    cleanup_close(&relay->to);
    cleanup_close(&relay->from);
    relay->from = relay->to = -1;
}

void relay_limit(struct relay *relay, size_t more)
{
    int waiting = 0;
    if (!relay_is_open(relay))
        return;
    (void)ioctl(relay->from, FIONREAD, &waiting); /* fails for none of what a process writes to */
    relay->limited = true;
    relay->left = (size_t)waiting + more;
    if (relay->left == 0)
        relay_close(relay);
}

/* Returns whether there may be more. */
static bool count_moved(struct relay *relay, size_t bytes)
{
    if (relay->limited)
        relay->left -= bytes;
    return !relay->limited || relay->left > 0;
}

void relay_move(struct relay *relay, const struct pollfd fds[RELAY_POLL_FDS])
{
    if (!relay_is_open(relay))
        return;
    if (fds[1].revents & (POLLERR | POLLNVAL)) {
        relay_close(relay);
        return;
    }
    if (!fds[0].revents && !fds[1].revents)
        return;
    for (int i = 0; i < RELAY_TURN; i++) {
        size_t wanted = relay->limited && relay->left < RELAY_CHUNK ? relay->left : RELAY_CHUNK;
        ssize_t n =
            splice(relay->from, NULL, relay->to, NULL, wanted, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n > 0 && count_moved(relay, (size_t)n))
            continue;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            /* Either side may be the reason. The one that poll(2) reported is not: wait for the
             * other, and if that is ready as well, for the first again. */
            relay->waits_for_space = !relay->waits_for_space;
            return;
        }
        /* The limit; end of file; EIO of a terminal; EPIPE, ECONNRESET of a receiver. */
        relay_close(relay);
        return;
    }
}

bool relay_is_drained(const struct relay *relay)
{
    struct pollfd from = { .fd = relay->from, .events = POLLIN };
    return !relay_is_open(relay) || poll(&from, 1, 0) <= 0 || !(from.revents & POLLIN);
}
