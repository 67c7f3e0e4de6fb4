/* The event loop of the device thread: level-triggered epoll, and work put off to the next turn. */
#ifndef HYBRID_VMM_LOOP_H
#define HYBRID_VMM_LOOP_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

enum { LOOP_BATCH = 16 };

/* A descriptor that is watched. The owner embeds it; it must stay in place while it is added. */
struct loop_source {
    int fd;
    void (*ready)(void *context, uint32_t events);
    void *context;
};

/* Work to be done at the next turn without waiting for a descriptor. */
struct loop_deferred {
    void (*run)(void *context);
    void *context;
    bool queued;
    int wait; /* milliseconds that the next turn may last before it */
    struct loop_deferred *next;
};

struct loop {
    int epoll_fd;
    struct epoll_event batch[LOOP_BATCH];
    int batch_count;
    struct loop_deferred *deferred_head, **deferred_tail;
};

int loop_create(struct loop *loop, struct error *err);
void loop_destroy(struct loop *loop);

/*
 * Watches source->fd for events (EPOLL*; EPOLLONESHOT allowed). Returns 0, or -1 with errno:
 * EPERM means a descriptor that is always ready (a regular file, /dev/null).
 */
int loop_add(struct loop *loop, struct loop_source *source, uint32_t events);

/* Changes or re-arms the events of a source that was added. Returns 0, or -1 with errno. */
int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events);

/* Forgets the source, also an event of it that was collected in this turn. */
void loop_remove(struct loop *loop, struct loop_source *source);

/* Runs work->run once in the next turn; no effect if it is queued already. */
void loop_defer(struct loop *loop, struct loop_deferred *work);

/*
 * The same for work that can wait for so many nanoseconds: it is run then, or sooner, when anything
 * else ends the next turn, and has to look whether it is time.
 */
void loop_delay(struct loop *loop, struct loop_deferred *work, uint64_t nanoseconds);

/*
 * One turn: waits up to timeout milliseconds (-1: for ever), or less where work was deferred, then
 * calls what is ready. Returns 0, or -1 with err.
 */
int loop_turn(struct loop *loop, int timeout, struct error *err);

#endif
