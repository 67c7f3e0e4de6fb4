/* hybrid stop: the stop signal, and KILL when the time is over. */
#include <signal.h>
#include <stdlib.h>

#include "cleanup.h"
#include "runtime/launch/signals.h"
#include "verbs.h"

#define STOP_SIGNAL_KEY "org.opencontainers.image.stopSignal"

struct settings {
    int64_t seconds;
    const char *signal;
};

static const struct settings defaults = { .seconds = 10 };

static const struct cli_option options[] = {
    { .name = "time",
      .letter = 't',
      .kind = CLI_NUMBER,
      .argument = "SECONDS",
      .help = "How long to wait before KILL (default: 10; -1: for ever)",
      .offset = offsetof(struct settings, seconds),
      .minimum = -1,
      .maximum = 1000000000 },
    { .name = "signal",
      .letter = 's',
      .kind = CLI_TEXT,
      .argument = "SIGNAL",
      .help = "Signal to send first (default: that of the workload, or TERM)",
      .offset = offsetof(struct settings, signal) },
    { 0 },
};

/* What --stop-signal or the image said. */
static int configured_signal(const struct cli *cli, const char *name, struct error *err)
{
    _cleanup_state_ struct state state = { 0 };
    if (workload_read(&cli->runtime, name, &state, err) < 0)
        return -1;
    _cleanup_free_ char *text = state_read_config(cli->runtime.root, name, err);
    if (!text)
        return -1;
    json_t *config = json_loads(text, 0, NULL);
    const char *signal =
        json_string_value(json_object_get(json_object_get(config, "annotations"), STOP_SIGNAL_KEY));
    int number = signal ? signal_from_name(signal) : SIGTERM;
    json_decref(config);
    return number > 0 ? number : SIGTERM;
}

static int stop_one(const struct cli *cli, const char *name, const void *context, struct error *err)
{
    struct stop_options stop = *(const struct stop_options *)context;
    if (stop.signal == 0)
        stop.signal = configured_signal(cli, name, err);
    return stop.signal < 0 ? -1 : workload_stop(&cli->runtime, name, &stop, err);
}

static int run_stop(const struct cli *cli, const void *settings, char **operands, size_t count,
                    struct error *err)
{
    const struct settings *chosen = settings;
    struct stop_options stop = { .seconds = chosen->seconds };
    if (chosen->signal)
        stop.signal = signal_parse(chosen->signal, "--signal", err);
    return stop.signal < 0 ? -1 : cli_each(cli, operands, count, true, stop_one, &stop);
}

const struct verb verb_stop = {
    .name = "stop",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] NAME [NAME...]",
    .summary = "Stop workloads: their stop signal, then KILL",
    .description = "What a stopped workload wrote stays; `hybrid start` starts it again.",
    .examples = "  hybrid stop -t 30 web",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 1,
    .max_operands = -1,
    .run = run_stop,
};
