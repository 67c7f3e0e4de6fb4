/*
 * As much of netlink(7) as interfaces, addresses, routes and traffic control take: requests that
 * are acknowledged, dumps, attributes. Linked into hybrid and hybrid-init. (libmnl would do no more
 * than this, and Debian has no static one.)
 */
#ifndef HYBRID_NETLINK_H
#define HYBRID_NETLINK_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

enum { NETLINK_MAX_MESSAGE = 1024 };

/* A request in the making. Zeroed at the start. */
struct netlink_message {
    struct nlmsghdr head;
    uint8_t content[NETLINK_MAX_MESSAGE - NLMSG_HDRLEN]; /* follows the head without a gap */
    bool overflow; /* something did not fit: sending it fails */
};

/* Begins a request with the family's own header. flags: NLM_F_*; REQUEST is added. */
void netlink_begin(struct netlink_message *message, uint16_t type, uint16_t flags,
                   const void *header, size_t length);

void netlink_put(struct netlink_message *message, uint16_t type, const void *data, size_t length);
void netlink_put_u32(struct netlink_message *message, uint16_t type, uint32_t value);
void netlink_put_text(struct netlink_message *message, uint16_t type, const char *text);

/* What is put between the two is the content of an attribute of this type. */
size_t netlink_nest(struct netlink_message *message, uint16_t type);
void netlink_end(struct netlink_message *message, size_t nest);

/* The attributes of [first, first + length) by type: table[0..count). The last of a type counts. */
void netlink_parse(const void *first, size_t length, const struct rtattr **table, size_t count);

/* The attributes behind the header of `fixed` bytes of a message of a dump. */
void netlink_parse_message(const struct nlmsghdr *message, size_t fixed,
                           const struct rtattr **table, size_t count);

/* Whether the attribute is there and has at least `length` bytes. */
bool netlink_has(const struct rtattr *attribute, size_t length);

/* The value of a 32-bit attribute, or `otherwise`. */
uint32_t netlink_u32(const struct rtattr *attribute, uint32_t otherwise);

/* Opens a socket of NETLINK_ROUTE in the current network namespace. Returns it, or -1 with *err. */
int netlink_open(struct error *err);

/* Likewise of another family, NETLINK_*. Returns it, or -1 with errno. */
int netlink_open_family(int family);

/* The inode number of the network namespace that the socket is in. Returns 0, or -1 with errno. */
int netlink_namespace(int fd, ino_t *number);

/* Sends the request and waits for its end. Returns 0, or a positive errno: the kernel's answer. */
int netlink_request(int fd, struct netlink_message *message);

/* Sends the request as a dump. Returns the number of messages, or a negative errno. */
int netlink_count(int fd, struct netlink_message *message);

/*
 * Sends the request as a dump and calls `each` for every message of it, until that returns -1.
 * `what`: for the error, "the routes". Returns 0, or -1 with *err.
 */
int netlink_dump(int fd, struct netlink_message *message, const char *what,
                 int (*each)(void *context, const struct nlmsghdr *message, struct error *err),
                 void *context, struct error *err);

#endif
