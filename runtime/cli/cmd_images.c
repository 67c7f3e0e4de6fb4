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
    int64_t created = parse_time(entry->created);
    if (created > 0)
        cli_print_age(created, images->now, age, sizeof age);
    format_size(entry->size, size);
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
    if (store_prepare_embedded(cli->store, cli->exe_dir, err) < 0 ||
        index_list(cli->store, &images.list, err) < 0)
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
