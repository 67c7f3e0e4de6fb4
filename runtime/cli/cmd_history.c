/* hybrid history: how an image came to be, newest layer first. */
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/index.h"
#include "verbs.h"

enum { CELL_SIZE = 64, SHORT_COMMAND = 45 };

struct settings {
    const char *format;
    bool no_trunc;
};

static const struct settings defaults = { .format = "table" };

static const struct cli_option options[] = {
    CLI_OPTION_CHOICE(struct settings, format, "format", "FORMAT", cli_formats,
                      "Print a table (the default) or json"),
    CLI_OPTION_FLAG(struct settings, no_trunc, "no-trunc", 0, "Print whole commands"),
    { 0 },
};

/* A step as the image's configuration tells it; its texts are whatever its author wrote. */
struct step {
    const char *created, *created_by, *comment; /* borrowed; NULL: it does not say */
    int64_t size;                               /* of the layer it made; 0: it made none */
};

/* What the listing is made from. */
struct history {
    struct step *steps; /* oldest first */
    size_t count;
    bool whole; /* commands are shown whole */
    int64_t now;
};

static int64_t layer_size(const struct cli *cli, const json_t *diff_id)
{
    struct stat status;
    _cleanup_free_ char *path = NULL;
    const char *hex = json_is_string(diff_id) ? digest_hex(json_string_value(diff_id)) : NULL;
    if (!hex || asprintf(&path, "%s/layers/%s.erofs", cli->runtime.store, hex) < 0)
        return 0;
    return stat(path, &status) == 0 ? status.st_size : 0;
}

static int read_step(const struct cli *cli, const json_t *entry, const json_t *diff_ids,
                     size_t *layer, struct step *step, struct error *err)
{
    static const char what[] = "history";
    if (document_get_string(entry, "created", what, &step->created, err) < 0 ||
        document_get_string(entry, "created_by", what, &step->created_by, err) < 0 ||
        document_get_string(entry, "comment", what, &step->comment, err) < 0)
        return -1;
    if (!json_is_true(json_object_get(entry, "empty_layer")))
        step->size = layer_size(cli, json_array_get(diff_ids, (*layer)++));
    return 0;
}

/* Layers of which the history does not tell come last: they are a step each. */
static int read_steps(const struct cli *cli, const json_t *config, struct history *history,
                      struct error *err)
{
    const json_t *entries;
    const json_t *diff_ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    size_t layer = 0;
    if (document_get_array(config, "history", "image configuration", &entries, err) < 0)
        return -1;
    size_t room = json_array_size(entries) + json_array_size(diff_ids);
    history->steps = calloc(room + 1, sizeof *history->steps);
    if (!history->steps)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < json_array_size(entries); i++)
        if (read_step(cli, json_array_get(entries, i), diff_ids, &layer,
                      &history->steps[history->count++], err) < 0)
            return -1;
    while (layer < json_array_size(diff_ids))
        history->steps[history->count++].size = layer_size(cli, json_array_get(diff_ids, layer++));
    return 0;
}

static const struct step *newest(const struct history *history, size_t number)
{
    return &history->steps[history->count - 1 - number];
}

static void fill_row(const void *things, size_t number, char **cells)
{
    const struct history *history = things;
    const struct step *step = newest(history, number);
    const char *command = step->created_by ? step->created_by : "";
    bool cut = !history->whole && strlen(command) > SHORT_COMMAND;
    int64_t created = cli_parse_time(step->created);
    char age[CELL_SIZE] = "N/A", size[CELL_SIZE];
    if (created > 0)
        cli_print_age(created, history->now, age, sizeof age);
    cli_print_size(step->size, size, sizeof size);
    cells[0] = strdup(age);
    if (asprintf(&cells[1], "%.*s%s", cut ? SHORT_COMMAND - 3 : (int)strlen(command), command,
                 cut ? "..." : "") < 0)
        cells[1] = NULL;
    cells[2] = strdup(size);
    cells[3] = step->comment ? strdup(step->comment) : NULL;
}

static json_t *describe(const void *things, size_t number)
{
    const struct step *step = newest(things, number);
    return json_pack("{s:s?, s:s?, s:s?, s:I}", "Created", step->created, "CreatedBy",
                     step->created_by, "Comment", step->comment, "Size", (json_int_t)step->size);
}

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    static const char *const heading[] = { "CREATED", "CREATED BY", "SIZE", "COMMENT" };
    (void)count;
    const struct settings *given = settings;
    struct store_image image;
    struct history history = { .whole = given->no_trunc, .now = time(NULL) };
    if (store_open_image_or_embedded(cli->runtime.store, cli->runtime.root, cli->runtime.exe_dir,
                                     operands[0], &image, err) <= 0)
        return -1;
    int result = read_steps(cli, image.config, &history, err);
    const struct cli_listing listing = {
        .things = &history,
        .count = history.count,
        .heading = heading,
        .columns = sizeof heading / sizeof *heading,
        .fill_row = fill_row,
        .describe = describe,
    };
    if (result == 0)
        result = cli_print_listing(cli->out, &listing, given->format, false, err);
    free(history.steps);
    store_image_free(&image);
    return result;
}

const struct verb verb_history = {
    .name = "history",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "[OPTIONS] IMAGE",
    .summary = "Show how an image came to be, newest layer first",
    .description = "SIZE is what the step's layer occupies as an EROFS file; 0B: it made none.",
    .examples = "hybrid history debian:12",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
