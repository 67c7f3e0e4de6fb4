#include "vmm/names/service.h"

#include "cleanup.h"
#include "io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MICROSECONDS = 1000 * 1000, COST = MICROSECONDS / SERVICE_RATE };

static int64_t now_microseconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * MICROSECONDS + now.tv_nsec / 1000;
}

void service_init(struct service *service, int stream_fd, const struct sockaddr_in *server)
{
    service->stream_fd = stream_fd;
    service->server = server;
    service->next = 0;
    for (size_t i = 0; i < NAMES_SLOTS; i++)
        service->slots[i] = (struct service_slot){ .fd = -1 };
    for (size_t i = 0; i < SERVICE_TCP; i++)
        service->connections[i].question_length = 0;
}

/* Frees the slot and tells the guest; length 0: there is no answer. The guest may keep us waiting:
 * the questions are its own. Returns 0, or -1 with errno. */
static int answer(struct service *service, size_t number, const void *message, size_t length)
{
    struct service_slot *slot = &service->slots[number];
    const struct names_head head = { .slot = (uint16_t)number,
                                     .transport = slot->connection ? NAMES_TCP : NAMES_UDP,
                                     .length = (uint16_t)length };
    cleanup_close(&slot->fd);
    if (slot->connection)
        slot->connection->question_length = 0;
    *slot = (struct service_slot){ .fd = -1 };
    if (io_write_all(service->stream_fd, &head, sizeof head) < 0)
        return -1;
    return io_write_all(service->stream_fd, message, length);
}

/* --- questions -----------------------------------------------------------------------------------
 */

/* A socket of its own for each question, as a workload in the namespace would have: the rules there
 * are asked anew. Returns 0, or -1. */
static int connect_slot(const struct service *service, struct service_slot *slot, int type)
{
    slot->fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    slot->deadline = now_microseconds() + (int64_t)SERVICE_PATIENCE * 1000;
    if (slot->fd < 0)
        return -1;
    int result =
        connect(slot->fd, (const struct sockaddr *)service->server, sizeof *service->server);
    return result < 0 && errno != EINPROGRESS ? -1 : 0;
}

static int ask_by_udp(const struct service *service, struct service_slot *slot, size_t length)
{
    if (connect_slot(service, slot, SOCK_DGRAM) < 0)
        return -1;
    return write(slot->fd, service->message, length) == (ssize_t)length ? 0 : -1;
}

static int ask_by_tcp(struct service *service, struct service_slot *slot, size_t length)
{
    struct service_connection *free_one = NULL;
    for (size_t i = 0; i < SERVICE_TCP && !free_one; i++)
        if (service->connections[i].question_length == 0)
            free_one = &service->connections[i];
    if (!free_one || connect_slot(service, slot, SOCK_STREAM) < 0)
        return -1;
    free_one->sent = free_one->have = 0;
    free_one->question_length = SERVICE_LENGTH + length;
    free_one->question[0] = (uint8_t)(length >> 8);
    free_one->question[1] = (uint8_t)length;
    memcpy(free_one->question + SERVICE_LENGTH, service->message, length);
    slot->connection = free_one;
    return 0;
}

static bool is_allowed(const struct service *service, const struct names_head *head)
{
    return head->slot < NAMES_SLOTS && service->slots[head->slot].fd < 0 && head->reserved == 0 &&
           (head->transport == NAMES_UDP || head->transport == NAMES_TCP) &&
           head->length >= NAMES_MIN_MESSAGE && head->length <= NAMES_MAX_QUESTION;
}

/* Return -1 with *err; the first one's cause is in errno. */
static int lost(struct error *err)
{
    return error_set_errno(err, EXIT_OURS, errno, "the guest's connection for names is lost");
}

static int cut_short(struct error *err)
{
    return error_set(err, EXIT_OURS, "the guest's connection for names ended within a question");
}

/* Takes one question. Returns 1, 0 at the end of the stream, or -1 with *err. */
static int take_question(struct service *service, struct error *err)
{
    struct names_head head;
    ssize_t n = io_read_all(service->stream_fd, &head, sizeof head);
    if (n == 0)
        return 0;
    if (n < 0)
        return lost(err);
    if (n < (ssize_t)sizeof head)
        return cut_short(err);
    if (!is_allowed(service, &head))
        return error_set(err, EXIT_OURS,
                         "the guest broke the protocol for names (slot %u, transport %u, %u bytes)",
                         head.slot, head.transport, head.length);
    n = io_read_all(service->stream_fd, service->message, head.length);
    if (n < 0)
        return lost(err);
    if (n < head.length)
        return cut_short(err);
    struct service_slot *slot = &service->slots[head.slot];
    int asked = head.transport == NAMES_UDP ? ask_by_udp(service, slot, head.length)
                                            : ask_by_tcp(service, slot, head.length);
    if (asked < 0 && answer(service, head.slot, NULL, 0) < 0)
        return lost(err);
    return 1;
}

