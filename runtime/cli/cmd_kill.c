/* hybrid kill: a signal to the first process of workloads. */
#include "signals.h"
#include "verbs.h"

struct settings {
    const char *signal;
};

static const struct settings defaults = { .signal = "KILL" };

static const struct cli_option options[] = {
    { .name = "signal",
      .letter = 's',
      .kind = CLI_TEXT,
      .argument = "SIGNAL",
      .help = "Name or number of the signal (default: KILL)",
      .offset = offsetof(struct settings, signal) },
    { 0 },
};

static int kill_one(const struct cli *cli, const char *name, const void *context, struct error *err)
{
    return workload_signal(cli, name, *(const int *)context, err);
}

static int run_kill(const struct cli *cli, const void *settings, char **operands, size_t count,
                    struct error *err)
{
    int signal = signal_parse(((const struct settings *)settings)->signal, "--signal", err);
    return signal < 0 ? -1 : workload_each(cli, operands, count, true, kill_one, &signal);
}

const struct verb verb_kill = {
    .name = "kill",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] NAME [NAME...]",
    .summary = "Send a signal to the first process of workloads",
    .examples = "  hybrid kill -s HUP web",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 1,
    .max_operands = -1,
    .run = run_kill,
};
