/* hybrid: global options, and the way to the verb. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "log_file.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/engine/console.h"
#include "self.h"
#include "verbs.h"

struct globals {
    const char *root, *data, *policy, *log, *log_format, *cgroup_manager;
    bool version, debug, systemd_cgroup;
};

static const struct globals global_defaults = { .log_format = "text",
                                                .cgroup_manager = "cgroupfs" };

static const char *const log_formats[] = { "text", "json", NULL };
static const char *const cgroup_managers[] = { "cgroupfs", "systemd", "disabled", NULL };

static const struct cli_option global_options[] = {
    { "root", 0, CLI_TEXT, "DIR", "Runtime directory", offsetof(struct globals, root), NULL, 0, 0 },
    { "data", 0, CLI_TEXT, "DIR", "Data directory", offsetof(struct globals, data), NULL, 0, 0 },
    { "log", 0, CLI_TEXT, "FILE", "Append errors and warnings to this file",
      offsetof(struct globals, log), NULL, 0, 0 },
    { "log-format", 0, CLI_CHOICE, "FORMAT", "Form of the log",
      offsetof(struct globals, log_format), log_formats, 0, 0 },
    { "debug", 0, CLI_FLAG, NULL, "Log calls too", offsetof(struct globals, debug), NULL, 0, 0 },
    { "cgroup-manager", 0, CLI_CHOICE, "MANAGER", "Who makes cgroups",
      offsetof(struct globals, cgroup_manager), cgroup_managers, 0, 0 },
    { "systemd-cgroup", 0, CLI_FLAG, NULL, "As --cgroup-manager=systemd",
      offsetof(struct globals, systemd_cgroup), NULL, 0, 0 },
    { "policy", 0, CLI_TEXT, "FILE", "Policy", offsetof(struct globals, policy), NULL, 0, 0 },
    { "version", 'v', CLI_FLAG, NULL, "Version", offsetof(struct globals, version), NULL, 0, 0 },
    { 0 },
};

/* hybrid itself, parsed as a verb whose operands are the verb and what belongs to it. */
static const struct verb program = {
    .synopsis = "[GLOBAL OPTIONS] VERB [OPTIONS] [ARGUMENTS]",
    .options = global_options,
    .settings_size = sizeof(struct globals),
    .defaults = &global_defaults,
    .max_operands = -1,
    .operand_ends_options = true,
    .single_dash = true,
};

/* What other OCI runtimes have and engines may call. */
static const char *const refused_verbs[] = { "checkpoint", "restore", NULL };

static const struct verb *find_verb(const char *name, struct error *err)
{
    const char *names[64] = { NULL };
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (strcmp(cli_verbs[i]->name, name) == 0)
            return cli_verbs[i];
        if (i < sizeof names / sizeof *names - 1)
            names[i] = cli_verbs[i]->name;
    }
    for (size_t i = 0; refused_verbs[i]; i++)
        if (strcmp(refused_verbs[i], name) == 0) {
            (void)error_set(err, EXIT_OURS,
                            "%s is not supported: hybrid makes no images of running containers; "
                            "stop and start them, or use runc for what must be checkpointed",
                            name);
            return NULL;
        }
    const char *nearest = nearest_name(name, names);
    if (nearest)
        (void)error_set(err, EXIT_OURS, "unknown verb \"%.80s\"; did you mean `hybrid %s`?", name,
                        nearest);
    else
        (void)error_set(err, EXIT_OURS, "unknown verb \"%.80s\"; `hybrid --help` lists the verbs",
                        name);
    return NULL;
}

/* An absolute path for a directory option, from the option, the environment or the default. */
static char *directory(const char *option, const char *variable, const char *fallback,
                       struct error *err)
{
    const char *chosen = option ? option : getenv(variable);
    if (!chosen || !*chosen)
        chosen = fallback;
    char *path = NULL;
    return path_make_absolute(chosen, &path, err) < 0 ? NULL : path;
}

static int finish_output(FILE *out, int status)
{
    if (fflush(out) == 0 && !ferror(out))
        return status;
    if (errno != EPIPE) { /* a reader that has seen enough is no failure worth a message */
        char text[256];
        (void)snprintf(text, sizeof text, "cannot write to standard output: %s", strerror(errno));
        cli_warn(text);
    }
    return status == 0 ? EXIT_OURS : status;
}

/* The verb and what it is done to; no options, which may be secrets. */
static void log_call(const struct cli *cli, const char *operand)
{
    char text[256];
    (void)snprintf(text, sizeof text, "%s %.180s", cli->verb->name, operand ? operand : "");
    log_file_write(cli->runtime.log, "debug", text);
}

