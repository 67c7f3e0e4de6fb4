#include "stats.h"

#include <stdio.h>
#include <stdlib.h>

static int order(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static int64_t percentile(const int64_t *sorted, size_t count, unsigned percent)
{
    size_t rank = (count * percent + 99) / 100;
    return sorted[rank > 0 ? rank - 1 : 0];
}

struct stats stats_of(int64_t *samples, size_t count)
{
    if (count == 0)
        return (struct stats){ 0 };
    qsort(samples, count, sizeof *samples, order);
    return (struct stats){
        .count = count,
        .minimum = samples[0],
        .p50 = percentile(samples, count, 50),
        .p90 = percentile(samples, count, 90),
        .p99 = percentile(samples, count, 99),
        .maximum = samples[count - 1],
    };
}

struct scale {
    double factor;
    const char *unit;
};

static const struct scale time_scales[] = {
    { 1e9, "s" }, { 1e6, "ms" }, { 1e3, "us" }, { 1, "ns" }
};
static const struct scale byte_scales[] = {
    { 1 << 30, "GiB" }, { 1 << 20, "MiB" }, { 1 << 10, "KiB" }, { 1, "B" }
};

static const struct scale *find_scale(const struct scale *scales, size_t count, int64_t value)
{
    for (size_t i = 0; i + 1 < count; i++)
        if ((double)value >= scales[i].factor)
            return &scales[i];
    return &scales[count - 1];
}

/* Three significant digits, none after the point of what is counted one by one. */
static void format_number(double value, double factor, char *text, size_t size)
{
    double scaled = value / factor;
    int digits = factor <= 1 || scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2;
    (void)snprintf(text, size, "%.*f", digits, scaled);
}

static void format(const struct scale *scale, int64_t value, char *text, size_t size)
{
    char number[32];
    format_number((double)value, scale->factor, number, sizeof number);
    (void)snprintf(text, size, "%s %s", number, scale->unit);
}

void stats_format_time(int64_t nanoseconds, char *text, size_t size)
{
    if (nanoseconds < 0)
        (void)snprintf(text, size, "-");
    else
        format(find_scale(time_scales, 4, nanoseconds), nanoseconds, text, size);
}

void stats_format_pair(int64_t p50, int64_t p99, char *text, size_t size)
{
    enum { FAR = 100 }; /* from there on one unit for both would show nothing of the smaller */
    char low[32], high[32];
    if (p99 > 0 && p99 / FAR >= p50) {
        stats_format_time(p50, low, sizeof low);
        stats_format_time(p99, high, sizeof high);
        (void)snprintf(text, size, "%s/%s", low, high);
        return;
    }
    const struct scale *scale = find_scale(time_scales, 4, p99 > p50 ? p99 : p50);
    format_number((double)p50, scale->factor, low, sizeof low);
    format_number((double)p99, scale->factor, high, sizeof high);
    (void)snprintf(text, size, "%s/%s %s", low, high, scale->unit);
}

void stats_format_bytes(int64_t bytes, char *text, size_t size)
{
    format(find_scale(byte_scales, 4, bytes), bytes, text, size);
}
