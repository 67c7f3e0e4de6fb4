/*
 * How fast a machine's disks and networks may be used: token buckets, refilled as time passes and
 * counted in nanoseconds. Pure but for the lock: whoever asks says what time it is.
 */
#ifndef HYBRID_VMM_VIRTIO_RATE_H
#define HYBRID_VMM_VIRTIO_RATE_H

#include "vmm/ticket_lock.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    RATE_BURST = 100 * 1000 * 1000,  /* nanoseconds whose worth an idle bucket holds */
    RATE_SECOND = 1000 * 1000 * 1000 /* nanoseconds */
};

/*
 * A bucket as the time at which it is full enough again: `due` in the past is what may be spent,
 * at most RATE_BURST of it; in the future it is debt. One request may make debt, whatever its size,
 * so that none is too large to be served at all.
 */
struct rate_bucket {
    uint64_t per_second; /* bytes, requests or packets; 0: no limit */
    uint64_t due;        /* nanoseconds */
};

/* Nanoseconds until something may be taken; 0: now. */
uint64_t rate_bucket_wait(const struct rate_bucket *bucket, uint64_t now);

/* Takes an amount below 2^34, when rate_bucket_wait says 0. */
void rate_bucket_take(struct rate_bucket *bucket, uint64_t amount, uint64_t now);

/*
 * The limits of all disks of a machine together, or of one network, where reading is what the guest
 * receives, and a request a packet. Zeroed: none.
 */
struct rate_limiter {
    struct ticket_lock lock;
    struct rate_bucket read_bytes, write_bytes, read_requests, write_requests;
};

/* What time it is, in nanoseconds, for all that follows. */
uint64_t rate_clock(void);

bool rate_limiter_is_used(const struct rate_limiter *limiter);

/* Nanoseconds until something may pass in this direction; 0: now. Any thread. */
uint64_t rate_limiter_wait(struct rate_limiter *limiter, bool write, uint64_t now);

/* Counts what has passed: at most 2^34 bytes, and as many requests. Any thread. */
void rate_limiter_take(struct rate_limiter *limiter, bool write, uint64_t bytes, uint64_t requests,
                       uint64_t now);

/*
 * Asks for one request of so many bytes. Returns 0 and has taken it, or the nanoseconds after which
 * to ask again. Any thread.
 */
uint64_t rate_limiter_admit(struct rate_limiter *limiter, bool write, uint64_t bytes, uint64_t now);

#endif
