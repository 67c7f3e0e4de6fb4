/*
 * The agent that a seccomp filter leaves decisions to: it is sent the listener with the state of
 * the container. Specification: runtime-spec 1.2, config-linux.md, "The Container Process State".
 */
#ifndef HYBRID_CONTAINER_NOTIFY_H
#define HYBRID_CONTAINER_NOTIFY_H

#include <sys/types.h>

#include "error.h"
#include "plan.h"

struct notify {
    char *path; /* where the agent listens; NULL: there is none */
    char *text; /* what it is sent */
};

/* Whose listener it is. */
struct notify_process {
    const struct plan *container; /* its whole configuration, not that of an exec's process */
    const char *id, *bundle;      /* bundle: NULL: made from an image */
    const char *status;           /* of the container */
    pid_t container_pid;          /* its first process */
    pid_t pid;                    /* the one with the filter */
};

/* Makes the message. Without linux.seccomp.listenerPath nothing. Returns 0, or -1 with *err. */
int notify_prepare(struct notify *notify, const struct notify_process *process, struct error *err);

/* Sends it, as sandbox_child.pass_listener wants; context: a struct notify. */
int notify_send(const void *context, int listener, struct error *err);

void notify_free(struct notify *notify);

#endif
