#include "vmm/virtio/rate.h"

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

uint64_t rate_limiter_admit(struct rate_limiter *limiter, bool write, uint64_t bytes, uint64_t now)
{
    struct rate_bucket *volume = write ? &limiter->write_bytes : &limiter->read_bytes;
    struct rate_bucket *requests = write ? &limiter->write_requests : &limiter->read_requests;
    ticket_lock_take(&limiter->lock);
    uint64_t wait = rate_bucket_wait(volume, now);
    uint64_t other = rate_bucket_wait(requests, now);
    if (other > wait)
        wait = other;
    if (wait == 0) {
        rate_bucket_take(volume, bytes, now);
        rate_bucket_take(requests, 1, now);
    }
    ticket_lock_release(&limiter->lock);
    return wait;
}
