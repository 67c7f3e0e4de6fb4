/* hybrid resume: the processes of a paused workload go on. */
#include "runtime/engine/engine.h"
#include "runtime/launch/change.h"
#include "verbs.h"

static int run_resume(const struct cli *cli, const void *settings, char **operands, size_t count,
                      struct error *err)
{
    (void)settings, (void)count;
    if (engine_owns(&cli->runtime, operands[0]))
        return engine_pause(&cli->runtime, operands[0], false, err);
    return workload_pause(&cli->runtime, operands[0], false, err);
}

const struct verb verb_resume = {
    .name = "resume",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "NAME",
    .summary = "Let the processes of a paused workload go on",
    .min_operands = 1,
    .max_operands = 1,
    .single_dash = true,
    .run = run_resume,
};
