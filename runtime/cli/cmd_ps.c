/* hybrid ps: the workloads. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/engine/engine.h"
#include "runtime/launch/workload.h"
#include "verbs.h"

enum { CELL_SIZE = 64, COMMAND_SIZE = 24, COMMAND_LINE_SIZE = 256 };

struct settings {
    const char *format;
    bool all, quiet, no_trunc;
};

static const struct settings defaults = { .format = "table" };

static const struct cli_option options[] = {
    CLI_OPTION_FLAG(struct settings, all, "all", 'a', "List stopped workloads too"),
    CLI_OPTION_FLAG(struct settings, quiet, "quiet", 'q', "Print names only"),
    CLI_OPTION_FLAG(struct settings, no_trunc, "no-trunc", 0, "Print whole commands"),
    CLI_OPTION_CHOICE(struct settings, format, "format", "FORMAT", cli_formats,
                      "Print a table (the default) or json"),
    CLI_OPTION_REFUSED("filter", 'f', "use --format=json with jq(1)"),
    { 0 },
};

/* What the listing is made from. */
struct workloads {
    struct state_list list;
    const struct cli *cli;
    bool whole_commands;
    int64_t now;
};

/* The command as one word list, in quotes as Docker shows it; malloc'd. */
static char *join_command(const json_t *command, bool whole)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return NULL;
    size_t index;
    json_t *word;
    json_array_foreach(command, index, word)(void)
        fprintf(out, "%s%s", index ? " " : "", json_string_value(word));
    if (fclose(out) != 0)
        return NULL;
    if (!whole && length > COMMAND_SIZE)
        (void)snprintf(text + COMMAND_SIZE - 3, sizeof "...", "...");
    return text;
}

/* "Up 3 minutes", "Exited (0) 3 minutes ago"; with a warning, whose words `inspect` has. */
static void describe_status(const struct state *state, int64_t now, char text[CELL_SIZE])
{
    char age[CELL_SIZE];
    const char *warning = state->warning ? " (warning)" : "";
    if (state->status == STATE_RUNNING || state->status == STATE_PAUSED) {
        cli_print_age(state->started, now, age, sizeof age);
        char *ago = strstr(age, " ago");
        if (ago)
            *ago = '\0';
        (void)snprintf(text, CELL_SIZE, "Up %.30s%s%s", ago ? age : "less than a second",
                       state->status == STATE_PAUSED ? " (paused)" : "", warning);
    } else if (state->exited) {
        cli_print_age(state->finished, now, age, sizeof age);
        (void)snprintf(text, CELL_SIZE, "Exited (%d) %.30s%s", state->exit_status, age, warning);
    } else {
        (void)snprintf(text, CELL_SIZE, "%s", state_status_name(state->status));
    }
}

/* Workloads whose monitor was killed: the remains go now, and with --rm the workload. */
static void clean_up(const struct cli *cli, struct state_list *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct state *state = &list->states[i];
        struct state fresh = { 0 };
        struct error err = { 0 };
        if (state->abandoned) {
            bool gone = workload_read(&cli->runtime, state->id, &fresh, &err) < 0;
            if (gone && !state->remove)
                cli_warn(err.message);
            if (!gone || state->remove) {
                state_free(state);
                *state = fresh;
            }
            if (gone && !state->id)
                continue;
        }
        list->states[kept++] = *state;
    }
    list->count = kept;
}

/* Leaves out those that are not shown. */
static void keep_unstopped(struct state_list *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (list->states[i].status == STATE_STOPPED)
            state_free(&list->states[i]);
        else
            list->states[kept++] = list->states[i];
    }
    list->count = kept;
}

static void fill_row(const void *things, size_t number, char **cells)
{
    const struct workloads *workloads = things;
    const struct state *state = &workloads->list.states[number];
    char created[CELL_SIZE], status[CELL_SIZE];
    cli_print_age(state->created, workloads->now, created, sizeof created);
    describe_status(state, workloads->now, status);
    cells[0] = strdup(state->id);
    cells[1] = state->image ? strdup(state->image) : NULL;
    cells[2] = join_command(state->command, workloads->whole_commands);
    cells[3] = strdup(created);
    cells[4] = strdup(status);
    cells[5] = state->isolation ? strdup(state->isolation) : NULL;
}

