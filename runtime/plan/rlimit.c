#include "rlimit.h"

#include <strings.h>
#include <sys/resource.h>

#include "compose.h"

static const struct {
    const char *name;
    int resource;
} limits[] = {
    { "RLIMIT_AS", RLIMIT_AS },
    { "RLIMIT_CORE", RLIMIT_CORE },
    { "RLIMIT_CPU", RLIMIT_CPU },
    { "RLIMIT_DATA", RLIMIT_DATA },
    { "RLIMIT_FSIZE", RLIMIT_FSIZE },
    { "RLIMIT_LOCKS", RLIMIT_LOCKS },
    { "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK },
    { "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE },
    { "RLIMIT_NICE", RLIMIT_NICE },
    { "RLIMIT_NOFILE", RLIMIT_NOFILE },
    { "RLIMIT_NPROC", RLIMIT_NPROC },
    { "RLIMIT_RSS", RLIMIT_RSS },
    { "RLIMIT_RTPRIO", RLIMIT_RTPRIO },
    { "RLIMIT_RTTIME", RLIMIT_RTTIME },
    { "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
    { "RLIMIT_STACK", RLIMIT_STACK },
};

enum { LIMIT_COUNT = sizeof limits / sizeof *limits, PREFIX = sizeof "RLIMIT_" - 1 };

int rlimit_from_name(const char *name)
{
    for (int i = 0; i < LIMIT_COUNT; i++)
        if (strcmp(name, limits[i].name) == 0)
            return limits[i].resource;
    return -1;
}

const char *rlimit_name(int resource)
{
    for (int i = 0; i < LIMIT_COUNT; i++)
        if (resource == limits[i].resource)
            return limits[i].name;
    return NULL;
}

static int resource_of_option(const char *text, size_t length, struct plan_rlimit *limit,
                              struct error *err)
{
    char name[32] = "";
    if (length < sizeof name)
        memcpy(name, text, length);
    const char *short_names[LIMIT_COUNT + 1] = { NULL };
    for (int i = 0; i < LIMIT_COUNT; i++) {
        short_names[i] = limits[i].name + PREFIX;
        if (strcasecmp(name, short_names[i]) == 0) {
            limit->resource = limits[i].resource;
            limit->name = limits[i].name;
            return 0;
        }
    }
    const char *near = nearest_name(name, short_names);
    char hint[32] = "nofile";
    for (size_t i = 0; near && i <= strlen(near); i++)
        hint[i] = (char)(near[i] | (near[i] ? 0x20 : 0));
    return error_set(err, EXIT_OURS, "--ulimit %s: unknown limit; %s %s", text,
                     near ? "did you mean" : "one of them is", hint);
}

/* A number, or -1 for none, up to `end`. Returns 0 or -1. */
static int limit_value(const char *text, const char *end, uint64_t *value)
{
    if (end - text == 2 && memcmp(text, "-1", 2) == 0) {
        *value = RLIM_INFINITY;
        return 0;
    }
    *value = 0;
    const char *at = text;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*at - '0'), value))
            return -1;
    return at == end && end > text && *value < INT64_MAX ? 0 : -1;
}

int rlimit_parse(const char *text, struct plan_rlimit *limit, struct error *err)
{
    const char *equals = strchr(text, '=');
    if (!equals)
        return error_set(err, EXIT_OURS,
                         "--ulimit %s: no value; write NAME=SOFT[:HARD], such as "
                         "nofile=1024:2048",
                         text);
    if (resource_of_option(text, (size_t)(equals - text), limit, err) < 0)
        return -1;
    const char *soft = equals + 1;
    const char *end = soft + strlen(soft);
    const char *colon = strchr(soft, ':');
    if (limit_value(soft, colon ? colon : end, &limit->soft) < 0 ||
        limit_value(colon ? colon + 1 : soft, end, &limit->hard) < 0)
        return error_set(err, EXIT_OURS,
                         "--ulimit %s: SOFT and HARD are whole numbers, or -1 for "
                         "no limit",
                         text);
    if (limit->soft > limit->hard)
        return error_set(err, EXIT_OURS, "--ulimit %s: the soft limit is above the hard limit",
                         text);
    return 0;
}
