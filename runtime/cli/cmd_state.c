/* hybrid state: the state of a container, as the OCI runtime specification has it. */
#include "cleanup.h"
#include "runtime/engine/engine.h"
#include "runtime/launch/workload.h"
#include "verbs.h"

static int run_state(const struct cli *cli, const void *settings, char **operands, size_t count,
                     struct error *err)
{
    (void)settings, (void)count;
    _cleanup_state_ struct state state = { 0 };
    if (workload_read(&cli->runtime, operands[0], &state, err) < 0)
        return -1;
    json_t *description = engine_describe(&cli->runtime, &state, err);
    if (!description)
        return -1;
    cli_print_json(cli->out, description);
    json_decref(description);
    return 0;
}

const struct verb verb_state = {
    .name = "state",
    .group = CLI_GROUP_ENGINES,
    .synopsis = "ID",
    .summary = "Print the state of a container as JSON",
    .min_operands = 1,
    .max_operands = 1,
    .single_dash = true,
    .run = run_state,
};