static int run_verb(struct cli *cli, char **arguments, char **argv, struct error *err)
{
    const struct verb *verb = cli->verb;
    _cleanup_free_ void *settings = calloc(1, verb->settings_size + 1);
    size_t count = 0;
    if (!settings)
        return error_set(err, EXIT_OURS, "out of memory");
    int result = cli_parse(verb, arguments, settings, &count, err);
    if (result == 1)
        cli_print_help(verb, cli->out);
    if (result == 0 && verb->check)
        result = verb->check(cli, settings, err);
    if (result == 0 && verb->joins_workload)
        result = self_become_read_only(argv, cli->runtime.exe_dir, err);
    else if (result == 1)
        result = -2;               /* help was printed: no error, nothing to run */
    if (result == 0 && cli->debug) /* not before it is executed again, which would log it twice */
        log_call(cli, arguments[0]);
    if (result == 0)
        result = verb->run(cli, settings, arguments, count, err);
    cli_settings_free(verb, settings);
    return result == -2 ? 0 : result;
}

static int run(struct cli *cli, const struct globals *globals, char **operands, char **argv,
               struct error *err)
{
    _cleanup_free_ char *root = directory(globals->root, "HYBRID_ROOT", "/run/hybrid", err);
    _cleanup_free_ char *data = directory(globals->data, "HYBRID_DATA", "/var/lib/hybrid", err);
    _cleanup_free_ char *exe_dir = self_find_directory(err);
    _cleanup_free_ char *store = NULL, *policy = NULL;
    /* Absolute: a bundle, in which we shall be, could have one of that name. */
    if (!root || !data || !exe_dir || path_make_absolute(globals->policy, &policy, err) < 0)
        return -1;
    if (asprintf(&store, "%s/store", data) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    cli->runtime.root = root;
    cli->runtime.data = data;
    cli->runtime.policy = policy;
    cli->runtime.exe_dir = exe_dir;
    cli->runtime.cgroup_manager = globals->systemd_cgroup ? "systemd" : globals->cgroup_manager;
    cli->runtime.store = store;
    cli->debug = globals->debug;
    if (globals->version) {
        cli->verb = &verb_version;
        return verb_version.run(cli, NULL, operands, 0, err);
    }
    if (!*operands) {
        cli_print_overview(stderr);
        return EXIT_OURS;
    }
    cli->verb = find_verb(*operands, err);
    if (!cli->verb)
        return -1;
    return run_verb(cli, operands + 1, argv, err);
}

/* Before anything else: the working directory may change, and the verb may run from another copy.
 */
static int open_log(const struct globals *globals, struct log_file *log, struct error *err)
{
    log->json = strcmp(globals->log_format, "json") == 0;
    if (!globals->log || !*globals->log)
        return 0;
    log->fd = open(globals->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log->fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open the log %s", globals->log);
    return 0;
}

static void note(const void *log, const char *message)
{
    const struct log_file *file = log;
    if (file->fd < 0)
        cli_warn(message);
    else
        log_file_write(file, "warning", message);
}

/* A closed 0, 1 or 2 would be taken by the next file we open, and receive what is written to it. */
static void open_standard_descriptors(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        int null = cgroup_open_device("/dev/null", O_RDWR);
        /* Without one, something that can neither be read nor written keeps the number taken. */
        int opened = null >= 0 ? null : open("/", O_PATH | O_CLOEXEC);
        (void)dup2(opened, fd);
        if (opened == fd)
            (void)fcntl(fd, F_SETFD, 0);
        else
            cleanup_close(&opened);
    }
}

int main(int argc, char **argv)
{
    open_standard_descriptors();
    (void)signal(SIGPIPE, SIG_IGN);
    struct error err = { 0 };
    struct globals globals;
    size_t count = 0;
    /* cli_parse moves operands to the front: the original order is needed for re-execution. */
    _cleanup_free_ char **arguments = calloc((size_t)argc + 1, sizeof *arguments);
    int status = -1;
    struct log_file log = { .fd = -1 };
    struct cli cli = {
        .out = stdout,
        .runtime = { .called_as = "hybrid", .warn = cli_warn, .note = note, .log = &log },
    };
    if (!arguments || argc < 1) {
        (void)error_set(&err, EXIT_OURS, "cannot read the arguments");
    } else {
        memcpy(arguments, argv + 1, (size_t)argc * sizeof *arguments);
        const char *slash = strrchr(argv[0], '/');
        cli.runtime.called_as = slash ? slash + 1 : argv[0];
        int parsed = cli_parse(&program, arguments, &globals, &count, &err);
        if (parsed == 0 && open_log(&globals, &log, &err) < 0)
            parsed = -1;
        if (parsed == 0)
            status = run(&cli, &globals, arguments, argv, &err);
        if (parsed == 1) {
            cli_print_overview(stdout);
            status = 0;
        }
    }
    if (status < 0) {
        cli_warn(err.message);
        log_file_write(&log, "error", err.message);
        status = err.exit_code;
    }
    return finish_output(stdout, status);
}
