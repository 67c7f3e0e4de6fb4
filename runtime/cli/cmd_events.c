/*
 * hybrid events: counters of a container as JSON lines, once or at intervals, and a line when its
 * memory ran out. The form is runc's, which engines parse.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/engine/engine.h"
#include "verbs.h"

struct settings {
    bool stats;
    const char *interval;
};

static const struct settings defaults = { .interval = "5s" };

static const struct cli_option options[] = {
    CLI_OPTION_FLAG(struct settings, stats, "stats", 0, "Print the counters once and end"),
    CLI_OPTION(CLI_TEXT, struct settings, interval, "interval", 0, "TIME",
               "Time between counters, such as 500ms or 10s (default: 5s)"),
    { 0 },
};

enum { LONGEST_INTERVAL_MS = 24 * 60 * 60 * 1000, NANOSECONDS_A_MICROSECOND = 1000 };

/* Where each number of the output comes from. */
static const struct counter {
    const char *object, *inner, *key; /* inner NULL: a member of object itself */
    const char *controller;
    const char *v1_file, *v1_key; /* key NULL: the file holds one number */
    const char *v2_file, *v2_key;
    uint64_t v2_factor;
} counters[] = {
    { "cpu", "usage", "total", "cpuacct", "cpuacct.usage", NULL, "cpu.stat", "usage_usec",
      NANOSECONDS_A_MICROSECOND },
    { "cpu", "usage", "kernel", "cpuacct", "cpuacct.usage_sys", NULL, "cpu.stat", "system_usec",
      NANOSECONDS_A_MICROSECOND },
    { "cpu", "usage", "user", "cpuacct", "cpuacct.usage_user", NULL, "cpu.stat", "user_usec",
      NANOSECONDS_A_MICROSECOND },
    { "cpu", "throttling", "periods", "cpu", "cpu.stat", "nr_periods", "cpu.stat", "nr_periods",
      1 },
    { "cpu", "throttling", "throttledPeriods", "cpu", "cpu.stat", "nr_throttled", "cpu.stat",
      "nr_throttled", 1 },
    { "cpu", "throttling", "throttledTime", "cpu", "cpu.stat", "throttled_time", "cpu.stat",
      "throttled_usec", NANOSECONDS_A_MICROSECOND },
    { "memory", NULL, "cache", "memory", "memory.stat", "cache", "memory.stat", "file", 1 },
    { "memory", "usage", "usage", "memory", "memory.usage_in_bytes", NULL, "memory.current", NULL,
      1 },
    { "memory", "usage", "max", "memory", "memory.max_usage_in_bytes", NULL, "memory.peak", NULL,
      1 },
    { "memory", "usage", "limit", "memory", "memory.limit_in_bytes", NULL, "memory.max", NULL, 1 },
    { "memory", "usage", "failcnt", "memory", "memory.failcnt", NULL, "memory.events", "max", 1 },
    { "memory", "swap", "usage", "memory", "memory.memsw.usage_in_bytes", NULL,
      "memory.swap.current", NULL, 1 },
    { "memory", "swap", "limit", "memory", "memory.memsw.limit_in_bytes", NULL, "memory.swap.max",
      NULL, 1 },
    { "memory", "raw", "anon", "memory", "memory.stat", "rss", "memory.stat", "anon", 1 },
    { "memory", "raw", "inactive_file", "memory", "memory.stat", "inactive_file", "memory.stat",
      "inactive_file", 1 },
    { "memory", "raw", "active_file", "memory", "memory.stat", "active_file", "memory.stat",
      "active_file", 1 },
    { "pids", NULL, "current", "pids", "pids.current", NULL, "pids.current", NULL, 1 },
    { "pids", NULL, "limit", "pids", "pids.max", NULL, "pids.max", NULL, 1 },
};

static json_t *member(json_t *object, const char *name)
{
    if (!json_object_get(object, name))
        (void)json_object_set_new(object, name, json_object());
    return json_object_get(object, name);
}

/*
 * A counter that this host does not have is left out; "max" is the largest number, but of processes
 * no limit, as runc has it.
 */
