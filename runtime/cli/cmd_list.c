/* hybrid list: containers, in the form of OCI runtimes. */
#include <stdlib.h>
#include <string.h>

#include "runtime/engine/engine.h"
#include "verbs.h"

enum { COLUMNS = 5 };

struct settings {
    const char *format;
    bool quiet;
};

static const struct settings defaults = { .format = "table" };

static const struct cli_option options[] = {
    { .name = "format",
      .letter = 'f',
      .kind = CLI_CHOICE,
      .argument = "FORMAT",
      .help = "Print a table (the default) or json",
      .offset = offsetof(struct settings, format),
      .choices = cli_formats },
    CLI_OPTION_FLAG(struct settings, quiet, "quiet", 'q', "Print ids only"),
    { 0 },
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void fill_row(const void *things, size_t number, char **cells)
{
    static const char *const keys[] = { "id", "pid", "status", "bundle", "created" };
    const json_t *container = json_array_get(things, number);
    for (size_t i = 0; i < COLUMNS; i++)
        cells[i] = strdup(text_of(container, keys[i]));
    free(cells[1]);
    if (asprintf(&cells[1], "%d", (int)json_integer_value(json_object_get(container, "pid"))) < 0)
        cells[1] = NULL;
}

static json_t *describe(const void *things, size_t number)
{
    return json_incref(json_array_get(things, number));
}

static void print_name(FILE *out, const void *things, size_t number)
{
    (void)fprintf(out, "%s\n", text_of(json_array_get(things, number), "id"));
}

static int run_list(const struct cli *cli, const void *settings, char **operands, size_t count,
                    struct error *err)
{
    (void)operands, (void)count;
    const struct settings *chosen = settings;
    struct state_list list;
    if (state_list_read(cli->runtime.root, &list, err) < 0)
        return -1;
    json_t *containers = json_array();
    for (size_t i = 0; i < list.count; i++) {
        struct error gone; /* deleted since the list was made */
        json_t *container = engine_describe(&cli->runtime, &list.states[i], &gone);
        if (container)
            (void)json_array_append_new(containers, container);
    }
    state_list_free(&list);
    static const char *const heading[COLUMNS] = { "ID", "PID", "STATUS", "BUNDLE", "CREATED" };
    const struct cli_listing listing = {
        .things = containers,
        .count = json_array_size(containers),
        .heading = heading,
        .columns = COLUMNS,
        .fill_row = fill_row,
        .describe = describe,
        .print_name = print_name,
    };
    int result = cli_print_listing(cli->out, &listing, chosen->format, chosen->quiet, err);
    json_decref(containers);
    return result;
}

const struct verb verb_list = {
    .name = "list",
    .group = CLI_GROUP_ENGINES,
    .synopsis = "[OPTIONS]",
    .summary = "List containers and workloads as OCI runtimes do",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .single_dash = true,
    .run = run_list,
};
