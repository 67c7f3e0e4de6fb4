/* Distributions: of samples, what is printed. Pure. */
#ifndef HYBRID_COMPARE_STATS_H
#define HYBRID_COMPARE_STATS_H

#include <stddef.h>
#include <stdint.h>

struct stats {
    size_t count;
    int64_t minimum, p50, p90, p99, maximum;
};

/*
 * Sorts the samples in place. A percentile p is the smallest sample that at least p % of all are
 * not greater than (nearest rank): always one that was measured. All 0 for no samples.
 */
struct stats stats_of(int64_t *samples, size_t count);

/* "12.3 ms", three significant digits; nanoseconds, negative: "-". */
void stats_format_time(int64_t nanoseconds, char *text, size_t size);

/* "p50/p99" in the unit of the greater, "1.23/4.56 ms"; far from each other: "1.23 us/4.56 ms". */
void stats_format_pair(int64_t p50, int64_t p99, char *text, size_t size);

/* "5.2 MiB". */
void stats_format_bytes(int64_t bytes, char *text, size_t size);

#endif
