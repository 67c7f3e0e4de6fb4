/*
 * How fast a workload may use its disks and networks: options, those of disks with Docker's names,
 * and annotations of our own in the configuration. Not linux.resources.blockIO: that names devices,
 * and what a workload's disks are differs with where and how it runs.
 */
#include <stdlib.h>
#include <string.h>

#include "compose_parts.h"
#include "json_read.h"
#include "parse_parts.h"

enum {
    DISK_BYTES_MIN = 4096, /* less is no page a second */
    NETWORK_BYTES_MIN = 64 * 1024,
    NETWORK_PACKETS_MIN = 64, /* less: a full frame, or one of 64 KiB, would block for seconds */
};

static const struct {
    const char *option, *annotation;
    const char *unit; /* of what is a number; NULL: bytes, and so a size */
    int64_t least;
} RATES[PLAN_RATES] = {
    [PLAN_DISK_READ_BYTES] = { "--device-read-bps", "hybrid.disk.readBps", NULL, DISK_BYTES_MIN },
    [PLAN_DISK_WRITE_BYTES] = { "--device-write-bps", "hybrid.disk.writeBps", NULL,
                                DISK_BYTES_MIN },
    [PLAN_DISK_READ_REQUESTS] = { "--device-read-iops", "hybrid.disk.readIops", "requests", 1 },
    [PLAN_DISK_WRITE_REQUESTS] = { "--device-write-iops", "hybrid.disk.writeIops", "requests", 1 },
    [PLAN_NETWORK_RECEIVE_BYTES] = { "--network-receive-bps", "hybrid.network.receiveBps", NULL,
                                     NETWORK_BYTES_MIN },
    [PLAN_NETWORK_SEND_BYTES] = { "--network-send-bps", "hybrid.network.sendBps", NULL,
                                  NETWORK_BYTES_MIN },
    [PLAN_NETWORK_RECEIVE_PACKETS] = { "--network-receive-pps", "hybrid.network.receivePps",
                                       "packets", NETWORK_PACKETS_MIN },
    [PLAN_NETWORK_SEND_PACKETS] = { "--network-send-pps", "hybrid.network.sendPps", "packets",
                                    NETWORK_PACKETS_MIN },
};

static const int64_t RATE_MAX = 1LL << 40;

const char *rate_option(enum plan_rate rate)
{
    return RATES[rate].option;
}

const char *rate_annotation(enum plan_rate rate)
{
    return RATES[rate].annotation;
}

/* Decimal digits only. -1: they are not, or too many. */
static int64_t read_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits < 14 && !text[digits] ? strtoll(text, NULL, 10) : -1;
}

static bool in_range(enum plan_rate rate, int64_t value)
{
    return value >= RATES[rate].least && value <= RATE_MAX;
}

enum { RANGE_SIZE = 80 };

/* "bytes a second, from 4096 to 1099511627776" */
static const char *describe_range(enum plan_rate rate, char text[RANGE_SIZE])
{
    const char *unit = RATES[rate].unit;
    (void)snprintf(text, RANGE_SIZE, "%s%s a second, from %lld to %lld", unit ? "a number of " : "",
                   unit ? unit : "bytes", (long long)RATES[rate].least, (long long)RATE_MAX);
    return text;
}

static int64_t parse_option(enum plan_rate rate, const char *text, struct error *err)
{
    const char *option = RATES[rate].option, *unit = RATES[rate].unit;
    if (rate < PLAN_DISK_RATES && strchr(text, ':'))
        return error_set(err, EXIT_OURS,
                         "%s \"%.80s\": a rate without a device, such as %s: it holds for all of "
                         "the workload's disks together",
                         option, text, unit ? "100" : "10m");
    int64_t value = unit ? read_number(text) : size_parse(text, option, err);
    if (!unit && value < 0)
        return -1;
    char range[RANGE_SIZE];
    if (in_range(rate, value))
        return value;
    return error_set(err, EXIT_OURS, "%s \"%.80s\": %s", option, text, describe_range(rate, range));
}

int compose_rates(json_t *annotations, const struct run_options *options, struct error *err)
{
    for (int rate = 0; rate < PLAN_RATES; rate++) {
        const char *text = options->rates[rate];
        char number[32];
        if (!text)
            continue;
        int64_t value = parse_option((enum plan_rate)rate, text, err);
        if (value < 0)
            return -1;
        (void)snprintf(number, sizeof number, "%lld", (long long)value);
        if (compose_set(annotations, RATES[rate].annotation, json_string(number), err) < 0)
            return -1;
    }
    return 0;
}

int refuse_disk_rates(const json_t *annotations, struct error *err)
{
    for (int rate = 0; rate < PLAN_DISK_RATES; rate++) {
        if (json_object_get(annotations, RATES[rate].annotation))
            return error_set(err, EXIT_OURS,
                             "annotations.%s: a bundle's files are directories of the host, on "
                             "which hybrid has no disk to limit; name their devices in "
                             "linux.resources.blockIO",
                             RATES[rate].annotation);
    }
    return 0;
}

int parse_rates(struct plan *plan, const json_t *annotations, enum plan_rate first,
                struct error *err)
{
    for (int rate = (int)first; rate < PLAN_RATES; rate++) {
        const char *text = NULL;
        if (json_read_string(annotations, "annotations", RATES[rate].annotation, &text, err) < 0)
            return -1;
        if (!text)
            continue;
        int64_t value = read_number(text);
        char range[RANGE_SIZE];
        if (!in_range((enum plan_rate)rate, value))
            return json_read_refuse("annotations", RATES[rate].annotation,
                                    describe_range((enum plan_rate)rate, range), err);
        plan->resources.rates[rate] = value;
    }
    return 0;
}
