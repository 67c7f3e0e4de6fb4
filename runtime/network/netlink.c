#include "netlink.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

/* Kernels send dumps in pieces of at most 32 KiB to those who can take them. */
enum { RECEIVE_BYTES = 32 * 1024, SEQUENCE = 1 };

_Static_assert(offsetof(struct netlink_message, content) == NLMSG_HDRLEN, "there is no gap");

static void *message_grow(struct netlink_message *message, size_t length)
{
    size_t at = NLMSG_ALIGN(message->head.nlmsg_len) - NLMSG_HDRLEN;
    if (message->overflow || length > sizeof message->content - at) {
        message->overflow = true;
        return NULL;
    }
    message->head.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + at + length);
    return message->content + at;
}

void netlink_begin(struct netlink_message *message, uint16_t type, uint16_t flags,
                   const void *header, size_t length)
{
    *message = (struct netlink_message){ .overflow = false };
    message->head = (struct nlmsghdr){ .nlmsg_len = NLMSG_HDRLEN,
                                       .nlmsg_type = type,
                                       .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST),
                                       .nlmsg_seq = SEQUENCE };
    void *target = message_grow(message, length);
    if (target)
        memcpy(target, header, length);
}

void netlink_put(struct netlink_message *message, uint16_t type, const void *data, size_t length)
{
    const struct rtattr head = { .rta_len = (unsigned short)RTA_LENGTH(length), .rta_type = type };
    uint8_t *attribute = message_grow(message, RTA_LENGTH(length));
    if (!attribute)
        return;
    memcpy(attribute, &head, sizeof head);
    if (length > 0)
        memcpy(attribute + RTA_LENGTH(0), data, length);
}

void netlink_put_u32(struct netlink_message *message, uint16_t type, uint32_t value)
{
    netlink_put(message, type, &value, sizeof value);
}

void netlink_put_text(struct netlink_message *message, uint16_t type, const char *text)
{
    netlink_put(message, type, text, strlen(text) + 1);
}

size_t netlink_nest(struct netlink_message *message, uint16_t type)
{
    size_t at = NLMSG_ALIGN(message->head.nlmsg_len);
    netlink_put(message, type, NULL, 0);
    return at;
}

void netlink_end(struct netlink_message *message, size_t nest)
{
    if (message->overflow)
        return;
    struct rtattr *attribute = (struct rtattr *)(void *)(message->content + nest - NLMSG_HDRLEN);
    attribute->rta_len = (unsigned short)(message->head.nlmsg_len - nest);
}

void netlink_parse(const void *first, size_t length, const struct rtattr **table, size_t count)
{
    for (size_t i = 0; i < count; i++)
        table[i] = NULL;
    const struct rtattr *attribute = first;
    while (length >= sizeof *attribute && attribute->rta_len >= sizeof *attribute &&
           attribute->rta_len <= length) {
        unsigned type = attribute->rta_type & NLA_TYPE_MASK;
        if (type < count)
            table[type] = attribute;
        size_t step = RTA_ALIGN(attribute->rta_len);
        if (step > length)
            break;
        length -= step;
        attribute = (const struct rtattr *)(const void *)((const char *)attribute + step);
    }
}

void netlink_parse_message(const struct nlmsghdr *message, size_t fixed,
                           const struct rtattr **table, size_t count)
{
    size_t before = NLMSG_SPACE(fixed);
    size_t length = message->nlmsg_len > before ? message->nlmsg_len - before : 0;
    netlink_parse((const char *)message + before, length, table, count);
}

bool netlink_has(const struct rtattr *attribute, size_t length)
{
    return attribute && attribute->rta_len >= RTA_LENGTH(length);
}

uint32_t netlink_u32(const struct rtattr *attribute, uint32_t otherwise)
{
    uint32_t value = otherwise;
    if (netlink_has(attribute, sizeof value))
        memcpy(&value, (const char *)attribute + RTA_LENGTH(0), sizeof value);
    return value;
}

int netlink_open_family(int family)
{
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family);
}

int netlink_open(struct error *err)
{
    int fd = netlink_open_family(NETLINK_ROUTE);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open a netlink socket");
    return fd;
}

