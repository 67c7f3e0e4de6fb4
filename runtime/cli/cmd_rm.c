/* hybrid rm: workloads that have stopped, with what they wrote. */
#include <signal.h>

#include "cleanup.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/salvage.h"
#include "runtime/launch/signals.h"
#include "verbs.h"

struct settings {
    bool force;
};

static const struct cli_option options[] = {
    CLI_OPTION_FLAG(struct settings, force, "force", 'f',
                    "Kill running workloads first; unknown names are no error"),
    CLI_OPTION_REFUSED("volumes", 'v', "there are no volumes yet"),
    CLI_OPTION_REFUSED("link", 'l', "there are no links"),
    { 0 },
};

/* Returns 0, 1 if it went by itself (--rm), or -1 with *err. */
static int end_running(const struct cli *cli, const char *name, bool force, struct error *err)
{
    _cleanup_state_ struct state state = { 0 };
    if (workload_read(&cli->runtime, name, &state, err) < 0)
        return -1;
    if (state.status == STATE_STOPPED)
        return 0;
    if (!force)
        return error_set(err, EXIT_OURS,
                         "%s is running; stop it first (hybrid stop %s), or kill and "
                         "remove it: hybrid rm -f %s",
                         name, name, name);
    const struct stop_options kill = { .signal = SIGKILL, .seconds = -1 };
    if (workload_stop(&cli->runtime, name, &kill, err) < 0)
        return -1;
    return state.remove ? 1 : 0;
}

static int remove_present(const struct cli *cli, const char *name, bool force, struct error *err)
{
    int salvaged = force ? engine_salvage(&cli->runtime, name, err) : 1;
    if (salvaged != 1)
        return salvaged;
    if (engine_owns(&cli->runtime, name))
        return engine_delete(&cli->runtime, name, force, err);
    int ended = end_running(cli, name, force, err);
    if (ended != 0)
        return ended < 0 ? -1 : 0;
    _cleanup_close_ int lock = -1;
    int locked = workload_lock_soon(&cli->runtime, name, &lock, err);
    if (locked > 0)
        return error_set(err, EXIT_OURS, "%s is being used by another command; try again", name);
    _cleanup_state_ struct state state = { 0 };
    if (locked < 0 || state_read_locked(cli->runtime.root, name, &state, err) < 0 ||
        (state.abandoned && workload_clean_up(&cli->runtime, &state, err) < 0))
        return -1;
    return workload_remove(&cli->runtime, &state, err);
}

static int remove_one(const struct cli *cli, const char *name, const void *context,
                      struct error *err)
{
    bool force = ((const struct settings *)context)->force;
    if (force && state_is_absent(cli->runtime.root, name))
        return state_sweep(cli->runtime.root, err); /* as docker rm -f */
    int result = remove_present(cli, name, force, err);
    /* What was to be done has been, by another command or by clearing up after a killed --rm. */
    return result < 0 && force && state_is_absent(cli->runtime.root, name) ? 0 : result;
}

static int run_rm(const struct cli *cli, const void *settings, char **operands, size_t count,
                  struct error *err)
{
    (void)err;
    return cli_each(cli, operands, count, true, remove_one, settings);
}

const struct verb verb_rm = {
    .name = "rm",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] NAME [NAME...]",
    .summary = "Remove stopped workloads and what they wrote",
    .examples = "  hybrid rm -f web",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = -1,
    .run = run_rm,
};
