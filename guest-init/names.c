#include "names.h"

#include "cleanup.h"
#include "include/wire_io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { HEAD = sizeof(struct names_head), BACKLOG = 16 };

/* --- opening, closing ----------------------------------------------------------------------------
 */

static int open_socket(int type, struct in_addr address, struct error *err)
{
    const struct sockaddr_in name = { .sin_family = AF_INET,
                                      .sin_port = htons(NAMES_PORT),
                                      .sin_addr = address };
    /* Only of connections that have ended: a second socket for datagrams would get the questions.
     */
    const int reuse = type == SOCK_STREAM;
    /* Room for an answer as a whole: who does not read one is not waited for. */
    const int room = 2 * NAMES_MAX_MESSAGE;
    _cleanup_close_ int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) < 0 ||
        bind(fd, (const struct sockaddr *)&name, sizeof name) < 0 ||
        (type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot take questions for the name server in the guest");
    return take_fd(&fd);
}

int names_open(struct names *names, int host_fd, struct in_addr address, struct error *err)
{
    names->on = true;
    names->host_fd = host_fd;
    names->udp_fd = names->listener_fd = -1;
    for (size_t i = 0; i < NAMES_CONNECTIONS; i++)
        names->connections[i].fd = -1;
    names->udp_fd = open_socket(SOCK_DGRAM, address, err);
    if (names->udp_fd >= 0)
        names->listener_fd = open_socket(SOCK_STREAM, address, err);
    if (names->listener_fd >= 0) {
        if (fcntl(host_fd, F_SETFL, O_NONBLOCK) == 0)
            return 0;
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot prepare the connection for names");
    }
    names_close(names);
    return -1;
}

/* Its question, if there is one, goes on without it. */
static void drop_connection(struct names *names, size_t number)
{
    struct names_connection *connection = &names->connections[number];
    for (size_t i = 0; i < NAMES_SLOTS; i++)
        if (names->slots[i].asked && names->slots[i].transport == NAMES_TCP &&
            names->slots[i].connection == (int)number)
            names->slots[i].connection = -1;
    cleanup_close(&connection->fd);
    connection->fd = -1;
    connection->have = 0;
    connection->asked = false;
}

void names_close(struct names *names)
{
    if (!names->on)
        return;
    for (size_t i = 0; i < NAMES_CONNECTIONS; i++)
        drop_connection(names, i);
    cleanup_close(&names->host_fd);
    cleanup_close(&names->udp_fd);
    cleanup_close(&names->listener_fd);
    names->host_fd = names->udp_fd = names->listener_fd = -1;
    names->on = false;
}

/* --- questions -----------------------------------------------------------------------------------
 */

static int find_slot(const struct names *names)
{
    for (int i = 0; i < NAMES_SLOTS; i++)
        if (!names->slots[i].asked)
            return i;
    return -1;
}

/* Whether another question can be taken. */
static bool has_room(const struct names *names)
{
    return names->on && names->out.length == 0 && find_slot(names) >= 0;
}

static void flush(struct names *names)
{
    while (names->on && names->out.done < names->out.length) {
        ssize_t n = send(names->host_fd, names->out.bytes + names->out.done,
                         names->out.length - names->out.done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            names_close(names);
            return;
        }
        names->out.done += (size_t)n;
    }
    names->out.length = names->out.done = 0;
}

/* Passes the message behind the head in `out` on, for whoever the question describes. */
static void ask(struct names *names, struct names_question question, size_t length)
{
    int slot = find_slot(names);
    const struct names_head head = { .slot = (uint16_t)slot,
                                     .transport = question.transport,
                                     .length = (uint16_t)length };
    question.asked = true;
    names->slots[slot] = question;
    memcpy(names->out.bytes, &head, HEAD);
    names->out.length = HEAD + length;
    names->out.done = 0;
    flush(names);
}

/* What is no question that could be passed on gets no answer. Not until there is no more: who sends
 * it can be as fast as we are. */
