/* hybrid: global options, and the way to the verb. */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "self.h"
#include "verbs.h"

struct globals {
    const char *root, *data, *policy;
    bool version;
};

static const struct cli_option global_options[] = {
    { "root", 0, CLI_TEXT, "DIR", "Runtime directory", offsetof(struct globals, root), NULL, 0, 0 },
    { "data", 0, CLI_TEXT, "DIR", "Data directory", offsetof(struct globals, data), NULL, 0, 0 },
    { "policy", 0, CLI_TEXT, "FILE", "Policy", offsetof(struct globals, policy), NULL, 0, 0 },
    { "version", 'v', CLI_FLAG, NULL, "Version", offsetof(struct globals, version), NULL, 0, 0 },
    { 0 },
};

/* hybrid itself, parsed as a verb whose operands are the verb and what belongs to it. */
static const struct verb program = {
    .name = "hybrid",
    .synopsis = "[GLOBAL OPTIONS] VERB [OPTIONS] [ARGUMENTS]",
    .options = global_options,
    .settings_size = sizeof(struct globals),
    .max_operands = -1,
    .operand_ends_options = true,
};

static const struct verb *find_verb(const char *name, struct error *err)
{
    const char *names[64] = { NULL };
    for (size_t i = 0; cli_verbs[i]; i++) {
        if (strcmp(cli_verbs[i]->name, name) == 0)
            return cli_verbs[i];
        if (i < sizeof names / sizeof *names - 1)
            names[i] = cli_verbs[i]->name;
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
    if (*chosen == '/') {
        path = strdup(chosen);
    } else {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) {
            (void)error_set_errno(err, EXIT_OURS, errno, "cannot read the working directory");
            return NULL;
        }
        if (asprintf(&path, "%s/%s", here, chosen) < 0)
            path = NULL;
    }
    if (!path)
        (void)error_set(err, EXIT_OURS, "out of memory");
    return path;
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
    if (result == 0 && verb->joins_workload)
        result = self_become_read_only(argv, cli->exe_dir, err);
    else if (result == 1)
        result = -2; /* help was printed: no error, nothing to run */
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
    _cleanup_free_ char *store = NULL;
    if (!root || !data || !exe_dir)
        return -1;
    if (asprintf(&store, "%s/store", data) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    cli->root = root;
    cli->data = data;
    cli->policy = globals->policy;
    cli->exe_dir = exe_dir;
    cli->store = store;
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

/* A closed 0, 1 or 2 would be taken by the next file we open, and receive what is written to it. */
static void open_standard_descriptors(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)open("/dev/null", O_RDWR); /* NOLINT(android-cloexec-open): becomes fd itself */
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
    struct cli cli = { .out = stdout };
    if (!arguments || argc < 1) {
        (void)error_set(&err, EXIT_OURS, "cannot read the arguments");
    } else {
        memcpy(arguments, argv + 1, (size_t)argc * sizeof *arguments);
        int parsed = cli_parse(&program, arguments, &globals, &count, &err);
        if (parsed == 0)
            status = run(&cli, &globals, arguments, argv, &err);
        if (parsed == 1) {
            cli_print_overview(stdout);
            status = 0;
        }
    }
    if (status < 0) {
        cli_warn(err.message);
        status = err.exit_code;
    }
    return finish_output(stdout, status);
}
