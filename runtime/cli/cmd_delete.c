/* hybrid delete: a container of a bundle that has ended, for engines. */
#include "runtime/engine/engine.h"
#include "verbs.h"

struct settings {
    bool force;
};

static const struct cli_option options[] = {
    CLI_OPTION_FLAG(struct settings, force, "force", 'f',
                    "Kill it first if it runs; an unknown id is no error"),
    { 0 },
};

static int run_delete(const struct cli *cli, const void *settings, char **operands, size_t count,
                      struct error *err)
{
    (void)count;
    return engine_delete(&cli->runtime, operands[0], ((const struct settings *)settings)->force,
                         err);
}

const struct verb verb_delete = {
    .name = "delete",
    .group = CLI_GROUP_ENGINES,
    .synopsis = "[OPTIONS] ID",
    .summary = "Delete a container of a bundle that has stopped",
    .examples = "  hybrid delete --force web",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = 1,
    .single_dash = true,
    .run = run_delete,
};
