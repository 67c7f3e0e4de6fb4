/* hybrid pause: all processes of a container stop where they are. */
#include "runtime/engine/engine.h"
#include "verbs.h"

static int run_pause(const struct cli *cli, const void *settings, char **operands, size_t count,
                     struct error *err)
{
    (void)settings, (void)count;
    return engine_pause(&cli->runtime, operands[0], true, err);
}

const struct verb verb_pause = {
    .name = "pause",
    .group = CLI_GROUP_ENGINES,
    .synopsis = "ID",
    .summary = "Stop all processes of a container of a bundle where they are",
    .min_operands = 1,
    .max_operands = 1,
    .single_dash = true,
    .run = run_pause,
};
