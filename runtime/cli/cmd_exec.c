/* hybrid exec: another command in a running workload. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "env.h"
#include "exec_options.h"
#include "io.h"
#include "runtime/engine/console.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/exec.h"
#include "runtime/engine/machine.h"
#include "runtime/launch/launch.h"
#include "runtime/launch/make_plan.h"
#include "runtime/launch/run_policy.h"
#include "runtime/launch/signals.h"
#include "runtime/launch/workload.h"
#include "runtime/monitor/exec_container.h"
#include "verbs.h"

struct settings {
    struct run_options run;
    struct option_list env, env_files;
    struct engine_exec_options engine;
    struct exec_changes changes;
    bool interactive, ignore_paused;
};

static const struct settings defaults = {
    .run = { .memory = -1, .memory_swap = -1, .pids_limit = -1 },
};

static const struct cli_option options[] = {
    CLI_OPTION_FLAG(struct settings, interactive, "interactive", 'i',
                    "Pass this standard input on"),
    CLI_OPTION_FLAG(struct settings, run.terminal, "tty", 't', "Give the command a terminal"),
    CLI_OPTION(CLI_LIST, struct settings, env, "env", 'e', "NAME[=VALUE]",
               "Set a variable; without value, to the one it has here"),
    CLI_OPTION(CLI_LIST, struct settings, env_files, "env-file", 0, "FILE",
               "Read variables from a file, one a line"),
    CLI_OPTION(CLI_TEXT, struct settings, run.user, "user", 'u', "USER[:GROUP]",
               "Run as this user (default: the workload's)"),
    CLI_OPTION(CLI_TEXT, struct settings, run.workdir, "workdir", 'w', "DIR",
               "Working directory (default: the workload's)"),
    CLI_OPTION(CLI_TEXT, struct settings, run.workdir, "cwd", 0, "DIR", "The same as --workdir"),
    CLI_OPTION(CLI_LIST, struct settings, changes.groups, "additional-gids", 'g', "GID[,GID...]",
               "Groups that it is in as well"),
    CLI_OPTION_FLAG(struct settings, changes.no_new_privileges, "no-new-privs", 0,
                    "It can gain no privileges by what it executes"),
    CLI_OPTION(CLI_LIST, struct settings, changes.capabilities, "cap", 'c', "CAPABILITY",
               "One more capability (in a container of a bundle)"),
    CLI_OPTION(CLI_TEXT, struct settings, changes.apparmor, "apparmor", 0, "PROFILE",
               "Its AppArmor profile (in a container of a bundle)"),
    CLI_OPTION(CLI_TEXT, struct settings, changes.label, "process-label", 0, "LABEL",
               "Its SELinux label (in a container of a bundle)"),
    CLI_OPTION(CLI_TEXT, struct settings, changes.cgroup, "cgroup", 0, "PATH",
               "Join a cgroup below the container's (in a container of a bundle)"),
    CLI_OPTION_FLAG(struct settings, ignore_paused, "ignore-paused", 0,
                    "If the workload is paused: wait until it is resumed, instead of failing"),
    CLI_OPTION_FLAG(struct settings, engine.detach, "detach", 'd',
                    "Do not wait for the command (in a container of a bundle)"),
    CLI_OPTION(CLI_TEXT, struct settings, engine.process, "process", 'p', "FILE",
               "Run the OCI process object in FILE (in a container of a bundle)"),
    CLI_OPTION(CLI_TEXT, struct settings, engine.pid_file, "pid-file", 0, "FILE",
               "Write the command's process id to FILE"),
    CLI_OPTION(CLI_TEXT, struct settings, engine.console_socket, "console-socket", 0, "PATH",
               "With --detach: send the terminal's master to this socket"),
    { .name = "preserve-fds",
      .kind = CLI_NUMBER,
      .argument = "N",
      .help = "Pass descriptors 3 to N+2 on to the command (not into a VM)",
      .offset = offsetof(struct settings, engine.preserve_fds),
      .maximum = 1024 },
    CLI_OPTION_REFUSED("privileged", 0, "a command has at most the capabilities of its workload"),
    { 0 },
};

struct exec {
    const struct runtime *runtime;
    const struct settings *settings;
    struct state state;
    struct env env;
    struct plan base, plan;
    uint8_t *filter;
    char *process_text;
};

static bool is_machine(const struct exec *exec)
{
    return strcmp(exec->state.isolation, "vm") == 0;
}

/* Turns the workload's configuration and the options into the process's own plan. */
static int compose(struct exec *exec, char **operands, struct error *err)
{
    _cleanup_free_ char *config_text = state_read_config(exec->runtime->root, exec->state.id, err);
    struct run_options run = exec->settings->run;
    if (!config_text ||
        env_read(&exec->settings->env, &exec->settings->env_files, &exec->env, err) < 0 ||
        make_plan_from_text(exec->runtime, config_text, exec->state.bundle ? 0 : PLAN_PARSE_OWN,
                            &exec->base, &exec->filter, err) < 0)
        return -1;
    run.env = exec->env.list;
    run.command = (const char *const *)(operands + 1);
    /* In a bundle's own process a user name is for Windows; -u is an extension of ours. */
    bool own = !exec->state.bundle || run.user;
    const char *file = exec->settings->engine.process;
    const struct exec_changes *changes = &exec->settings->changes;
    json_t *process = file ? engine_read_json(file, "--process", err)
                           : oci_compose_process(exec->base.document, &run, err);
    if (!process)
        return -1;
    const uint64_t named = exec_changes_capabilities(changes);
    if (exec_changes_make(changes, process, err) < 0 ||
        ((file || named) &&
         run_policy_enforce_process(exec->runtime, exec->base.document, named, process, err) < 0)) {
        json_decref(process);
        return -1;
    }
    if (is_machine(exec))
        (void)machine_leave_out_profile(process);
    exec->process_text = json_dumps(process, JSON_COMPACT);
    if (plan_parse_process(process, &exec->base, own && !file ? PLAN_PARSE_OWN : 0, &exec->plan,
                           err) < 0)
        return -1;
    exec->plan.filter = exec->base.filter;
    exec->plan.filter_length = exec->base.filter_length;
    exec->plan.filter_flags = exec->base.filter_flags;
    return exec->process_text ? 0 : error_set(err, EXIT_OURS, "out of memory");
}

