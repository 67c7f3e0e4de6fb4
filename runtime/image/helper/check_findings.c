#include "runtime/image/helper/check_findings.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "runtime/image/document.h"

static const char repair[] = "`hybrid system check --repair` removes it";
static const char repair_images[] =
    "`hybrid system check --repair` removes it with the images that need it, to be fetched anew: ";

static const struct {
    const char *name;
    const char *remedy;
    const char *done; /* when it is repaired; NULL: that is beyond a repair */
} kinds[] = {
    [FINDING_ENTRY] = { "entry", repair_images, "removed; to be pulled or loaded anew: " },
    [FINDING_BLOB] = { "blob", repair_images, "removed; to be pulled or loaded anew: " },
    [FINDING_LAYER] = { "layer", repair_images, "removed; to be pulled or loaded anew: " },
    [FINDING_IMAGE] = { "image", repair_images, "removed; to be pulled or loaded anew: " },
    [FINDING_LINKS] = { "links", "`hybrid system check --repair` makes them anew", "made anew" },
    [FINDING_UNLINKED] = { "links", "until that is mended, each removal looks at the whole store",
                           NULL },
    [FINDING_WORKLOAD] = { "workload",
                           "fetch its image anew, or remove it with `hybrid rm`: ", NULL },
    [FINDING_ORPHAN] = { "orphan", repair, "removed" },
    [FINDING_TEMPORARY] = { "temporary", repair, "removed" },
    [FINDING_STRAY] = { "stray", repair, "removed" },
};

struct finding *findings_add(struct findings *findings, const struct finding *finding,
                             struct error *err)
{
    if (findings->count == findings->room) {
        size_t room = findings->room ? findings->room * 2 : 16;
        void *grown = reallocarray(findings->list, room, sizeof *findings->list);
        if (!grown) {
            (void)error_set(err, EXIT_OURS, "out of memory");
            return NULL;
        }
        findings->list = grown;
        findings->room = room;
    }
    struct finding *added = &findings->list[findings->count++];
    *added = (struct finding){ .kind = finding->kind,
                               .object = strdup(finding->object),
                               .dir_fd = finding->dir_fd,
                               .file = finding->file ? strdup(finding->file) : NULL,
                               .cause = strdup(finding->cause) };
    if (added->object && added->cause && (added->file || !finding->file))
        return added;
    (void)error_set(err, EXIT_OURS, "out of memory");
    return NULL;
}

int finding_add_image(struct finding *finding, const char *name, struct error *err)
{
    for (size_t i = 0; i < finding->image_count; i++)
        if (strcmp(finding->images[i], name) == 0)
            return 0;
    char **grown = reallocarray(finding->images, finding->image_count + 1, sizeof *finding->images);
    if (!grown)
        return error_set(err, EXIT_OURS, "out of memory");
    finding->images = grown;
    grown[finding->image_count] = strdup(name);
    if (!grown[finding->image_count])
        return error_set(err, EXIT_OURS, "out of memory");
    finding->image_count++;
    return 0;
}

struct finding *findings_find(const struct findings *findings, const char *object)
{
    for (size_t i = 0; i < findings->count; i++)
        if (strcmp(findings->list[i].object, object) == 0)
            return &findings->list[i];
    return NULL;
}

bool finding_is_mendable(const struct finding *finding)
{
    return kinds[finding->kind].done != NULL;
}

static const char *remedy_of(const struct finding *finding, bool repaired)
{
    const char *done = kinds[finding->kind].done;
    return repaired && done ? done : kinds[finding->kind].remedy;
}

static void print_line(const struct finding *finding, bool repaired)
{
    const char *remedy = remedy_of(finding, repaired);
    size_t length = strlen(remedy);
    bool lists = length > 2 && remedy[length - 2] == ':';
    (void)printf("%s: %s; %.*s", finding->object, finding->cause,
                 (int)(lists && finding->image_count == 0 ? length - 2 : length), remedy);
    for (size_t i = 0; lists && i < finding->image_count; i++)
        (void)printf("%s%s", i ? ", " : "", finding->images[i]);
    (void)putchar('\n');
}

static void print_sum(const struct findings *findings, const struct check_sum *sum, size_t left)
{
    (void)printf("%zu images, %zu blobs, %zu layers: ", sum->images, sum->blobs, sum->layers);
    if (findings->count == 0)
        (void)printf("sound\n");
    else if (left == 0)
        (void)printf("sound now, %zu problems removed\n", findings->count);
    else
        (void)printf("%zu problems\n", left);
}

static json_t *describe(const struct finding *finding, bool repaired)
{
    json_t *images = json_array();
    for (size_t i = 0; i < finding->image_count; i++)
        (void)json_array_append_new(images, json_string(finding->images[i]));
    return json_pack("{s:s, s:s, s:s, s:o, s:b}", "Kind", kinds[finding->kind].name, "Object",
                     finding->object, "Cause", finding->cause, "Images", images, "Removed",
                     repaired && finding_is_mendable(finding));
}

static int print_json(const struct findings *findings, const struct check_sum *sum, bool repaired,
                      size_t left, struct error *err)
{
    json_t *problems = json_array();
    for (size_t i = 0; i < findings->count; i++)
        (void)json_array_append_new(problems, describe(&findings->list[i], repaired));
    _cleanup_json_ json_t *document = json_pack(
        "{s:b, s:I, s:I, s:I, s:o}", "Sound", left == 0, "Images", (json_int_t)sum->images, "Blobs",
        (json_int_t)sum->blobs, "Layers", (json_int_t)sum->layers, "Problems", problems);
    if (json_array_size(problems) != findings->count || !document ||
        json_dumpf(document, stdout, JSON_INDENT(2)) < 0)
        return error_set(err, EXIT_OURS, "cannot write the result");
    (void)putchar('\n');
    return 0;
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static int compare_findings(const void *left, const void *right)
{
    const struct finding *a = left;
    const struct finding *b = right;
    return a->kind != b->kind ? (int)a->kind - (int)b->kind : strcmp(a->object, b->object);
}

/* Directories are read in any order; the same store is to be told of in the same words. */
static void sort(struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++)
        if (findings->list[i].image_count > 1)
            qsort(findings->list[i].images, findings->list[i].image_count, sizeof(char *),
                  compare_names);
    if (findings->count > 1)
        qsort(findings->list, findings->count, sizeof *findings->list, compare_findings);
}

int findings_print(struct findings *findings, const struct check_sum *sum, bool repaired, bool json,
                   struct error *err)
{
    size_t left = 0;
    sort(findings);
    for (size_t i = 0; i < findings->count; i++)
        left += !repaired || !finding_is_mendable(&findings->list[i]);
    if (json)
        return print_json(findings, sum, repaired, left, err) < 0 ? -1 : left > 0;
    for (size_t i = 0; i < findings->count; i++)
        print_line(&findings->list[i], repaired);
    print_sum(findings, sum, left);
    return left > 0;
}

void findings_free(struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        struct finding *finding = &findings->list[i];
        for (size_t n = 0; n < finding->image_count; n++)
            free(finding->images[n]);
        free(finding->images);
        free(finding->object);
        free(finding->file);
        free(finding->cause);
    }
    free(findings->list);
    *findings = (struct findings){ 0 };
}
