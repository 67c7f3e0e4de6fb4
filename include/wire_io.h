/*
 * Frames of include/wire.h on a stream socket: sent whole with a time limit, read piecemeal without
 * blocking, and checked against a table of what each direction may carry.
 */
#ifndef HYBRID_WIRE_IO_H
#define HYBRID_WIRE_IO_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "network.h"
#include "wire.h"

/* What a frame of one type may carry. */
struct wire_rule {
    uint32_t type;
    uint32_t fixed; /* bytes that must be there */
    uint32_t max;   /* bytes that may be there */
};

/* The rule for a type in one direction, or NULL: such a frame is not allowed there. */
static inline const struct wire_rule *wire_rule_find(uint32_t type, bool to_guest)
{
    enum { TO = WIRE_MAX_TO_GUEST, FROM = WIRE_MAX_FROM_GUEST };
    static const struct wire_rule TO_GUEST[] = {
        { WIRE_CONFIG, sizeof(struct wire_config), TO },
        { WIRE_FILTER, sizeof(struct wire_filter), TO },
        { WIRE_EXEC, sizeof(struct wire_process), TO },
        { WIRE_SIGNAL, sizeof(struct wire_signal), sizeof(struct wire_signal) },
        { WIRE_RESIZE, sizeof(struct wire_resize), sizeof(struct wire_resize) },
        { WIRE_SHUTDOWN, 0, 0 },
        { WIRE_STATS, 0, 0 },
        { WIRE_START, 0, 0 },
        { WIRE_NETWORK, offsetof(struct network_description, interfaces),
          sizeof(struct network_description) },
        { WIRE_NAMES, sizeof(struct wire_names), sizeof(struct wire_names) },
        { WIRE_POD, sizeof(struct wire_pod), sizeof(struct wire_pod) },
        { WIRE_CONTAINER, sizeof(struct wire_container), sizeof(struct wire_container) },
        { WIRE_FORGET, sizeof(struct wire_forget), sizeof(struct wire_forget) },
        { WIRE_FREEZE, sizeof(struct wire_freeze), sizeof(struct wire_freeze) },
        { WIRE_UPDATE, 0, WIRE_MAX_UPDATE },
        { 0 },
    };
    static const struct wire_rule FROM_GUEST[] = {
        { WIRE_READY, sizeof(struct wire_ready), sizeof(struct wire_ready) },
        { WIRE_PREPARED, 0, 0 },
        { WIRE_STARTED, 0, 0 },
        { WIRE_ERROR, sizeof(struct wire_error), FROM },
        { WIRE_EXITED, sizeof(struct wire_exited), sizeof(struct wire_exited) },
        { WIRE_STATS_REPLY, sizeof(struct wire_stats), sizeof(struct wire_stats) },
        { WIRE_DONE, 0, 0 },
        { 0 },
    };
    for (const struct wire_rule *rule = to_guest ? TO_GUEST : FROM_GUEST; rule->type; rule++) {
        if (rule->type == type)
            return rule;
    }
    return NULL;
}

/* One direction of a connection, as it is read. Zeroed but for fd and to_guest at the start. */
struct wire_reader {
    int fd;        /* borrowed */
    bool to_guest; /* which table applies */
    struct wire_frame head;
    uint8_t *payload; /* head.length bytes and a NUL; valid after WIRE_FRAME until wire_next */
    size_t have;      /* bytes of head and payload that are there */
};

enum wire_result {
    WIRE_AGAIN,  /* nothing more now */
    WIRE_FRAME,  /* head and payload are complete */
    WIRE_CLOSED, /* the peer closed, or the connection broke */
    WIRE_BROKEN, /* the peer broke the rules; head says by which frame */
};

static inline void wire_next(struct wire_reader *reader)
{
    free(reader->payload);
    reader->payload = NULL;
    reader->have = 0;
}

/* Whether the head obeys the rules; makes room for the payload. */
static inline bool wire_accept_head(struct wire_reader *reader)
{
    const struct wire_rule *rule = wire_rule_find(reader->head.type, reader->to_guest);
    if (!rule || reader->head.reserved != 0 || reader->head.length < rule->fixed ||
        reader->head.length > rule->max)
        return false;
    reader->payload = calloc(1, (size_t)reader->head.length + 1);
    return reader->payload != NULL;
}

/* Reads what is there, up to the end of one frame; never blocks. */
static inline enum wire_result wire_read(struct wire_reader *reader)
{
    const size_t head_size = sizeof reader->head;
    for (;;) {
        bool in_head = reader->have < head_size;
        if (!in_head && !reader->payload) /* its head was refused: it stays broken */
            return WIRE_BROKEN;
        size_t end = in_head ? head_size : head_size + reader->head.length;
        if (!in_head && reader->have == end)
            return WIRE_FRAME;
        uint8_t *at = in_head ? (uint8_t *)&reader->head + reader->have
                              : reader->payload + (reader->have - head_size);
        ssize_t n = recv(reader->fd, at, end - reader->have, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return WIRE_AGAIN;
        if (n <= 0)
            return WIRE_CLOSED;
        reader->have += (size_t)n;
        if (in_head && reader->have == head_size && !wire_accept_head(reader))
            return WIRE_BROKEN;
    }
}

static inline int64_t wire_clock_milliseconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Returns 0, or -1 with errno; ETIMEDOUT when the peer takes nothing until the deadline. */
static inline int wire_send_bytes(int fd, const void *data, size_t length, int64_t deadline)
{
    const char *at = data;
    while (length > 0) {
        ssize_t n = send(fd, at, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            int64_t left = deadline - wire_clock_milliseconds();
            struct pollfd wait = { .fd = fd, .events = POLLOUT };
            if (left <= 0) {
                errno = ETIMEDOUT;
                return -1;
            }
            (void)poll(&wait, 1, (int)left);
            continue;
        }
        if (n < 0)
            return -1;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

/*
 * Sends one frame whose payload is `fixed` followed by `text` (either may be empty). Waits at most
 * `milliseconds` for the peer to take it. Returns 0, or -1 with errno; the connection is then of no
 * more use.
 */
static inline int wire_send(int fd, uint32_t type, uint32_t process, const void *fixed,
                            size_t fixed_length, const void *text, size_t text_length,
                            int milliseconds)
{
    int64_t deadline = wire_clock_milliseconds() + milliseconds;
    struct wire_frame head = { .type = type,
                               .process = process,
                               .length = (uint32_t)(fixed_length + text_length) };
    if (fixed_length + text_length > WIRE_MAX_TO_GUEST) {
        errno = EMSGSIZE;
        return -1;
    }
    if (wire_send_bytes(fd, &head, sizeof head, deadline) < 0 ||
        wire_send_bytes(fd, fixed, fixed_length, deadline) < 0)
        return -1;
    return wire_send_bytes(fd, text, text_length, deadline);
}

#endif
