/* hybrid kill: a signal to the first process of workloads. */
#include <string.h>

#include "runtime/engine/engine.h"
#include "runtime/launch/signals.h"
#include "verbs.h"

struct settings {
    const char *signal; /* NULL: not given */
    bool all;
};

static const struct cli_option options[] = {
    CLI_OPTION(CLI_TEXT, struct settings, signal, "signal", 's', "SIGNAL",
               "Name or number of the signal (default: KILL)"),
    CLI_OPTION_FLAG(struct settings, all, "all", 'a',
                    "All processes of a container that was created from a bundle"),
    { 0 },
};

/* 0, as to kill(2): nothing is sent, but whether something could be is told. */
static int parse_signal(const char *text, const char *option, struct error *err)
{
    return strcmp(text, "0") == 0 ? 0 : signal_parse(text, option, err);
}

static int kill_one(const struct cli *cli, const char *name, const void *context, struct error *err)
{
    return workload_signal(&cli->runtime, name, *(const int *)context, err);
}

/* The form of OCI runtimes, ID [SIGNAL], for what was created by its form of create. */
static int kill_container(const struct cli *cli, const struct settings *settings, char **operands,
                          size_t count, struct error *err)
{
    if (count > 2 || (count == 2 && settings->signal))
        return error_set(err, EXIT_OURS,
                         "kill: %s was created from a bundle: one id and one signal, please",
                         operands[0]);
    const char *name = settings->signal ? settings->signal : count == 2 ? operands[1] : "TERM";
    int signal = parse_signal(name, "kill", err);
    return signal < 0 ? -1 : engine_signal(&cli->runtime, operands[0], signal, settings->all, err);
}

/*
 * `kill NAME SIGNAL`, the form of OCI runtimes, for what is none of their containers: the signal is
 * no second name, and NAME must not get another one. Returns 0 if it is something else, or -1.
 */
static int refuse_signal(const struct cli *cli, char **operands, size_t count, struct error *err)
{
    struct error ignored = { 0 };
    struct state state = { 0 };
    if (count != 2 || parse_signal(operands[1], "kill", &ignored) < 0)
        return 0;
    int found = workload_read(&cli->runtime, operands[1], &state, &ignored);
    state_free(&state);
    if (found == 0)
        return 0;
    found = workload_read(&cli->runtime, operands[0], &state, err);
    state_free(&state);
    if (found < 0)
        return -1;
    return error_set(err, EXIT_OURS, "kill: %s is a signal: hybrid kill --signal=%s %s",
                     operands[1], operands[1], operands[0]);
}

static int run_kill(const struct cli *cli, const void *settings, char **operands, size_t count,
                    struct error *err)
{
    const struct settings *chosen = settings;
    if (engine_owns(&cli->runtime, operands[0]))
        return kill_container(cli, chosen, operands, count, err);
    if (chosen->all)
        return error_set(
            err, EXIT_OURS,
            "--all is for containers that were created from a bundle; `hybrid kill` ends "
            "a workload with everything in it");
    if (refuse_signal(cli, operands, count, err) < 0)
        return -1;
    int signal = parse_signal(chosen->signal ? chosen->signal : "KILL", "--signal", err);
    return signal < 0 ? -1 : cli_each(cli, operands, count, true, kill_one, &signal);
}

const struct verb verb_kill = {
    .name = "kill",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] NAME [NAME...] | [--all] ID [SIGNAL]",
    .summary = "Send a signal to the first process of workloads",
    .description =
        "The second form is for a container that was created from a bundle; there the default\n"
        "is TERM, and KILL ends all of its processes if its pid namespace is not its own.\n"
        "Signal 0 is none: the exit status tells whether the workload runs.",
    .examples = "  hybrid kill -s HUP web",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = -1,
    .single_dash = true,
    .run = run_kill,
};
