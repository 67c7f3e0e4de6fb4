/* Token buckets: what may be used when, by a clock that the test turns. */
/* link: vmm */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/virtio/rate.h"

static const uint64_t SECOND = RATE_SECOND;
static const uint64_t MILLISECOND = RATE_SECOND / 1000;

static void test_no_limit(void **state)
{
    (void)state;
    struct rate_limiter limiter = { 0 };
    assert_false(rate_limiter_is_used(&limiter));
    for (int i = 0; i < 1000; i++)
        assert_int_equal(rate_limiter_admit(&limiter, i % 2, 1 << 23, 5), 0);
}

/* What is served in ten seconds to a disk that asks for all it can get. */
static uint64_t served(struct rate_bucket bucket, uint64_t amount, uint64_t start)
{
    uint64_t total = 0;
    for (uint64_t now = start; now < start + 10 * SECOND;) {
        uint64_t wait = rate_bucket_wait(&bucket, now);
        if (wait > 0) {
            now += wait;
            continue;
        }
        rate_bucket_take(&bucket, amount, now);
        total += amount;
    }
    return total;
}

static void test_rate_holds(void **state)
{
    (void)state;
    static const struct {
        uint64_t per_second, amount;
    } CASES[] = {
        { 1 << 20, 4096 }, { 1 << 20, 512 },  { 10 << 20, 1 << 20 }, { 100, 1 },
        { 1, 1 },          { 7, 1 },          { 4096, 4096 },        { 1ULL << 40, 1 << 23 },
        { 3000000, 8191 }, { 123456, 65536 },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        for (uint64_t start = 0; start <= 1000 * SECOND; start += 500 * SECOND) {
            struct rate_bucket bucket = { .per_second = CASES[i].per_second };
            uint64_t total = served(bucket, CASES[i].amount, start);
            uint64_t fair = 10 * CASES[i].per_second, burst = CASES[i].per_second / 10;
            /* No less than the rate; no more than it, the burst, and the request in progress. */
            assert_in_range(total, fair - fair / 100, fair + burst + 2 * CASES[i].amount);
        }
    }
}

static void test_one_large_request_is_debt(void **state)
{
    (void)state;
    struct rate_bucket bucket = { .per_second = 1 << 20 };
    uint64_t now = 77 * SECOND;
    assert_int_equal(rate_bucket_wait(&bucket, now), 0);
    rate_bucket_take(&bucket, 8 << 20, now);
    assert_int_equal(rate_bucket_wait(&bucket, now), 8 * SECOND - RATE_BURST);
    assert_int_equal(rate_bucket_wait(&bucket, now + 5 * SECOND), 3 * SECOND - RATE_BURST);
    assert_int_equal(rate_bucket_wait(&bucket, now + 8 * SECOND), 0);
}

/* However long it was idle, a bucket holds a burst and no more. */
static void test_idle_time_is_no_treasure(void **state)
{
    (void)state;
    struct rate_bucket bucket = { .per_second = 1000 };
    uint64_t now = 3600 * SECOND;
    uint64_t total = 0;
    while (rate_bucket_wait(&bucket, now) == 0) {
        rate_bucket_take(&bucket, 1, now);
        total++;
    }
    assert_in_range(total, 100, 101);
    assert_in_range(rate_bucket_wait(&bucket, now), 1, MILLISECOND);
}

/* Directions are apart; bytes and requests hold together; a refused request costs nothing. */
static void test_limiter(void **state)
{
    (void)state;
    struct rate_limiter limiter = { .read_bytes.per_second = 1000, .read_requests.per_second = 2 };
    uint64_t now = 10 * SECOND;
    assert_true(rate_limiter_is_used(&limiter));
    assert_int_equal(rate_limiter_admit(&limiter, false, 50, now), 0);
    uint64_t wait = rate_limiter_admit(&limiter, false, 50, now);
    assert_int_equal(wait, SECOND / 2 - RATE_BURST); /* two a second */
    for (int i = 0; i < 1000; i++)
        assert_int_equal(rate_limiter_admit(&limiter, false, 50, now), wait);
    assert_int_equal(rate_limiter_admit(&limiter, true, 1 << 20, now), 0);
    now += wait;
    assert_int_equal(rate_limiter_admit(&limiter, false, 5000, now), 0);
    assert_in_range(rate_limiter_admit(&limiter, false, 1, now), 4 * SECOND, 5 * SECOND);
}

/* A clock that goes back (none should) makes nobody wait for ever. */
static void test_clock_goes_back(void **state)
{
    (void)state;
    struct rate_bucket bucket = { .per_second = 1000 };
    rate_bucket_take(&bucket, 1, 100 * SECOND);
    assert_in_range(rate_bucket_wait(&bucket, 50 * SECOND), 1, 50 * SECOND);
    assert_int_equal(rate_bucket_wait(&bucket, 100 * SECOND), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_rate_holds),
        cmocka_unit_test(test_one_large_request_is_debt),
        cmocka_unit_test(test_idle_time_is_no_treasure),
        cmocka_unit_test(test_limiter),
        cmocka_unit_test(test_clock_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