static void take_datagrams(struct names *names)
{
    for (int i = 0; i < NAMES_SLOTS && has_room(names); i++) {
        struct names_question question = { .transport = NAMES_UDP, .connection = -1 };
        socklen_t size = sizeof question.client;
        ssize_t n = recvfrom(names->udp_fd, names->out.bytes + HEAD, NAMES_MAX_QUESTION,
                             MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&question.client, &size);
        if (n < 0 && errno != EINTR)
            return;
        if (n >= NAMES_MIN_MESSAGE && n <= NAMES_MAX_QUESTION)
            ask(names, question, (size_t)n);
    }
}

static size_t announced(const struct names_connection *connection)
{
    return (size_t)connection->question[0] << 8 | connection->question[1];
}

/* Reads up to the end of one question, which is passed on. */
static void take_bytes(struct names *names, size_t number)
{
    struct names_connection *connection = &names->connections[number];
    size_t wanted = NAMES_LENGTH;
    if (connection->have >= NAMES_LENGTH)
        wanted += announced(connection);
    ssize_t n = recv(connection->fd, connection->question + connection->have,
                     wanted - connection->have, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop_connection(names, number);
        return;
    }
    connection->have += (size_t)n;
    connection->since = wire_clock_milliseconds();
    if (connection->have < NAMES_LENGTH)
        return;
    size_t length = announced(connection);
    if (length < NAMES_MIN_MESSAGE || length > NAMES_MAX_QUESTION) {
        drop_connection(names, number);
        return;
    }
    if (connection->have < NAMES_LENGTH + length)
        return;
    memcpy(names->out.bytes + HEAD, connection->question + NAMES_LENGTH, length);
    connection->have = 0;
    connection->asked = true;
    ask(names, (struct names_question){ .transport = NAMES_TCP, .connection = (int)number },
        length);
}

