/*
 * How fast a workload may use its disks: options with Docker's names, annotations of our own in the
 * configuration. Not linux.resources.blockIO: that names devices, and what a workload's disks are
 * differs with where and how it runs.
 */
#include <stdlib.h>
#include <string.h>

#include "compose_parts.h"
#include "json_read.h"
#include "parse_parts.h"

static const struct {
    const char *option, *annotation;
    bool bytes; /* a size, else a number */
} RATES[PLAN_DISK_RATES] = {
    [PLAN_DISK_READ_BYTES] = { "--device-read-bps", "hybrid.disk.readBps", true },
    [PLAN_DISK_WRITE_BYTES] = { "--device-write-bps", "hybrid.disk.writeBps", true },
    [PLAN_DISK_READ_REQUESTS] = { "--device-read-iops", "hybrid.disk.readIops", false },
    [PLAN_DISK_WRITE_REQUESTS] = { "--device-write-iops", "hybrid.disk.writeIops", false },
};

static const int64_t BYTES_MIN = 4096; /* less is no page a second */
static const int64_t RATE_MAX = 1LL << 40;

const char *disk_rate_option(enum plan_disk_rate rate)
{
    return RATES[rate].option;
}

/* Decimal digits only. -1: they are not, or too many. */
static int64_t read_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits < 14 && !text[digits] ? strtoll(text, NULL, 10) : -1;
}

static int64_t parse_option(enum plan_disk_rate rate, const char *text, struct error *err)
{
    const char *option = RATES[rate].option;
    bool bytes = RATES[rate].bytes;
    if (strchr(text, ':'))
        return error_set(err, EXIT_OURS,
                         "%s \"%.80s\": a rate without a device, such as %s: it holds for all of "
                         "the workload's disks together",
                         option, text, bytes ? "10m" : "100");
    int64_t value = bytes ? size_parse(text, option, err) : read_number(text);
    if (bytes && value < 0)
        return -1;
    int64_t least = bytes ? BYTES_MIN : 1;
    if (value < least || value > RATE_MAX)
        return error_set(err, EXIT_OURS, "%s \"%.80s\": %s a second, from %lld to %lld", option,
                         text, bytes ? "bytes" : "a number of requests", (long long)least,
                         (long long)RATE_MAX);
    return value;
}

int compose_disk_rates(json_t *annotations, const struct run_options *options, struct error *err)
{
    for (int rate = 0; rate < PLAN_DISK_RATES; rate++) {
        const char *text = options->disk_rates[rate];
        char number[32];
        if (!text)
            continue;
        int64_t value = parse_option((enum plan_disk_rate)rate, text, err);
        if (value < 0)
            return -1;
        (void)snprintf(number, sizeof number, "%lld", (long long)value);
        if (compose_set(annotations, RATES[rate].annotation, json_string(number), err) < 0)
            return -1;
    }
    return 0;
}

int parse_disk_rates(struct plan *plan, const json_t *annotations, struct error *err)
{
    for (int rate = 0; rate < PLAN_DISK_RATES; rate++) {
        const char *text = NULL;
        if (json_read_string(annotations, "annotations", RATES[rate].annotation, &text, err) < 0)
            return -1;
        if (!text)
            continue;
        int64_t value = read_number(text);
        if (value < 1 || value > RATE_MAX)
            return json_read_refuse("annotations", RATES[rate].annotation, "a rate", err);
        plan->resources.disk_rates[rate] = value;
    }
    return 0;
}