/* The state, with the labels and annotations that it was given. */
static json_t *describe(const void *things, size_t number)
{
    const struct workloads *workloads = things;
    const struct state *state = &workloads->list.states[number];
    json_t *object = state_to_json(state);
    _cleanup_free_ char *text = state_read_config(workloads->cli->runtime.root, state->id, NULL);
    json_t *config = text ? json_loads(text, 0, NULL) : NULL;
    json_t *annotations = json_object_get(config, "annotations");
    (void)json_object_set(object, "annotations", annotations ? annotations : json_null());
    json_decref(config);
    return object;
}

static void print_name(FILE *out, const void *things, size_t number)
{
    const struct workloads *workloads = things;
    (void)fprintf(out, "%s\n", workloads->list.states[number].id);
}

/* A small file of the process; what is not there is empty. Returns its length. */
static size_t read_process_file(pid_t pid, const char *name, char text[COMMAND_LINE_SIZE])
{
    char path[48];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    _cleanup_close_ int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : io_read_all(file, text, COMMAND_LINE_SIZE - 1);
    text[length > 0 ? length : 0] = '\0';
    return length > 0 ? (size_t)length : 0;
}

/* The command line; or, as ps(1) has it, the name in brackets: a kernel's thread, or a zombie. */
static void read_command(pid_t pid, char text[COMMAND_LINE_SIZE])
{
    size_t length = read_process_file(pid, "cmdline", text);
    while (length > 0 && text[length - 1] == '\0')
        length--;
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\0')
            text[i] = ' ';
    if (length > 0)
        return;
    char name[COMMAND_LINE_SIZE];
    (void)read_process_file(pid, "comm", name);
    name[strcspn(name, "\n")] = '\0';
    if (*name)
        (void)snprintf(text, COMMAND_LINE_SIZE, "[%.64s]", name);
}

static void fill_process_row(const void *things, size_t number, char **cells)
{
    const pid_t *pids = things;
    char command[COMMAND_LINE_SIZE];
    read_command(pids[number], command);
    if (asprintf(&cells[0], "%d", (int)pids[number]) < 0)
        cells[0] = NULL;
    cells[1] = strdup(command);
}

static json_t *describe_process(const void *things, size_t number)
{
    return json_integer(((const pid_t *)things)[number]);
}

/* One container: its processes, as engines ask for them. */
static int print_processes(const struct cli *cli, const struct settings *settings, const char *name,
                           struct error *err)
{
    _cleanup_state_ struct state state = { 0 };
    if (settings->all || settings->quiet || settings->no_trunc)
        return error_set(err, EXIT_OURS, "ps: with a name only --format has a meaning");
    if (workload_read(&cli->runtime, name, &state, err) < 0)
        return -1;
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = 0;
    if (engine_list_processes(&state, &pids, &count, err) < 0)
        return -1;
    static const char *const heading[] = { "PID", "COMMAND" };
    const struct cli_listing listing = {
        .things = pids,
        .count = count,
        .heading = heading,
        .columns = sizeof heading / sizeof *heading,
        .fill_row = fill_process_row,
        .describe = describe_process,
    };
    return cli_print_listing(cli->out, &listing, settings->format, false, err);
}

static int run_ps(const struct cli *cli, const void *settings, char **operands, size_t count,
                  struct error *err)
{
    static const char *const heading[] = { "NAME",    "IMAGE",  "COMMAND",
                                           "CREATED", "STATUS", "ISOLATION" };
    const struct settings *given = settings;
    if (count == 1)
        return print_processes(cli, given, operands[0], err);
    struct workloads workloads = { .cli = cli,
                                   .whole_commands = given->no_trunc,
                                   .now = time(NULL) };
    if (state_list_read(cli->runtime.root, &workloads.list, err) < 0)
        return -1;
    clean_up(cli, &workloads.list);
    if (!given->all)
        keep_unstopped(&workloads.list);
    const struct cli_listing listing = {
        .things = &workloads,
        .count = workloads.list.count,
        .heading = heading,
        .columns = sizeof heading / sizeof *heading,
        .fill_row = fill_row,
        .describe = describe,
        .print_name = print_name,
    };
    int result = cli_print_listing(cli->out, &listing, given->format, given->quiet, err);
    state_list_free(&workloads.list);
    return result;
}

const struct verb verb_ps = {
    .name = "ps",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] [NAME]",
    .summary = "List workloads, or the processes of a container",
    .examples = "  hybrid ps -a\n"
                "  hybrid ps -a --format=json | jq -r '.[] | select(.exitStatus != 0) | .id'\n"
                "  hybrid rm -f $(hybrid ps -aq)",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .max_operands = 1,
    .single_dash = true,
    .run = run_ps,
};
