/* hybrid create: a container from an OCI bundle, for engines. */
#include "runtime/engine/engine.h"
#include "runtime/launch/workload.h"
#include "verbs.h"

struct settings {
    struct engine_create_options create;
};

static const struct settings defaults = { .create = { .bundle = "." } };

static const struct cli_option options[] = {
    CLI_OPTION(CLI_TEXT, struct settings, create.bundle, "bundle", 'b', "DIR",
               "The bundle: config.json and the root file system (default: .)"),
    CLI_OPTION(CLI_TEXT, struct settings, create.pid_file, "pid-file", 0, "FILE",
               "Write the number of the container's first process to FILE"),
    CLI_OPTION(CLI_TEXT, struct settings, create.console_socket, "console-socket", 0, "PATH",
               "Send the terminal's master to this socket"),
    { .name = "preserve-fds",
      .kind = CLI_NUMBER,
      .argument = "N",
      .help = "Pass descriptors 3 to N+2 on to the command",
      .offset = offsetof(struct settings, create.preserve_fds),
      .maximum = 1024 },
    CLI_OPTION_FLAG(struct settings, create.no_pivot, "no-pivot", 0,
                    "Accepted; pivot_root is used everywhere, also on an initramfs"),
    CLI_OPTION_FLAG(struct settings, create.no_new_keyring, "no-new-keyring", 0,
                    "Keep the caller's session keyring"),
    { 0 },
};

static int check_create(const struct cli *cli, const void *settings, struct error *err)
{
    (void)settings;
    return workload_check_root(&cli->runtime, err);
}

static int run_create(const struct cli *cli, const void *settings, char **operands, size_t count,
                      struct error *err)
{
    (void)count;
    const struct settings *chosen = settings;
    return engine_create(&cli->runtime, operands[0], &chosen->create, err);
}

const struct verb verb_create = {
    .name = "create",
    .group = CLI_GROUP_ENGINES,
    .synopsis = "[OPTIONS] ID",
    .summary = "Create a container from an OCI bundle, which then waits for its start",
    .examples = "  hybrid create --bundle /run/bundle --pid-file /run/web.pid web",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 1,
    .max_operands = 1,
    .single_dash = true,
    .joins_workload = true,
    .check = check_create,
    .run = run_create,
};