/* --- answers -------------------------------------------------------------------------------------
 */

static int take_by_udp(struct service *service, size_t number)
{
    ssize_t n = read(service->slots[number].fd, service->message, sizeof service->message);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return answer(service, number, service->message, n < NAMES_MIN_MESSAGE ? 0 : (size_t)n);
}

/* The bytes of the answer with its length; as long as that has not come, of the length alone. */
static size_t expected(const struct service_connection *connection)
{
    size_t length = (size_t)connection->answer[0] << 8 | connection->answer[1];
    return connection->have < SERVICE_LENGTH ? SERVICE_LENGTH : SERVICE_LENGTH + length;
}

static int take_by_tcp(struct service *service, size_t number)
{
    const struct service_slot *slot = &service->slots[number];
    struct service_connection *connection = slot->connection;
    bool asking = connection->sent < connection->question_length;
    ssize_t n = asking ? write(slot->fd, connection->question + connection->sent,
                               connection->question_length - connection->sent)
                       : read(slot->fd, connection->answer + connection->have,
                              expected(connection) - connection->have);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return answer(service, number, NULL, 0);
    *(asking ? &connection->sent : &connection->have) += (size_t)n;
    if (asking || connection->have < SERVICE_LENGTH || connection->have < expected(connection))
        return 0;
    size_t length = connection->have - SERVICE_LENGTH;
    return answer(service, number, connection->answer + SERVICE_LENGTH,
                  length < NAMES_MIN_MESSAGE ? 0 : length);
}

/* What has come, and what will not any more. Returns 0, or -1 with errno. */
static int take_answers(struct service *service, const struct pollfd *fds)
{
    int64_t now = now_microseconds();
    for (size_t i = 0; i < NAMES_SLOTS; i++) {
        const struct service_slot *slot = &service->slots[i];
        int result = 0;
        if (slot->fd < 0)
            continue;
        if (fds[i].revents)
            result = slot->connection ? take_by_tcp(service, i) : take_by_udp(service, i);
        else if (slot->deadline <= now)
            result = answer(service, i, NULL, 0);
        if (result < 0)
            return -1;
    }
    return 0;
}

/* --- the loop ------------------------------------------------------------------------------------
 */

static void count_question(struct service *service)
{
    int64_t earliest = now_microseconds() - (int64_t)COST * (NAMES_SLOTS - 1);
    service->next = (service->next > earliest ? service->next : earliest) + COST;
}

/* Fills what poll(2) has to watch. Returns whether it is to wait no longer than *patience. */
static bool watch(const struct service *service, struct pollfd fds[1 + NAMES_SLOTS],
                  struct timespec *patience)
{
    int64_t now = now_microseconds(), soonest = INT64_MAX;
    bool may_ask = service->next <= now;
    fds[0] = (struct pollfd){ .fd = may_ask ? service->stream_fd : -1, .events = POLLIN };
    if (!may_ask)
        soonest = service->next;
    for (size_t i = 0; i < NAMES_SLOTS; i++) {
        const struct service_slot *slot = &service->slots[i];
        const struct service_connection *connection = slot->connection;
        bool asking = connection && connection->sent < connection->question_length;
        fds[1 + i] = (struct pollfd){ .fd = slot->fd, .events = asking ? POLLOUT : POLLIN };
        if (slot->fd >= 0 && slot->deadline < soonest)
            soonest = slot->deadline;
    }
    int64_t wait = soonest > now ? soonest - now : 0;
    *patience = (struct timespec){ .tv_sec = (time_t)(wait / MICROSECONDS),
                                   .tv_nsec = (long)(wait % MICROSECONDS) * 1000 };
    return soonest != INT64_MAX;
}

int service_run(struct service *service, struct error *err)
{
    struct pollfd fds[1 + NAMES_SLOTS];
    for (;;) {
        struct timespec patience;
        bool bounded = watch(service, fds, &patience);
        /* Not poll(2): see io_is_ready. */
        if (ppoll(fds, 1 + NAMES_SLOTS, bounded ? &patience : NULL, NULL) < 0 && errno != EINTR)
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for questions");
        if (take_answers(service, fds + 1) < 0)
            return lost(err);
        if (!fds[0].revents)
            continue;
        count_question(service);
        int taken = take_question(service, err);
        if (taken <= 0)
            return taken;
    }
}
