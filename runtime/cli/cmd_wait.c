/* hybrid wait: the exit status of workloads, once they have ended. */
#include "runtime/launch/signals.h"
#include "verbs.h"

static int wait_one(const struct cli *cli, const char *name, const void *context, struct error *err)
{
    (void)context;
    int status = workload_wait(&cli->runtime, name, err);
    if (status < 0)
        return -1;
    (void)fprintf(cli->out, "%d\n", status);
    (void)fflush(cli->out);
    return 0;
}

static int run_wait(const struct cli *cli, const void *settings, char **operands, size_t count,
                    struct error *err)
{
    (void)settings, (void)err;
    return cli_each(cli, operands, count, false, wait_one, NULL);
}

const struct verb verb_wait = {
    .name = "wait",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "NAME [NAME...]",
    .summary = "Wait until workloads have ended and print their exit statuses",
    .min_operands = 1,
    .max_operands = -1,
    .run = run_wait,
};