static int write_pid_file(const void *context, pid_t pid, struct error *err)
{
    return pid_file_write(context, pid, err);
}

static int exec_in_container(struct exec *exec, struct error *err)
{
    const struct engine_exec_options *engine = &exec->settings->engine;
    char cgroup[PATH_MAX];
    if (exec_changes_cgroup(&exec->settings->changes, &exec->state, cgroup, err) < 0)
        return -1;
    _cleanup_close_ int pidfd = engine_open_process(&exec->state, err);
    if (pidfd < 0)
        return -1;
    const struct workload_join join = {
        .id = exec->state.id,
        .bundle = exec->state.bundle,
        .pid = exec->state.pid,
        .pidfd = pidfd,
        .cgroup = cgroup,
        .base = &exec->base,
        .keep_fds = (int)engine->preserve_fds,
        .started = engine->pid_file ? write_pid_file : NULL,
        .started_context = engine->pid_file,
    };
    if (engine->detach)
        return engine_exec_detached(&join, &exec->plan, engine, err);
    struct launch launch = {
        .lock = -1,
        .quiet = true, /* the workload's own end is told where it was run */
        .request = { .ops = &exec_container_ops,
                     .spec = { .id = exec->state.id, .plan = &exec->plan, .join = &join },
                     .interactive = exec->settings->interactive },
    };
    return launch_run(exec->runtime, &launch, err);
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
    if (file >= 0 && exec->settings->engine.detach)
        return machine_exec_detached(exec->runtime, &exec->state, file, &exec->plan,
                                     &exec->settings->engine, err);
    _cleanup_close_ int socket =
        file < 0 ? -1 : workload_connect(exec->runtime, exec->state.id, err);
    if (socket < 0)
        return -1;
    return launch_exec_remote(exec->runtime, socket, file, &exec->plan, exec->settings->interactive,
                              -1, err);
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

/* What the state of the workload and the options allow. */
static int check(const struct exec *exec, size_t count, struct error *err)
{
    const struct state *state = &exec->state;
    const struct engine_exec_options *engine = &exec->settings->engine;
    bool engines_only = engine->process || engine->detach;
    if (strcmp(state->isolation, "sandbox") == 0)
        return error_set(err, EXIT_OURS,
                         "%s is a pod's sandbox, in which nothing is ever executed; exec in the "
                         "pod's container",
                         state->id);
    if (state->status == STATE_PAUSED)
        return error_set(err, EXIT_OURS, "%s is paused; resume it first: hybrid resume %s",
                         state->id, state->id);
    if (state->bundle && state->status == STATE_STOPPED)
        return error_set(err, EXIT_OURS, "%s: container not running", state->id);
    if (!state->bundle && state->status != STATE_RUNNING)
        return workload_refuse_stopped(state->id, err);
    if (engines_only && !state->bundle)
        return error_set(
            err, EXIT_OURS,
            "--detach and --process are for containers of bundles: here a command lives "
            "as long as the `hybrid exec` that watches over it");
    if (!engine->detach && engine->console_socket)
        return error_set(err, EXIT_OURS, "--console-socket needs --detach");
    if (is_machine(exec) && engine->preserve_fds > 0)
        return error_set(err, EXIT_OURS, "--preserve-fds: descriptors cannot be passed into a VM");
    if (is_machine(exec) && engine->pid_file && !engine->detach)
        return error_set(err, EXIT_OURS,
                         "--pid-file: the process is one of a VM, and has no number here; with "
                         "--detach one of this machine stands for it");
    if ((engine->process != NULL) == (count > 1))
        return error_set(err, EXIT_OURS,
                         engine->process ? "--process: it has the command, give none"
                                         : "exec: which command?");
    return exec_changes_check(&exec->settings->changes, state, engine->process != NULL, err);
}

/*
 * What enters a frozen cgroup stops there, out of everybody's reach, and a guest that is paused
 * answers nothing: whoever does not mind the pause waits for its end out here.
 */
static int read_state(struct exec *exec, const char *name, struct error *err)
{
    const struct timespec pause = { .tv_nsec = 20L * 1000 * 1000 };
    for (;;) {
        if (workload_read(exec->runtime, name, &exec->state, err) < 0)
            return -1;
        if (exec->state.status != STATE_PAUSED || !exec->settings->ignore_paused)
            return 0;
        state_free(&exec->state);
        (void)nanosleep(&pause, NULL);
    }
}

static int run_exec(const struct cli *cli, const void *settings, char **operands, size_t count,
                    struct error *err)
{
    struct exec exec = { .runtime = &cli->runtime, .settings = settings };
    int status = preserved_fds_check("--preserve-fds", 3, exec.settings->engine.preserve_fds, err);
    if (status == 0)
        status = read_state(&exec, operands[0], err);
    if (status == 0)
        status = check(&exec, count, err);
    if (status == 0)
        status = compose(&exec, operands, err);
    if (status == 0)
        status = is_machine(&exec) ? exec_in_machine(&exec, err) : exec_in_container(&exec, err);
    free_exec(&exec);
    return status;
}

const struct verb verb_exec = {
    .name = "exec",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] NAME COMMAND [ARG...] | --process=FILE [OPTIONS] ID",
    .summary = "Run another command in a running workload, container or virtual machine",
    .description =
        "It has the workload's files, limits, capabilities and seccomp filter. The exit\n"
        "status is that of the command, as with `hybrid run`.",
    .examples = "  hybrid exec web ps\n"
                "  hybrid exec -it -u nobody -w /tmp web sh",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 1,
    .max_operands = -1,
    .operand_ends_options = true,
    .joins_workload = true,
    .single_dash = true,
    .run = run_exec,
};
