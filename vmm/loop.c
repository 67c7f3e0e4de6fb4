#include "vmm/loop.h"

#include <errno.h>
#include <unistd.h>

int loop_create(struct loop *loop, struct error *err)
{
    *loop = (struct loop){ .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
    loop->deferred_tail = &loop->deferred_head;
    if (loop->epoll_fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot create the event loop");
    return 0;
}

void loop_destroy(struct loop *loop)
{
    if (loop->epoll_fd >= 0)
        (void)close(loop->epoll_fd);
    loop->epoll_fd = -1;
}

static int loop_control(struct loop *loop, int operation, struct loop_source *source,
                        uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = source };
    return epoll_ctl(loop->epoll_fd, operation, source->fd, &event);
}

int loop_add(struct loop *loop, struct loop_source *source, uint32_t events)
{
    return loop_control(loop, EPOLL_CTL_ADD, source, events);
}

int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events)
{
    return loop_control(loop, EPOLL_CTL_MOD, source, events);
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
    (void)loop_control(loop, EPOLL_CTL_DEL, source, 0);
    /* The owner may free the source now: its event of this turn must not be delivered. */
    for (int i = 0; i < loop->batch_count; i++) {
        if (loop->batch[i].data.ptr == source)
            loop->batch[i].data.ptr = NULL;
    }
}

static void loop_queue(struct loop *loop, struct loop_deferred *work, int wait)
{
    if (!work->queued || wait < work->wait)
        work->wait = wait;
    if (work->queued)
        return;
    work->queued = true;
    work->next = NULL;
    *loop->deferred_tail = work;
    loop->deferred_tail = &work->next;
}

void loop_defer(struct loop *loop, struct loop_deferred *work)
{
    loop_queue(loop, work, 0);
}

void loop_delay(struct loop *loop, struct loop_deferred *work, uint64_t nanoseconds)
{
    const uint64_t millisecond = 1000000, longest = 1000;
    uint64_t wait = (nanoseconds + millisecond - 1) / millisecond;
    loop_queue(loop, work, (int)(wait < longest ? wait : longest));
}

static int loop_timeout(const struct loop *loop, int timeout)
{
    for (const struct loop_deferred *work = loop->deferred_head; work; work = work->next) {
        if (timeout < 0 || work->wait < timeout)
            timeout = work->wait;
    }
    return timeout;
}

/* Runs what was deferred before this turn; what it defers again waits for the next. */
static void loop_run_deferred(struct loop *loop)
{
    struct loop_deferred *work = loop->deferred_head;
    loop->deferred_head = NULL;
    loop->deferred_tail = &loop->deferred_head;
    while (work) {
        struct loop_deferred *next = work->next;
        work->queued = false;
        work->run(work->context);
        work = next;
    }
}

int loop_turn(struct loop *loop, int timeout, struct error *err)
{
    int count = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, loop_timeout(loop, timeout));
    if (count < 0 && errno != EINTR)
        return error_set_errno(err, EXIT_OURS, errno, "the event loop cannot wait");
    loop->batch_count = count > 0 ? count : 0;
    for (int i = 0; i < loop->batch_count; i++) {
        struct loop_source *source = loop->batch[i].data.ptr;
        if (source)
            source->ready(source->context, loop->batch[i].events);
    }
    loop->batch_count = 0;
    loop_run_deferred(loop);
    return 0;
}