static void take_connection(struct names *names)
{
    for (size_t i = 0; i < NAMES_CONNECTIONS; i++) {
        struct names_connection *connection = &names->connections[i];
        if (connection->fd >= 0)
            continue;
        connection->fd = accept4(names->listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        connection->since = wire_clock_milliseconds();
        return;
    }
}

/* --- answers -------------------------------------------------------------------------------------
 */

/* To a process by TCP: at once, or it has not read the one before. */
static void answer_connection(struct names *names, size_t number, const uint8_t *message,
                              size_t length)
{
    struct names_connection *connection = &names->connections[number];
    uint8_t prefix[NAMES_LENGTH] = { (uint8_t)(length >> 8), (uint8_t)length };
    struct iovec parts[] = { { .iov_base = prefix, .iov_len = sizeof prefix },
                             { .iov_base = (void *)message, .iov_len = length } };
    const struct msghdr whole = { .msg_iov = parts, .msg_iovlen = 2 };
    connection->asked = false;
    connection->since = wire_clock_milliseconds();
    if (length == 0 || sendmsg(connection->fd, &whole, MSG_DONTWAIT | MSG_NOSIGNAL) !=
                           (ssize_t)(sizeof prefix + length))
        drop_connection(names, number);
}

/* Whether the frame of the host obeys the rules. */
static bool deliver(struct names *names, const struct names_head *head, const uint8_t *message)
{
    struct names_question *question = head->slot < NAMES_SLOTS ? &names->slots[head->slot] : NULL;
    if (!question || !question->asked || head->transport != question->transport ||
        head->reserved != 0 || (head->length > 0 && head->length < NAMES_MIN_MESSAGE))
        return false;
    question->asked = false;
    if (question->transport == NAMES_TCP && question->connection >= 0)
        answer_connection(names, (size_t)question->connection, message, head->length);
    else if (question->transport == NAMES_UDP && head->length > 0)
        (void)sendto(names->udp_fd, message, head->length, MSG_DONTWAIT | MSG_NOSIGNAL,
                     (const struct sockaddr *)&question->client, sizeof question->client);
    return true;
}

/* Reads what has come from the host, up to the end of one frame. Returns whether there was one. */
static bool take_answer(struct names *names)
{
    struct names_head head = { 0 };
    size_t wanted = HEAD;
    if (names->in.done >= HEAD) {
        memcpy(&head, names->in.bytes, HEAD);
        wanted += head.length;
    }
    ssize_t n = recv(names->host_fd, names->in.bytes + names->in.done, wanted - names->in.done,
                     MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        names_close(names);
        return false;
    }
    names->in.done += (size_t)n;
    if (names->in.done < HEAD)
        return true;
    memcpy(&head, names->in.bytes, HEAD);
    if (names->in.done < HEAD + (size_t)head.length)
        return true;
    names->in.done = 0;
    if (!deliver(names, &head, names->in.bytes + HEAD))
        names_close(names);
    return true;
}

/* --- the loop ------------------------------------------------------------------------------------
 */

enum { HOST, DATAGRAMS, LISTENER, CONNECTIONS }; /* descriptors of poll(2) */

static bool has_free_connection(const struct names *names)
{
    for (size_t i = 0; i < NAMES_CONNECTIONS; i++)
        if (names->connections[i].fd < 0)
            return true;
    return false;
}

void names_watch(const struct names *names, struct pollfd fds[NAMES_POLL_FDS])
{
    bool room = has_room(names);
    for (size_t i = 0; i < NAMES_POLL_FDS; i++)
        fds[i] = (struct pollfd){ .fd = -1 };
    if (!names->on)
        return;
    fds[HOST] = (struct pollfd){ .fd = names->host_fd, .events = POLLIN };
    if (names->out.length > 0)
        fds[HOST].events |= POLLOUT;
    if (room)
        fds[DATAGRAMS] = (struct pollfd){ .fd = names->udp_fd, .events = POLLIN };
    if (has_free_connection(names))
        fds[LISTENER] = (struct pollfd){ .fd = names->listener_fd, .events = POLLIN };
    for (size_t i = 0; i < NAMES_CONNECTIONS; i++)
        fds[CONNECTIONS + i] =
            (struct pollfd){ .fd = names->connections[i].fd,
                             .events = room && !names->connections[i].asked ? POLLIN : 0 };
}

static void drop_idle(struct names *names)
{
    int64_t now = wire_clock_milliseconds();
    for (size_t i = 0; i < NAMES_CONNECTIONS; i++) {
        const struct names_connection *connection = &names->connections[i];
        if (connection->fd >= 0 && !connection->asked && now - connection->since >= NAMES_IDLE)
            drop_connection(names, i);
    }
}

void names_serve(struct names *names, const struct pollfd fds[NAMES_POLL_FDS])
{
    if (!names->on)
        return;
    if (fds[HOST].revents & POLLOUT)
        flush(names);
    while (names->on && (fds[HOST].revents & ~POLLOUT) && take_answer(names))
        ;
    for (size_t i = 0; names->on && i < NAMES_CONNECTIONS; i++) {
        const struct pollfd *fd = &fds[CONNECTIONS + i];
        if (fd->revents & (POLLERR | POLLHUP | POLLNVAL) && names->connections[i].fd == fd->fd)
            drop_connection(names, i);
        else if (fd->revents && names->connections[i].fd == fd->fd && has_room(names))
            take_bytes(names, i);
    }
    if (names->on && fds[DATAGRAMS].revents)
        take_datagrams(names);
    if (names->on && fds[LISTENER].revents)
        take_connection(names);
    if (names->on)
        drop_idle(names);
}

int names_patience(const struct names *names)
{
    int64_t soonest = -1, now = names->on ? wire_clock_milliseconds() : 0;
    for (size_t i = 0; names->on && i < NAMES_CONNECTIONS; i++) {
        const struct names_connection *connection = &names->connections[i];
        int64_t left = connection->since + NAMES_IDLE - now;
        if (connection->fd >= 0 && !connection->asked && (soonest < 0 || left < soonest))
            soonest = left > 0 ? left : 0;
    }
    return (int)soonest;
}
