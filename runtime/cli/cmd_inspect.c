/* hybrid inspect: everything known of a workload or an image, as JSON. */
#include <string.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/index.h"
#include "verbs.h"

struct settings {
    const char *type;
    bool security;
};

static const char *const types[] = { "workload", "image", NULL };

static const struct cli_option options[] = {
    { .name = "type",
      .kind = CLI_CHOICE,
      .argument = "TYPE",
      .help = "Look among workloads or images only: workload, image",
      .offset = offsetof(struct settings, type),
      .choices = types },
    { .name = "security",
      .kind = CLI_FLAG,
      .help = "Print what the kernel enforces on running workloads",
      .offset = offsetof(struct settings, security) },
    { .name = "format",
      .letter = 'f',
      .kind = CLI_REFUSED,
      .argument = "TEMPLATE",
      .help = "there are no templates; the output is JSON, which jq(1) takes apart" },
    { 0 },
};

/* All names of the image, by tag and by digest. Returns 0, or -1 with *err. */
static int collect_names(const struct cli *cli, const char *id, json_t *tags, json_t *digests,
                         int64_t *size, struct error *err)
{
    struct index_list list;
    if (index_list(cli->runtime.store, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        const struct index_entry *entry = &list.entries[i];
        if (strcmp(entry->config, id) != 0)
            continue;
        *size = entry->size;
        if (!entry->reference)
            continue;
        const char *shown = reference_familiar(entry->reference);
        const char *at = strchr(shown, '@');
        const char *end = at ? at : strrchr(shown, ':');
        _cleanup_free_ char *digest = NULL;
        if (at)
            digest = strdup(shown);
        else if (asprintf(&digest, "%.*s@sha256:%s", end ? (int)(end - shown) : 0, shown,
                          entry->manifest) < 0)
            digest = NULL;
        if (!at)
            (void)json_array_append_new(tags, json_string(shown));
        (void)json_array_append_new(digests, json_string(digest ? digest : ""));
    }
    index_list_free(&list);
    return 0;
}

/* The form of docker inspect. Members that the configuration lacks are left out. */
static json_t *describe(const struct cli *cli, const struct store_image *image, struct error *err)
{
    static const char *const copied[][2] = {
        { "Created", "created" }, { "Author", "author" }, { "Architecture", "architecture" },
        { "Variant", "variant" }, { "Os", "os" },         { "Config", "config" },
    };
    _cleanup_json_ json_t *tags = json_array();
    _cleanup_json_ json_t *digests = json_array();
    int64_t size = 0;
    if (collect_names(cli, image->id, tags, digests, &size, err) < 0)
        return NULL;
    const json_t *rootfs = json_object_get(image->config, "rootfs");
    json_t *value =
        json_pack("{s:s+, s:O, s:O, s:I, s:{s:s, s:O}}", "Id", "sha256:", image->id, "RepoTags",
                  tags, "RepoDigests", digests, "Size", (json_int_t)size, "RootFS", "Type",
                  "layers", "Layers", json_object_get(rootfs, "diff_ids"));
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        json_t *member = json_object_get(image->config, copied[i][1]);
        if (member)
            (void)json_object_set(value, copied[i][0], member);
    }
    if (!value)
        (void)error_set(err, EXIT_OURS, "out of memory");
    return value;
}

/* 1: *value is the image, 0: there is none (*err says why), -1: *err. */
static int inspect_image(const struct cli *cli, const char *name, json_t **value, struct error *err)
{
    struct index_entry entry = { 0 };
    struct store_image image;
    int found = index_find(cli->runtime.store, name, &entry, NULL, err);
    index_entry_free(&entry);
    if (found < 0 || (found == 0 && !store_name_is_embedded(name)))
        return found;
    if (store_open_image_or_embedded(cli->runtime.store, cli->runtime.root, cli->runtime.exe_dir,
                                     name, &image, err) < 0)
        return -1;
    *value = describe(cli, &image, err);
    store_image_free(&image);
    return *value ? 1 : -1;
}

static int inspect(const struct cli *cli, const char *name, const struct settings *given,
                   json_t **value, struct error *err)
{
    int found = 0;
    const char *type = given->security ? "workload" : given->type;
    if (given->security)
        found = cli_inspect_workload_security(cli, name, value, err);
    else if (!type || strcmp(type, "workload") == 0)
        found = cli_inspect_workload(cli, name, value, err);
    if (found == 0 && (!type || strcmp(type, "image") == 0))
        found = inspect_image(cli, name, value, err);
    if (found == 0 && (!type || strcmp(type, "workload") == 0)) {
        char printable[200];
        (void)error_set(err, EXIT_OURS, "no such %s: %s; `hybrid ps -a`%s what there is",
                        type ? type : "workload or image",
                        document_printable(name, printable, sizeof printable),
                        type ? " lists" : " and `hybrid images` list");
    }
    return found > 0 ? 0 : -1;
}

/* Prints what was found, also when a name is missing: that is then the error. */
static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    const struct settings *given = settings;
    int result = 0;
    _cleanup_json_ json_t *values = json_array();
    if (given->security && given->type && strcmp(given->type, "workload") != 0)
        return error_set(err, EXIT_OURS,
                         "--security is about running workloads; --type=%s has none", given->type);
    for (size_t i = 0; i < count; i++) {
        json_t *value = NULL;
        struct error cause = { 0 };
        if (inspect(cli, operands[i], given, &value, &cause) == 0) {
            (void)json_array_append_new(values, value);
            continue;
        }
        if (result < 0)
            cli_warn(err->message);
        *err = cause;
        result = -1;
    }
    cli_print_json(cli->out, values);
    return result;
}

const struct verb verb_inspect = {
    .name = "inspect",
    .group = CLI_GROUP_OTHER,
    .synopsis = "[OPTIONS] NAME [NAME...]",
    .summary = "Print what is known of workloads and images, as JSON",
    .description =
        "A name that is both a workload's and an image's means the workload; --type "
        "decides otherwise. --security reads what is in force from /proc, for a VM of the "
        "hybrid-vmm that runs it: user and groups, capabilities, seccomp of each thread, "
        "namespaces, mounts, descriptors, limits.",
    .examples = "  hybrid inspect busybox | jq '.[0].Config.Cmd'\n"
                "  hybrid inspect --security web | jq '.[0].process.capabilities'",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = -1,
    .run = run,
};