int netlink_namespace(int fd, ino_t *number)
{
    struct stat status;
    _cleanup_close_ int namespace_fd = ioctl(fd, SIOCGSKNS);
    if (namespace_fd < 0 || fstat(namespace_fd, &status) < 0)
        return -1;
    *number = status.st_ino;
    return 0;
}

/* Returns 0, or an errno. */
static int message_send(int fd, const struct netlink_message *message)
{
    const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    if (message->overflow)
        return EMSGSIZE;
    ssize_t n;
    do
        n = sendto(fd, message, message->head.nlmsg_len, 0, (const struct sockaddr *)&kernel,
                   sizeof kernel);
    while (n < 0 && errno == EINTR);
    return n < 0 ? errno : 0;
}

/* The errno of NLMSG_ERROR or NLMSG_DONE, which both begin with its negative. */
static int message_errno(const struct nlmsghdr *message)
{
    int32_t code = 0;
    if (message->nlmsg_len >= NLMSG_LENGTH(sizeof code))
        memcpy(&code, NLMSG_DATA(message), sizeof code);
    return -code;
}

struct answer {
    int (*each)(void *context, const struct nlmsghdr *message, struct error *err);
    void *context;
    struct error *err;
    bool stopped; /* `each` has set *err */
    bool changed; /* NLM_F_DUMP_INTR: what was read does not fit together */
};

/* Takes one datagram. Returns -1 if more is to come, else 0 or an errno. */
static int answer_take(int fd, void *buffer, struct answer *answer)
{
    ssize_t n;
    do
        n = recv(fd, buffer, RECEIVE_BYTES, MSG_TRUNC);
    while (n < 0 && errno == EINTR);
    if (n < 0 || n > RECEIVE_BYTES)
        return n < 0 ? errno : EMSGSIZE;
    size_t left = (size_t)n;
    for (struct nlmsghdr *message = buffer; NLMSG_OK(message, left);
         message = NLMSG_NEXT(message, left)) {
        if (message->nlmsg_seq != SEQUENCE)
            continue;
        answer->changed |= (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE)
            return message_errno(message);
        if (answer->each && !answer->stopped &&
            answer->each(answer->context, message, answer->err) < 0)
            answer->stopped = true; /* the rest is still to be read away */
    }
    return -1;
}

static int answer_receive(int fd, struct answer *answer)
{
    _cleanup_free_ void *buffer = malloc(RECEIVE_BYTES);
    if (!buffer)
        return ENOMEM;
    int result;
    do
        result = answer_take(fd, buffer, answer);
    while (result < 0);
    return result;
}

int netlink_request(int fd, struct netlink_message *message)
{
    struct answer answer = { .each = NULL };
    message->head.nlmsg_flags |= NLM_F_ACK;
    int result = message_send(fd, message);
    return result != 0 ? result : answer_receive(fd, &answer);
}

static int count_message(void *context, const struct nlmsghdr *message, struct error *err)
{
    (void)message;
    (void)err;
    ++*(int *)context;
    return 0;
}

int netlink_count(int fd, struct netlink_message *message)
{
    int count = 0;
    struct answer answer = { .each = count_message, .context = &count };
    message->head.nlmsg_flags |= NLM_F_DUMP;
    int result = message_send(fd, message);
    if (result == 0)
        result = answer_receive(fd, &answer);
    return result != 0 ? -result : count;
}

int netlink_dump(int fd, struct netlink_message *message, const char *what,
                 int (*each)(void *context, const struct nlmsghdr *message, struct error *err),
                 void *context, struct error *err)
{
    struct answer answer = { .each = each, .context = context, .err = err };
    message->head.nlmsg_flags |= NLM_F_DUMP;
    int result = message_send(fd, message);
    if (result == 0)
        result = answer_receive(fd, &answer);
    if (answer.stopped)
        return -1;
    if (result != 0)
        return error_set_errno(err, EXIT_OURS, result, "cannot read %s of the network namespace",
                               what);
    if (answer.changed)
        return error_set(err, EXIT_OURS,
                         "%s of the network namespace changed while they were read; try again",
                         what);
    return 0;
}
