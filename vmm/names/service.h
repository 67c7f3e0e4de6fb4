/*
 * Answers a guest's questions (include/names.h) by asking the name server of the network namespace
 * that the process is in. Bounded in everything: NAMES_SLOTS questions at a time, a few of them by
 * TCP, each for some seconds, so many a second; what a guest sends beyond that waits at its side.
 */
#ifndef HYBRID_VMM_NAMES_SERVICE_H
#define HYBRID_VMM_NAMES_SERVICE_H

#include "error.h"
#include "include/names.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SERVICE_TCP = 8,          /* questions by TCP at a time; others get no answer */
    SERVICE_PATIENCE = 10000, /* milliseconds for the name server to answer */
    SERVICE_RATE = 1000,      /* questions a second, at most; NAMES_SLOTS of them at once */
    SERVICE_LENGTH = 2,       /* bytes of a message's length over TCP (RFC 1035, 4.2.2) */
};

/* A question by TCP, and as much of its answer as has come; both with their length. */
struct service_connection {
    size_t question_length; /* 0: unused */
    size_t sent, have;
    uint8_t question[SERVICE_LENGTH + NAMES_MAX_QUESTION];
    uint8_t answer[SERVICE_LENGTH + NAMES_MAX_MESSAGE];
};

struct service_slot {
    int fd;                                /* to the name server; -1: free */
    int64_t deadline;                      /* CLOCK_MONOTONIC, in microseconds */
    struct service_connection *connection; /* NULL: by UDP */
};

struct service {
    int stream_fd;                    /* to the guest; blocks */
    const struct sockaddr_in *server; /* whom to ask; its address in memory counts too (rules.c) */
    int64_t next;                     /* when the next question may be taken */
    struct service_slot slots[NAMES_SLOTS];
    struct service_connection connections[SERVICE_TCP];
    uint8_t message[NAMES_MAX_MESSAGE];
};

/* Everything is free. stream_fd and server are borrowed. */
void service_init(struct service *service, int stream_fd, const struct sockaddr_in *server);

/*
 * Serves until the guest closes its connection. Returns 0 then, or -1 with *err: the guest broke
 * the rules, or the connection itself broke.
 */
int service_run(struct service *service, struct error *err);

#endif
