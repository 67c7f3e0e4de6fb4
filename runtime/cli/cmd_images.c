/* hybrid images: what is in the store. */
#include <string.h>
#include <time.h>

#include "runtime/image/index.h"
#include "verbs.h"

enum { CELL_SIZE = 64, SHORT_ID = 12 };

struct settings {
    const char *format;
    bool quiet, no_trunc;
};

static const struct settings defaults = { .format = "table" };

static const struct cli_option options[] = {
    CLI_OPTION_CHOICE(struct settings, format, "format", "FORMAT", cli_formats,
                      "Print a table (the default) or json"),
    CLI_OPTION_FLAG(struct settings, no_trunc, "no-trunc", 0, "Print whole image ids"),
    CLI_OPTION_FLAG(struct settings, quiet, "quiet", 'q', "Print image ids only, each once"),
    { 0 },
};

/* What the listing is made from. */
struct images {
    struct index_list list;
    int id_length; /* of the ids that are shown */
    int64_t now;
};

/* A reference as it is shown. */
struct name {
    char repository[INDEX_MAX_REFERENCE + 1];
    char tag[INDEX_MAX_REFERENCE + 1];
};

/* "docker.io/library/busybox:latest" -> "busybox" and "latest". */
static void split_reference(const char *reference, struct name *name)
{
    const char *shown = reference ? reference_familiar(reference) : "<none>";
    bool by_digest = reference && strchr(shown, '@');
    const char *colon = !reference ? NULL : by_digest ? strchr(shown, '@') : strrchr(shown, ':');
    int length = colon ? (int)(colon - shown) : (int)strlen(shown);
    (void)snprintf(name->repository, sizeof name->repository, "%.*s", length, shown);
    (void)snprintf(name->tag, sizeof name->tag, "%s", colon && !by_digest ? colon + 1 : "<none>");
}

static void fill_row(const void *things, size_t number, char **cells)
{
    const struct images *images = things;
    const struct index_entry *entry = &images->list.entries[number];
    struct name name;
    char age[CELL_SIZE] = "N/A", size[CELL_SIZE];
    split_reference(entry->reference, &name);
    int64_t created = cli_parse_time(entry->created);
    if (created > 0)
        cli_print_age(created, images->now, age, sizeof age);
    cli_print_size(entry->size, size, sizeof size);
    cells[0] = strdup(name.repository);
    cells[1] = strdup(name.tag);
    cells[2] = strndup(entry->config, (size_t)images->id_length);
    cells[3] = strdup(age);
    cells[4] = strdup(size);
}

static bool is_repeated(const struct index_list *list, size_t position)
{
    for (size_t i = 0; i < position; i++)
        if (strcmp(list->entries[i].config, list->entries[position].config) == 0)
            return true;
    return false;
}

static void print_id(FILE *out, const void *things, size_t number)
{
    const struct images *images = things;
    if (!is_repeated(&images->list, number))
        (void)fprintf(out, "%.*s\n", images->id_length, images->list.entries[number].config);
}

static json_t *describe(const void *things, size_t number)
{
    const struct images *images = things;
    const struct index_entry *entry = &images->list.entries[number];
    struct name name;
    split_reference(entry->reference, &name);
    return json_pack("{s:s+, s:s+, s:s, s:s, s:s?, s:I}", "Id", "sha256:", entry->config, "Digest",
                     "sha256:", entry->manifest, "Repository", name.repository, "Tag", name.tag,
                     "Created", entry->created, "Size", (json_int_t)entry->size);
}

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    static const char *const heading[] = { "REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE" };
    (void)operands, (void)count;
    const struct settings *given = settings;
    struct images images = { .id_length = given->no_trunc ? STORE_DIGEST_HEX : SHORT_ID,
                             .now = time(NULL) };
    if (store_prepare_embedded(cli->runtime.store, cli->runtime.root, cli->runtime.exe_dir, err) <
            0 ||
        index_list(cli->runtime.store, &images.list, err) < 0)
        return -1;
    const struct cli_listing listing = {
        .things = &images,
        .count = images.list.count,
        .heading = heading,
        .columns = sizeof heading / sizeof *heading,
        .fill_row = fill_row,
        .describe = describe,
        .print_name = print_id,
    };
    int result = cli_print_listing(cli->out, &listing, given->format, given->quiet, err);
    index_list_free(&images.list);
    return result;
}

const struct verb verb_images = {
    .name = "images",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "[OPTIONS]",
    .summary = "List the images of the store",
    .description = "SIZE is what the layers occupy as EROFS files; images that share layers share "
                   "the files.",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .run = run,
};
