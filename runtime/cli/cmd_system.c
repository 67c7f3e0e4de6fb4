/* hybrid system: what images and workloads occupy; whether the image store is sound. */
#include <errno.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "image_helper.h"
#include "runtime/image/usage.h"
#include "runtime/state/state.h"
#include "verbs.h"

enum { ROWS = 2, CELL_SIZE = 32 };

struct settings {
    const char *format;
    bool quick, repair;
};

static const struct settings defaults = { .format = "table" };

static const struct cli_option options[] = {
    CLI_OPTION_CHOICE(struct settings, format, "format", "FORMAT", cli_formats,
                      "Print a table (the default) or json"),
    CLI_OPTION_FLAG(struct settings, quick, "quick", 0,
                    "check: do not read what blobs and layers hold"),
    CLI_OPTION_FLAG(struct settings, repair, "repair", 0,
                    "check: remove what is broken; says which images to fetch anew"),
    { 0 },
};

struct row {
    const char *type;
    size_t total, active;
    int64_t bytes, reclaimable;
};

/* --- images ----------------------------------------------------------------------------------- */

/* A workload names its image as it resolved it: a reference, or sha256:ID. */
static bool uses_image(void *context, const struct index_entry *entry)
{
    const struct state_list *list = context;
    for (size_t i = 0; i < list->count; i++) {
        const char *image = list->states[i].image;
        const char *hex = digest_hex(image);
        if (hex ? strcmp(hex, entry->config) == 0
                : entry->reference && strcmp(image, entry->reference) == 0)
            return true;
    }
    return false;
}

static bool uses_layer(void *context, const char *diff_id)
{
    const struct state_list *list = context;
    for (size_t i = 0; i < list->count; i++)
        for (size_t n = 0; n < json_array_size(list->states[i].layers); n++) {
            const char *hex = json_string_value(json_array_get(list->states[i].layers, n));
            if (hex && strcmp(hex, diff_id) == 0)
                return true;
        }
    return false;
}

static int measure_images(const struct cli *cli, struct state_list *list, struct row *row,
                          struct error *err)
{
    struct usage usage;
    const struct usage_view view = { uses_image, uses_layer, list };
    if (usage_measure(cli->runtime.store, &view, &usage, err) < 0)
        return -1;
    *row = (struct row){ "Images", usage.images, usage.active, usage.bytes, usage.reclaimable };
    return 0;
}

/* --- workloads -------------------------------------------------------------------------------- */

/* What a workload's directory takes of the disk: files that have holes count as far as they are
 * there. */
static int measure_tree(const char *path, int64_t *bytes, struct error *err)
{
    char *const paths[] = { (char *)path, NULL };
    *bytes = 0;
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    if (!tree)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read %s", path);
    for (FTSENT *entry; (entry = fts_read(tree));) /* what vanishes meanwhile takes nothing */
        if (entry->fts_info != FTS_DP && entry->fts_info != FTS_NS && entry->fts_info != FTS_ERR &&
            entry->fts_info != FTS_DNR)
            *bytes += entry->fts_statp->st_blocks * 512LL;
    (void)fts_close(tree);
    return 0;
}

static int measure_workloads(const struct cli *cli, const struct state_list *list, struct row *row,
                             struct error *err)
{
    *row = (struct row){ .type = "Workloads", .total = list->count };
    for (size_t i = 0; i < list->count; i++) {
        int64_t bytes;
        _cleanup_free_ char *path = NULL;
        const struct state *state = &list->states[i];
        bool stopped = state->status == STATE_STOPPED || state->abandoned;
        if (asprintf(&path, "%s/workloads/%s", cli->runtime.data, state->id) < 0)
            return error_set(err, EXIT_OURS, "out of memory");
        if (measure_tree(path, &bytes, err) < 0)
            return -1;
        row->active += !stopped;
        row->bytes += bytes;
        row->reclaimable += stopped ? bytes : 0;
    }
    return 0;
}

/* --- output ----------------------------------------------------------------------------------- */

static void fill_row(const void *things, size_t number, char **cells)
{
    const struct row *row = (const struct row *)things + number;
    char size[CELL_SIZE], reclaimable[CELL_SIZE];
    int percent = row->bytes > 0 ? (int)(100 * row->reclaimable / row->bytes) : 0;
    cli_print_size(row->bytes, size, sizeof size);
    cli_print_size(row->reclaimable, reclaimable, sizeof reclaimable);
    cells[0] = strdup(row->type);
    cells[3] = strdup(size);
    if (asprintf(&cells[1], "%zu", row->total) < 0)
        cells[1] = NULL;
    if (asprintf(&cells[2], "%zu", row->active) < 0)
        cells[2] = NULL;
    if (asprintf(&cells[4], "%s (%d%%)", reclaimable, percent) < 0)
        cells[4] = NULL;
}

static json_t *describe(const void *things, size_t number)
{
    const struct row *row = (const struct row *)things + number;
    return json_pack("{s:s, s:I, s:I, s:I, s:I}", "Type", row->type, "Total",
                     (json_int_t)row->total, "Active", (json_int_t)row->active, "Size",
                     (json_int_t)row->bytes, "Reclaimable", (json_int_t)row->reclaimable);
}

/* --- the verbs -------------------------------------------------------------------------------- */

static int run_df(const struct cli *cli, const void *settings, char **operands, struct error *err)
{
    static const char *const heading[] = { "TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE" };
    (void)operands;
    const struct settings *given = settings;
    struct state_list list;
    struct row rows[ROWS];
    if (given->quick || given->repair)
        return error_set(err, EXIT_OURS, "system df: --%s is an option of `hybrid system check`",
                         given->quick ? "quick" : "repair");
    if (state_list_read(cli->runtime.root, &list, err) < 0)
        return -1;
    int result = measure_images(cli, &list, &rows[0], err);
    if (result == 0)
        result = measure_workloads(cli, &list, &rows[1], err);
    state_list_free(&list);
    const struct cli_listing listing = {
        .things = rows,
        .count = ROWS,
        .heading = heading,
        .columns = sizeof heading / sizeof *heading,
        .fill_row = fill_row,
        .describe = describe,
    };
    return result < 0 ? -1 : cli_print_listing(cli->out, &listing, given->format, false, err);
}

static int run_check(const struct cli *cli, const void *settings, char **operands,
                     struct error *err)
{
    return image_helper_verb(cli, "check", settings, operands, err);
}

static const struct {
    const char *name;
    int (*run)(const struct cli *cli, const void *settings, char **operands, struct error *err);
} parts[] = { { "df", run_df }, { "check", run_check } };

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    (void)count;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(operands[0], parts[i].name) == 0)
            return parts[i].run(cli, settings, operands + 1, err);
    return error_set(err, EXIT_OURS,
                     "system: unknown verb \"%.80s\"; there are `hybrid system df` and `hybrid "
                     "system check`",
                     operands[0]);
}

const struct verb verb_system = {
    .name = "system",
    .group = CLI_GROUP_OTHER,
    .synopsis = "df|check [OPTIONS]",
    .summary = "Show what images and workloads occupy: system df; verify images: system check",
    .description =
        "check: is everything in the image store as it should be? Index, digests of all blobs,\n"
        "layers, links that keep them, and what killed commands left; a line each problem.\n"
        "Status 0: sound, or with --repair sound now; 1: it is not.\n\n"
        "df: SIZE of images: blobs and layers, shared ones once; RECLAIMABLE: what\n"
        "`hybrid image prune --all` would bring. SIZE of workloads: what they wrote, and logs;\n"
        "RECLAIMABLE: of stopped ones, which `hybrid rm` removes.",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
