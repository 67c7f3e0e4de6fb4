/* hybrid pause: all processes of a workload stop where they are. */
#include "runtime/engine/engine.h"
#include "runtime/launch/change.h"
#include "verbs.h"

static int run_pause(const struct cli *cli, const void *settings, char **operands, size_t count,
                     struct error *err)
{
    (void)settings, (void)count;
    if (engine_owns(&cli->runtime, operands[0]))
        return engine_pause(&cli->runtime, operands[0], true, err);
    return workload_pause(&cli->runtime, operands[0], true, err);
}

const struct verb verb_pause = {
    .name = "pause",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "NAME",
    .summary = "Stop all processes of a workload where they are",
    .description =
        "They keep their memory and use no processor. A VM stands still as a whole: its processes "
        "on\n"
        "the host are stopped, and its clock has gone on when it is resumed. A paused workload can "
        "be\n"
        "killed and removed; other signals reach it when it is resumed.",
    .examples = "  hybrid pause web; hybrid resume web",
    .min_operands = 1,
    .max_operands = 1,
    .single_dash = true,
    .run = run_pause,
};
