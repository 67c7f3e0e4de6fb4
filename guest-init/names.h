/*
 * The guest's half of include/names.h: takes questions on the address of a name server that is in
 * the host's namespace, and passes them on. Nothing here waits, and what has no room waits in the
 * sockets: of the guest's processes none is trusted.
 */
#ifndef HYBRID_INIT_NAMES_H
#define HYBRID_INIT_NAMES_H

#include "error.h"
#include "include/names.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NAMES_CONNECTIONS = 16,                 /* of the guest's processes, by TCP */
    NAMES_IDLE = 10 * 1000,                 /* milliseconds for one of them to ask */
    NAMES_LENGTH = 2,                       /* bytes of a message's length over TCP */
    NAMES_POLL_FDS = 3 + NAMES_CONNECTIONS, /* the host, UDP, new connections, those there are */
};

/* A process of the guest that asks by TCP: one question at a time. */
struct names_connection {
    int fd;        /* -1: unused */
    bool asked;    /* its question is on its way */
    int64_t since; /* wire_clock_milliseconds: when it last did something */
    size_t have;
    uint8_t question[NAMES_LENGTH + NAMES_MAX_QUESTION];
};

struct names_question {
    bool asked;
    uint16_t transport;
    int connection;            /* by TCP; -1: it is gone */
    struct sockaddr_in client; /* by UDP */
};

struct names {
    bool on;
    int host_fd, udp_fd, listener_fd;
    struct names_question slots[NAMES_SLOTS];
    struct names_connection connections[NAMES_CONNECTIONS];
    struct {
        size_t length, done;
        uint8_t bytes[sizeof(struct names_head) + NAMES_MAX_QUESTION];
    } out; /* to the host: one frame */
    struct {
        size_t done;
        uint8_t bytes[sizeof(struct names_head) + NAMES_MAX_MESSAGE];
    } in; /* from the host: one frame */
};

/*
 * Listens on the address, in the current network namespace, whose loopback is up. host_fd: the
 * connection to the host; taken over. *names is zeroed before. Returns 0, or -1 with *err.
 */
int names_open(struct names *names, int host_fd, struct in_addr address, struct error *err);

/* Fills what poll(2) has to watch: NAMES_POLL_FDS descriptors, -1 where there is none. */
void names_watch(const struct names *names, struct pollfd fds[NAMES_POLL_FDS]);

/* Does what poll(2) reported. A host that breaks the rules, or is gone, is not asked any more. */
void names_serve(struct names *names, const struct pollfd fds[NAMES_POLL_FDS]);

/* Milliseconds until names_serve should be called again, -1: no need. */
int names_patience(const struct names *names);

void names_close(struct names *names);

#endif
