/*
 * One direction of one byte stream: what can be read from one descriptor is spliced to another. One
 * of the two is a pipe, so no byte passes through this process and nothing of ours grows; what the
 * receiver does not take stays with the sender.
 */
#ifndef HYBRID_INIT_RELAY_H
#define HYBRID_INIT_RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

enum { RELAY_POLL_FDS = 2 };

struct relay {
    int from, to; /* the relay's; -1: closed */
    bool
        waits_for_space; /* the last splice found no room rather than no bytes, so far as we know */
    bool limited;        /* closes once it has moved */
    size_t left;         /* so many bytes */
};

/* Takes over both descriptors and makes them non-blocking. */
void relay_open(struct relay *relay, int from, int to);

bool relay_is_open(const struct relay *relay);

/* Fills what poll(2) has to watch; descriptors of -1 where the relay is closed. */
void relay_watch(const struct relay *relay, struct pollfd fds[RELAY_POLL_FDS]);

/*
 * Moves bytes after poll(2) reported something. At the end of `from` the receiver gets its
 * half-close; when the receiver is gone, `from` is closed, so that the sender gets EPIPE.
 */
void relay_move(struct relay *relay, const struct pollfd fds[RELAY_POLL_FDS]);

/*
 * The sender has ended, who else may write to `from` is nobody to wait for: what waits there now is
 * moved, and at most `more` bytes behind it; then the relay closes. Safe on a closed relay.
 */
void relay_limit(struct relay *relay, size_t more);

/* Whether nothing waits to be moved: closed, or no byte to be read from `from`. */
bool relay_is_drained(const struct relay *relay);

/* Half-closes sockets, closes both descriptors. Safe on a closed relay. */
void relay_close(struct relay *relay);

#endif
