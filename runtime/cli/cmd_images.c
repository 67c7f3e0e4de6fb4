/* hybrid images: what is in the store. */
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "runtime/image/index.h"
#include "verbs.h"

enum { COLUMNS = 5, CELL_SIZE = 64, SHORT_ID = 12 };

struct settings {
    const char *format;
    bool quiet;
    bool no_trunc;
};

static const struct cli_option options[] = {
    { .name = "format",
      .kind = CLI_CHOICE,
      .argument = "FORMAT",
      .help = "Print a table (the default) or json",
      .offset = offsetof(struct settings, format),
      .choices = cli_formats },
    { .name = "no-trunc",
      .kind = CLI_FLAG,
      .help = "Print whole image ids",
      .offset = offsetof(struct settings, no_trunc) },
    { .name = "quiet",
      .letter = 'q',
      .kind = CLI_FLAG,
      .help = "Print image ids only, each once",
      .offset = offsetof(struct settings, quiet) },
    { 0 },
};

/* The five cells of an image, and room for their text. */
struct row {
    const char *cells[COLUMNS];
    char repository[INDEX_MAX_REFERENCE + 1];
    char tag[INDEX_MAX_REFERENCE + 1];
    char id[STORE_DIGEST_HEX + 1];
    char created[CELL_SIZE];
    char size[CELL_SIZE];
};

/* Three significant digits in powers of 1000, as Docker prints sizes. */
static void format_size(int64_t bytes, char text[CELL_SIZE])
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(text, CELL_SIZE, "%.3g%s", value, units[unit]);
}

/* Seconds since the epoch of an RFC 3339 time, zone and fraction included; 0: none or malformed. */
static int64_t parse_time(const char *text)
{
    struct tm time = { 0 };
    char rest[32] = "";
    char sign;
    int hours;
    int minutes;
    if (!text || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%31s", &time.tm_year, &time.tm_mon,
                        &time.tm_mday, &time.tm_hour, &time.tm_min, &time.tm_sec, rest) != 7)
        return 0;
    time.tm_year -= 1900;
    time.tm_mon--;
    int64_t seconds = timegm(&time);
    const char *zone = rest + (rest[0] == '.' ? 1 + strspn(rest + 1, "0123456789") : 0);
    if (sscanf(zone, "%c%2d:%2d", &sign, &hours, &minutes) == 3 && (sign == '+' || sign == '-'))
        seconds -= (sign == '+' ? 1 : -1) * (hours * 3600LL + minutes * 60LL);
    return seconds;
}

/* "docker.io/library/busybox:latest" -> "busybox" and "latest". */
static void split_reference(const char *reference, struct row *row)
{
    const char *shown = reference ? reference_familiar(reference) : "<none>";
    const char *colon = reference ? strrchr(shown, ':') : NULL;
    int length = colon ? (int)(colon - shown) : (int)strlen(shown);
    (void)snprintf(row->repository, sizeof row->repository, "%.*s", length, shown);
    (void)snprintf(row->tag, sizeof row->tag, "%s", colon ? colon + 1 : "<none>");
}

static void fill_row(const struct index_entry *entry, bool whole_id, int64_t now, struct row *row)
{
    int64_t created = parse_time(entry->created);
    split_reference(entry->reference, row);
    (void)snprintf(row->id, sizeof row->id, "%.*s", whole_id ? STORE_DIGEST_HEX : SHORT_ID,
                   entry->config);
    if (created > 0)
        cli_print_age(created, now, row->created, sizeof row->created);
    else
        (void)snprintf(row->created, sizeof row->created, "N/A");
    format_size(entry->size, row->size);
    const char *const cells[COLUMNS] = { row->repository, row->tag, row->id, row->created,
                                         row->size };
    memcpy(row->cells, cells, sizeof cells);
}

static int print_table(FILE *out, const struct index_list *list, bool whole_id, struct error *err)
{
    static const char *const heading[COLUMNS] = { "REPOSITORY", "TAG", "IMAGE ID", "CREATED",
                                                  "SIZE" };
    _cleanup_free_ struct row *rows = calloc(list->count + 1, sizeof *rows);
    _cleanup_free_ const char **cells = calloc((list->count + 1) * COLUMNS, sizeof *cells);
    if (!rows || !cells)
        return error_set(err, EXIT_OURS, "out of memory");
    const int64_t now = time(NULL);
    memcpy(cells, heading, sizeof heading);
    for (size_t i = 0; i < list->count; i++) {
        fill_row(&list->entries[i], whole_id, now, &rows[i]);
        memcpy(cells + (i + 1) * COLUMNS, rows[i].cells, sizeof rows[i].cells);
    }
    cli_print_table(out, cells, list->count + 1, COLUMNS);
    return 0;
}

static bool is_repeated(const struct index_list *list, size_t position)
{
    for (size_t i = 0; i < position; i++)
        if (strcmp(list->entries[i].config, list->entries[position].config) == 0)
            return true;
    return false;
}

static void print_ids(FILE *out, const struct index_list *list, bool whole_id)
{
    for (size_t i = 0; i < list->count; i++)
        if (!is_repeated(list, i))
            (void)fprintf(out, "%.*s\n", whole_id ? STORE_DIGEST_HEX : SHORT_ID,
                          list->entries[i].config);
}

static int print_json(FILE *out, const struct index_list *list, struct error *err)
{
    json_t *images = json_array();
    for (size_t i = 0; i < list->count; i++) {
        const struct index_entry *entry = &list->entries[i];
        struct row row;
        split_reference(entry->reference, &row);
        json_t *image =
            json_pack("{s:s+, s:s+, s:s, s:s, s:s?, s:I}", "Id", "sha256:", entry->config, "Digest",
                      "sha256:", entry->manifest, "Repository", row.repository, "Tag", row.tag,
                      "Created", entry->created, "Size", (json_int_t)entry->size);
        if (!image || json_array_append_new(images, image) < 0) {
            json_decref(images);
            return error_set(err, EXIT_OURS, "out of memory");
        }
    }
    cli_print_json(out, images);
    json_decref(images);
    return 0;
}

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    (void)operands, (void)count;
    const struct settings *given = settings;
    struct index_list list;
    int result = 0;
    if (store_prepare_embedded(cli->store, cli->exe_dir, err) < 0 ||
        index_list(cli->store, &list, err) < 0)
        return -1;
    if (given->quiet)
        print_ids(cli->out, &list, given->no_trunc);
    else if (given->format && strcmp(given->format, "json") == 0)
        result = print_json(cli->out, &list, err);
    else
        result = print_table(cli->out, &list, given->no_trunc, err);
    index_list_free(&list);
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
    .run = run,
};
