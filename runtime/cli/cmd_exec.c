/* hybrid exec: another command in a running workload. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "env.h"
#include "io.h"
#include "runtime/monitor/exec_container.h"
#include "signals.h"
#include "verbs.h"
#include "workload.h"

struct settings {
    struct run_options run;
    struct option_list env, env_files;
    bool interactive;
};

static const struct settings defaults = {
    .run = { .memory = -1, .memory_swap = -1, .pids_limit = -1 },
};

static const char no_detach[] =
    "a command lives as long as the `hybrid exec` that watches over it; put it into the background "
    "of the shell with &";

static const struct cli_option options[] = {
    { .name = "interactive",
      .letter = 'i',
      .kind = CLI_FLAG,
      .help = "Pass this standard input on",
      .offset = offsetof(struct settings, interactive) },
    { .name = "tty",
      .letter = 't',
      .kind = CLI_FLAG,
      .help = "Give the command a terminal",
      .offset = offsetof(struct settings, run.terminal) },
    { .name = "env",
      .letter = 'e',
      .kind = CLI_LIST,
      .argument = "NAME[=VALUE]",
      .help = "Set a variable; without value, to the one it has here",
      .offset = offsetof(struct settings, env) },
    { .name = "env-file",
      .kind = CLI_LIST,
      .argument = "FILE",
      .help = "Read variables from a file, one a line",
      .offset = offsetof(struct settings, env_files) },
    { .name = "user",
      .letter = 'u',
      .kind = CLI_TEXT,
      .argument = "USER[:GROUP]",
      .help = "Run as this user (default: the workload's)",
      .offset = offsetof(struct settings, run.user) },
    { .name = "workdir",
      .letter = 'w',
      .kind = CLI_TEXT,
      .argument = "DIR",
      .help = "Working directory (default: the workload's)",
      .offset = offsetof(struct settings, run.workdir) },
    { .name = "detach", .letter = 'd', .kind = CLI_REFUSED, .help = no_detach },
    { .name = "privileged",
      .kind = CLI_REFUSED,
      .help = "a command has at most the capabilities of its workload" },
    { 0 },
};

struct exec {
    const struct cli *cli;
    const struct settings *settings;
    struct state state;
    struct env env;
    struct plan base, plan;
    uint8_t *filter;
    char *process_text;
};

/* Turns the workload's configuration and the options into the process's own plan. */
static int compose(struct exec *exec, char **operands, struct error *err)
{
    _cleanup_free_ char *config_text = state_read_config(exec->cli->root, exec->state.id, err);
    struct run_options run = exec->settings->run;
    if (!config_text ||
        env_read(&exec->settings->env, &exec->settings->env_files, &exec->env, err) < 0 ||
        launch_load_plan(exec->cli, config_text, &exec->base, &exec->filter, err) < 0)
        return -1;
    run.env = exec->env.list;
    run.command = (const char *const *)(operands + 1);
    json_t *process = oci_compose_process(exec->base.document, &run, err);
    if (!process)
        return -1;
    exec->process_text = json_dumps(process, JSON_COMPACT);
    if (plan_parse_process(process, &exec->base, PLAN_PARSE_OWN, &exec->plan, err) < 0)
        return -1;
    exec->plan.filter = exec->base.filter;
    exec->plan.filter_length = exec->base.filter_length;
    exec->plan.filter_flags = exec->base.filter_flags;
    return exec->process_text ? 0 : error_set(err, EXIT_OURS, "out of memory");
}

/* A descriptor of the process that cannot come to mean another one. */
static int open_process(const struct state *state, struct error *err)
{
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, state->pid, 0);
    if (pidfd < 0 && errno != ESRCH)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open process %d", state->pid);
    if (pidfd < 0 || state_process_start(state->pid) != state->pid_start)
        return workload_refuse_stopped(state->id, err);
    return take_fd(&pidfd);
}

static int exec_in_container(struct exec *exec, struct error *err)
{
    _cleanup_close_ int pidfd = open_process(&exec->state, err);
    if (pidfd < 0)
        return -1;
    const struct workload_join join = { .pidfd = pidfd,
                                        .cgroup = exec->state.cgroup ? exec->state.cgroup : "" };
    struct launch launch = {
        .lock = -1,
        .quiet = true, /* the workload's own end is told where it was run */
        .request = { .ops = &exec_container_ops,
                     .spec = { .id = exec->state.id, .plan = &exec->plan, .join = &join },
                     .interactive = exec->settings->interactive },
    };
    return launch_run(exec->cli, &launch, err);
}

/* The process object as a file: it may be longer than a message can be. */
static int make_process_file(const char *text, struct error *err)
{
    _cleanup_close_ int fd = memfd_create("process.json", MFD_CLOEXEC);
    if (fd < 0 || io_write_all(fd, text, strlen(text)) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot pass the command on");
    return take_fd(&fd);
}

static int exec_in_machine(struct exec *exec, struct error *err)
{
    _cleanup_close_ int file = make_process_file(exec->process_text, err);
    _cleanup_close_ int socket = file < 0 ? -1 : workload_connect(exec->cli, exec->state.id, err);
    if (socket < 0)
        return -1;
    return launch_exec_remote(socket, file, &exec->plan, exec->settings->interactive, err);
}

static void free_exec(struct exec *exec)
{
    plan_free(&exec->plan);
    plan_free(&exec->base);
    free(exec->filter);
    free(exec->process_text);
    env_free(&exec->env);
    state_free(&exec->state);
}

static int run_exec(const struct cli *cli, const void *settings, char **operands, size_t count,
                    struct error *err)
{
    (void)count;
    struct exec exec = { .cli = cli, .settings = settings };
    int status = workload_read(cli, operands[0], &exec.state, err);
    if (status == 0 && exec.state.status != STATE_RUNNING)
        status = workload_refuse_stopped(operands[0], err);
    if (status == 0)
        status = compose(&exec, operands, err);
    if (status == 0)
        status = strcmp(exec.state.isolation, "vm") == 0 ? exec_in_machine(&exec, err)
                                                         : exec_in_container(&exec, err);
    free_exec(&exec);
    return status;
}

const struct verb verb_exec = {
    .name = "exec",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] NAME COMMAND [ARG...]",
    .summary = "Run another command in a running workload, container or virtual machine",
    .description =
        "It has the workload's files, limits, capabilities and seccomp filter. The exit\n"
        "status is that of the command, as with `hybrid run`.",
    .examples = "  hybrid exec web ps\n"
                "  hybrid exec -it -u nobody -w /tmp web sh",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 2,
    .max_operands = -1,
    .operand_ends_options = true,
    .joins_workload = true,
    .run = run_exec,
};
