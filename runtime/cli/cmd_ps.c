/* hybrid ps: the workloads. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "verbs.h"
#include "workload.h"

enum { COLUMNS = 6, CELL_SIZE = 64, COMMAND_SIZE = 24 };

struct settings {
    const char *format;
    bool all, quiet, no_trunc;
};

static const struct settings defaults = { .format = "table" };

static const struct cli_option options[] = {
    { .name = "all",
      .letter = 'a',
      .kind = CLI_FLAG,
      .help = "List stopped workloads too",
      .offset = offsetof(struct settings, all) },
    { .name = "quiet",
      .letter = 'q',
      .kind = CLI_FLAG,
      .help = "Print names only",
      .offset = offsetof(struct settings, quiet) },
    { .name = "no-trunc",
      .kind = CLI_FLAG,
      .help = "Print whole commands",
      .offset = offsetof(struct settings, no_trunc) },
    { .name = "format",
      .kind = CLI_CHOICE,
      .argument = "FORMAT",
      .help = "Print a table (the default) or json",
      .offset = offsetof(struct settings, format),
      .choices = cli_formats },
    { .name = "filter",
      .letter = 'f',
      .kind = CLI_REFUSED,
      .help = "use --format=json with jq(1)" },
    { 0 },
};

/* The cells of one workload, and room for their text. */
struct row {
    char *command;
    char created[CELL_SIZE];
    char status[CELL_SIZE];
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

/* "Up 3 minutes", "Exited (0) 3 minutes ago". */
static void describe_status(const struct state *state, int64_t now, char text[CELL_SIZE])
{
    char age[CELL_SIZE];
    if (state->status == STATE_RUNNING) {
        cli_print_age(state->started, now, age, sizeof age);
        char *ago = strstr(age, " ago");
        if (ago)
            *ago = '\0';
        (void)snprintf(text, CELL_SIZE, "Up %.40s", ago ? age : "less than a second");
    } else if (state->exited) {
        cli_print_age(state->finished, now, age, sizeof age);
        (void)snprintf(text, CELL_SIZE, "Exited (%d) %.40s", state->exit_status, age);
    } else {
        (void)snprintf(text, CELL_SIZE, "%s", state_status_name(state->status));
    }
}

static bool is_listed(const struct state *state, const struct settings *settings)
{
    return settings->all || state->status != STATE_STOPPED;
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
            bool gone = workload_read(cli, state->id, &fresh, &err) < 0;
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

static int print_table(const struct cli *cli, const struct state_list *list,
                       const struct settings *settings, struct error *err)
{
    struct row *rows = calloc(list->count + 1, sizeof *rows);
    const char **cells = calloc((list->count + 1) * COLUMNS, sizeof *cells);
    if (!rows || !cells) {
        free(rows);
        free(cells);
        return error_set(err, EXIT_OURS, "out of memory");
    }
    static const char *const heading[COLUMNS] = { "NAME",    "IMAGE",  "COMMAND",
                                                  "CREATED", "STATUS", "ISOLATION" };
    memcpy(cells, heading, sizeof heading);
    size_t count = 1;
    int64_t now = time(NULL);
    for (size_t i = 0; i < list->count; i++) {
        const struct state *state = &list->states[i];
        if (!is_listed(state, settings))
            continue;
        struct row *row = &rows[i];
        row->command = join_command(state->command, settings->no_trunc);
        cli_print_age(state->created, now, row->created, sizeof row->created);
        describe_status(state, now, row->status);
        const char *const line[COLUMNS] = { state->id,    state->image, row->command,
                                            row->created, row->status,  state->isolation };
        memcpy(cells + count * COLUMNS, line, sizeof line);
        count++;
    }
    cli_print_table(cli->out, cells, count, COLUMNS);
    for (size_t i = 0; i < list->count; i++)
        free(rows[i].command);
    free(rows);
    free(cells);
    return 0;
}

/* The state, with the labels and annotations that it was given. */
static json_t *describe(const struct cli *cli, const struct state *state)
{
    json_t *object = state_to_json(state);
    _cleanup_free_ char *text = state_read_config(cli->root, state->id, NULL);
    json_t *config = text ? json_loads(text, 0, NULL) : NULL;
    json_t *annotations = json_object_get(config, "annotations");
    (void)json_object_set(object, "annotations", annotations ? annotations : json_null());
    json_decref(config);
    return object;
}

static int print_names(const struct cli *cli, const struct state_list *list,
                       const struct settings *settings)
{
    for (size_t i = 0; i < list->count; i++)
        if (is_listed(&list->states[i], settings))
            (void)fprintf(cli->out, "%s\n", list->states[i].id);
    return 0;
}

static int print_json(const struct cli *cli, const struct state_list *list,
                      const struct settings *settings)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        if (is_listed(&list->states[i], settings))
            (void)json_array_append_new(array, describe(cli, &list->states[i]));
    cli_print_json(cli->out, array);
    json_decref(array);
    return 0;
}

static int run_ps(const struct cli *cli, const void *settings, char **operands, size_t count,
                  struct error *err)
{
    (void)operands, (void)count;
    const struct settings *chosen = settings;
    struct state_list list;
    if (state_list_read(cli->root, &list, err) < 0)
        return -1;
    clean_up(cli, &list);
    int result;
    if (chosen->quiet)
        result = print_names(cli, &list, chosen);
    else if (strcmp(chosen->format, "json") == 0)
        result = print_json(cli, &list, chosen);
    else
        result = print_table(cli, &list, chosen, err);
    state_list_free(&list);
    return result;
}

const struct verb verb_ps = {
    .name = "ps",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS]",
    .summary = "List workloads",
    .examples = "  hybrid ps -a\n"
                "  hybrid ps -a --format=json | jq -r '.[] | select(.exitStatus != 0) | .id'\n"
                "  hybrid rm -f $(hybrid ps -aq)",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .run = run_ps,
};
