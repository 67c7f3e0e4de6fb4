#include "vmm/virtio/rate.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t rate_clock(void)
{
    struct timespec now = { 0 };
    /* Not by the vDSO, whose fallback some clock sources need: the filter knows one way only. */
    (void)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * RATE_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t rate_bucket_wait(const struct rate_bucket *bucket, uint64_t now)
{
    return bucket->per_second > 0 && bucket->due > now ? bucket->due - now : 0;
}

void rate_bucket_take(struct rate_bucket *bucket, uint64_t amount, uint64_t now)
{
    if (bucket->per_second == 0)
        return;
    uint64_t oldest = now > RATE_BURST ? now - RATE_BURST : 0;
    if (bucket->due < oldest)
        bucket->due = oldest;
    /* Rounded up: small requests at a high rate would cost nothing. */
    bucket->due += (amount * RATE_SECOND + bucket->per_second - 1) / bucket->per_second;
}

bool rate_limiter_is_used(const struct rate_limiter *limiter)
{
    return (limiter->read_bytes.per_second | limiter->write_bytes.per_second |
            limiter->read_requests.per_second | limiter->write_requests.per_second) != 0;
}

/* The longer wait of the two buckets of a direction. Lock held, as by the next. */
static uint64_t rate_wait(const struct rate_limiter *limiter, bool write, uint64_t now)
{
    uint64_t volume = rate_bucket_wait(write ? &limiter->write_bytes : &limiter->read_bytes, now);
    uint64_t requests =
        rate_bucket_wait(write ? &limiter->write_requests : &limiter->read_requests, now);
    return volume > requests ? volume : requests;
}

static void rate_take(struct rate_limiter *limiter, bool write, uint64_t bytes, uint64_t requests,
                      uint64_t now)
{
    rate_bucket_take(write ? &limiter->write_bytes : &limiter->read_bytes, bytes, now);
    rate_bucket_take(write ? &limiter->write_requests : &limiter->read_requests, requests, now);
}

uint64_t rate_limiter_wait(struct rate_limiter *limiter, bool write, uint64_t now)
{
    ticket_lock_take(&limiter->lock);
    uint64_t wait = rate_wait(limiter, write, now);
    ticket_lock_release(&limiter->lock);
    return wait;
}

void rate_limiter_take(struct rate_limiter *limiter, bool write, uint64_t bytes, uint64_t requests,
                       uint64_t now)
{
    ticket_lock_take(&limiter->lock);
    rate_take(limiter, write, bytes, requests, now);
    ticket_lock_release(&limiter->lock);
}

uint64_t rate_limiter_admit(struct rate_limiter *limiter, bool write, uint64_t bytes, uint64_t now)
{
    ticket_lock_take(&limiter->lock);
    uint64_t wait = rate_wait(limiter, write, now);
    if (wait == 0)
        rate_take(limiter, write, bytes, 1, now);
    ticket_lock_release(&limiter->lock);
    return wait;
}