static void add_counter(json_t *data, const struct cgroup *cgroup, const struct counter *counter)
{
    const struct cgroup_file file = { counter->controller, counter->v1_file, counter->v1_key,
                                      counter->v2_file,    counter->v2_key,  counter->v2_factor };
    uint64_t value;
    if (!cgroup_read_number(cgroup, &file, &value) ||
        (value == UINT64_MAX && strcmp(counter->object, "pids") == 0))
        return;
    json_t *object = member(data, counter->object);
    if (counter->inner)
        object = member(object, counter->inner);
    (void)json_object_set_new(object, counter->key,
                              json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

static void print_event(const struct cli *cli, const char *type, const char *id, json_t *data)
{
    json_t *event = json_pack("{s:s, s:s, s:o*}", "type", type, "id", id, "data", data);
    (void)json_dumpf(event, cli->out, JSON_COMPACT);
    (void)fputc('\n', cli->out);
    (void)fflush(cli->out);
    json_decref(event);
}

static void print_stats(const struct cli *cli, const char *id, const struct cgroup *cgroup)
{
    json_t *data = json_object();
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        add_counter(data, cgroup, &counters[i]);
    print_event(cli, "stats", id, data);
}

/* Go's notation: a number and ms, s, m or h. */
static int parse_interval(const char *text, int *milliseconds, struct error *err)
{
    static const struct {
        const char *name;
        int64_t milliseconds;
    } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };
    int64_t number = 0;
    size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; i < digits && number < LONGEST_INTERVAL_MS; i++)
        number = number * 10 + (text[i] - '0');
    for (size_t i = 0; digits > 0 && i < sizeof units / sizeof *units; i++) {
        int64_t total = number * units[i].milliseconds;
        if (strcmp(text + digits, units[i].name) != 0 || total < 1 || total > LONGEST_INTERVAL_MS)
            continue;
        *milliseconds = (int)total;
        return 0;
    }
    return error_set(err, EXIT_OURS, "--interval: \"%.40s\" is not a time such as 500ms or 10s",
                     text);
}

static int64_t milliseconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Until the container's first process has ended. */
static int follow(const struct cli *cli, const struct state *state, const struct cgroup *cgroup,
                  int interval, struct error *err)
{
    enum { LOOK_AGAIN_MS = 250 /* for a kill by the out-of-memory killer */ };
    _cleanup_close_ int pidfd = engine_open_process(state, err);
    if (pidfd < 0)
        return -1;
    uint64_t kills = cgroup_oom_kills(cgroup);
    int64_t next = milliseconds_now() + interval;
    for (;;) {
        int64_t left = next - milliseconds_now();
        struct pollfd end = { .fd = pidfd, .events = POLLIN };
        int ended = poll(&end, 1, left < 0 ? 0 : left < LOOK_AGAIN_MS ? (int)left : LOOK_AGAIN_MS);
        uint64_t seen = cgroup_oom_kills(cgroup);
        for (; kills < seen; kills++)
            print_event(cli, "oom", state->id, NULL);
        if (ended != 0)
            return ended < 0 && errno != EINTR
                       ? error_set_errno(err, EXIT_OURS, errno, "poll failed")
                       : 0;
        if (ferror(cli->out))
            return 0; /* told by main() */
        if (milliseconds_now() < next)
            continue;
        print_stats(cli, state->id, cgroup);
        next += interval;
    }
}

static int run_events(const struct cli *cli, const void *settings, char **operands, size_t count,
                      struct error *err)
{
    (void)count;
    const struct settings *chosen = settings;
    _cleanup_state_ struct state state = { 0 };
    int interval = 0;
    if (parse_interval(chosen->interval, &interval, err) < 0 ||
        state_read(cli->runtime.root, operands[0], &state, err) < 0)
        return -1;
    if (state.status == STATE_STOPPED)
        return error_set(err, EXIT_OURS, "%s: container not running", state.id);
    if (!state.cgroup || !*state.cgroup)
        return error_set(err, EXIT_OURS, "%s has no cgroup that would count", state.id);
    struct cgroup *cgroup = cgroup_open(state.cgroup, err);
    if (!cgroup)
        return -1;
    int result = 0;
    if (chosen->stats)
        print_stats(cli, state.id, cgroup);
    else
        result = follow(cli, &state, cgroup, interval, err);
    cgroup_close(cgroup);
    return result;
}

const struct verb verb_events = {
    .name = "events",
    .group = CLI_GROUP_ENGINES,
    .synopsis = "[OPTIONS] ID",
    .summary = "Print what a container uses, and when its memory runs out, as lines of JSON",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 1,
    .max_operands = 1,
    .single_dash = true,
    .run = run_events,
};
