/*
 * What a workload of `hybrid run` has mounted besides the defaults: --volume, --mount and --tmpfs.
 * Docker's forms and meanings; what is not supported is refused by name. A host path is used as it
 * was given: whether it exists is for who starts the workload to find out.
 */
#include "compose_parts.h"

#include <stdlib.h>

enum { MAX_TEXT = 4096, MAX_MOUNTS = 256 };

static int refuse(const char *option, const char *argument, const char *why, struct error *err)
{
    return error_set(err, EXIT_OURS, "%s %.200s: %s", option, argument, why);
}

/* One mount of the host as it was asked for; strings borrowed. */
struct volume {
    const char *option, *argument; /* for messages */
    const char *source, *target;
    bool read_only, nonrecursive;
};

/* "./data" and the like begin at the caller's directory. Returns the JSON string, or NULL. */
static json_t *absolute_source(const struct run_options *options, const char *source)
{
    char path[2 * MAX_TEXT];
    if (*source == '/' || !options->directory)
        return json_string(source);
    (void)snprintf(path, sizeof path, "%s/%s", options->directory, source);
    return json_string(path);
}

/* Only an absolute path, or one that is plainly relative, can be no name of a volume. */
static int check_source(const struct volume *volume, struct error *err)
{
    const char *source = volume->source;
    if (*source == '/' || strcmp(source, ".") == 0 || strcmp(source, "..") == 0 ||
        strncmp(source, "./", 2) == 0 || strncmp(source, "../", 3) == 0)
        return 0;
    if (!*source)
        return refuse(volume->option, volume->argument, "there is no path of the host in it", err);
    return error_set(err, EXIT_OURS,
                     "%s %.200s: \"%.80s\" would be the name of a volume, which are not supported; "
                     "for a directory write ./%.80s, or its absolute path",
                     volume->option, volume->argument, source, source);
}

static int add_volume(json_t *mounts, const struct run_options *options,
                      const struct volume *volume, struct error *err)
{
    char target[MAX_TEXT + 1], prefix[16];
    (void)snprintf(target, sizeof target, "%s", volume->target);
    (void)snprintf(prefix, sizeof prefix, "%s ", volume->option);
    if (check_source(volume, err) < 0 ||
        compose_check_target(prefix, volume->argument, target, err) < 0)
        return -1;
    json_auto_t *checked = compose_string(volume->argument, volume->option, err);
    if (!checked)
        return -1;
    json_t *list = json_pack("[s, s]", volume->nonrecursive ? "bind" : "rbind", "rprivate");
    /* All that is below it too, as Docker has it since 25: a VM could not tell the two apart. */
    if (volume->read_only)
        (void)json_array_append_new(list, json_string("rro"));
    (void)json_array_append_new(list, json_string(volume->read_only ? "ro" : "rw"));
    return compose_append(mounts,
                          json_pack("{s:s, s:s, s:o, s:o}", "destination", target, "type", "bind",
                                    "source", absolute_source(options, volume->source), "options",
                                    list),
                          err);
}

/* --- -v HOST:TARGET[:OPTION,...] ---------------------------------------------------------------
 */

/* Options of -v: what they set, or why they are refused. */
static const struct volume_option {
    const char *name;
    const char *refusal; /* NULL: supported */
    bool read_only, nonrecursive;
} volume_options[] = {
    { "ro", NULL, true, false },
    { "rw", NULL, false, false },
    { "rbind", NULL, false, false },
    { "bind", NULL, false, true },
    { "rprivate", NULL, false, false },
    { "private", NULL, false, false },
    { "z", "labels of SELinux are not supported; leave :z out", false, false },
    { "Z", "labels of SELinux are not supported; leave :Z out", false, false },
    { "nocopy", "nothing is ever copied out of the image; leave :nocopy out", false, false },
    { "shared", "mounts do not propagate between host and workload; leave it out", false, false },
    { "rshared", "mounts do not propagate between host and workload; leave it out", false, false },
    { "slave", "mounts do not propagate between host and workload; leave it out", false, false },
    { "rslave", "mounts do not propagate between host and workload; leave it out", false, false },
};

static int apply_option(struct volume *volume, const char *option, struct error *err)
{
    const struct volume_option *found = NULL;
    for (size_t i = 0; i < sizeof volume_options / sizeof *volume_options; i++)
        if (strcmp(volume_options[i].name, option) == 0)
            found = &volume_options[i];
    if (!found)
        return error_set(err, EXIT_OURS,
                         "%s %.200s: \"%.80s\" is not an option of a mount; ro and rw are",
                         volume->option, volume->argument, option);
    if (found->refusal)
        return refuse(volume->option, volume->argument, found->refusal, err);
    volume->read_only |= found->read_only;
    volume->nonrecursive |= found->nonrecursive;
    return 0;
}

static int add_v(json_t *mounts, const struct run_options *options, const char *argument,
                 struct error *err)
{
    char copy[MAX_TEXT + 1];
    struct volume volume = { .option = "-v", .argument = argument };
    if (strlen(argument) > MAX_TEXT)
        return refuse("-v", argument, "too long", err);
    (void)snprintf(copy, sizeof copy, "%s", argument);
    char *rest = copy;
    volume.source = strsep(&rest, ":");
    volume.target = strsep(&rest, ":");
    if (!volume.target)
        return refuse("-v", argument,
                      "volumes without a host directory are not supported; write "
                      "HOST:TARGET, or use --tmpfs for scratch space",
                      err);
    if (rest && strchr(rest, ':'))
        return refuse("-v", argument,
                      "more colons than in HOST:TARGET:OPTIONS; a path with a colon can be given "
                      "by --mount",
                      err);
    for (const char *option; (option = strsep(&rest, ",")) != NULL;)
        if (apply_option(&volume, option, err) < 0)
            return -1;
    return add_volume(mounts, options, &volume, err);
}

/* --- --mount KEY=VALUE,... ----------------------------------------------------------------------
 */

enum mount_key {
    KEY_TYPE,
    KEY_SOURCE,
    KEY_TARGET,
    KEY_READONLY,
    KEY_RECURSIVE,
    KEY_NONRECURSIVE,
    KEY_PROPAGATION,
    KEY_SIZE,
    KEY_MODE,
    KEY_COUNT,
};

static const struct {
    const char *name;
    enum mount_key key;
} mount_keys[] = {
    { "type", KEY_TYPE },
    { "source", KEY_SOURCE },
    { "src", KEY_SOURCE },
    { "target", KEY_TARGET },
    { "destination", KEY_TARGET },
    { "dst", KEY_TARGET },
    { "readonly", KEY_READONLY },
    { "ro", KEY_READONLY },
    { "bind-recursive", KEY_RECURSIVE },
    { "bind-nonrecursive", KEY_NONRECURSIVE },
    { "bind-propagation", KEY_PROPAGATION },
    { "tmpfs-size", KEY_SIZE },
    { "tmpfs-mode", KEY_MODE },
};

static int read_key(const char *argument, char *field, const char *values[KEY_COUNT],
                    struct error *err)
{
    char *value = strchr(field, '=');
    if (value)
        *value++ = '\0';
    for (size_t i = 0; i < sizeof mount_keys / sizeof *mount_keys; i++) {
        enum mount_key key = mount_keys[i].key;
        if (strcmp(mount_keys[i].name, field) != 0)
            continue;
        if (values[key])
            return error_set(err, EXIT_OURS, "--mount %.200s: %s is given twice", argument, field);
        if (!value && key != KEY_READONLY && key != KEY_NONRECURSIVE)
            return error_set(err, EXIT_OURS, "--mount %.200s: %s needs a value", argument, field);
        values[key] = value ? value : "true";
        return 0;
    }
    return error_set(err, EXIT_OURS,
                     "--mount %.200s: \"%.80s\" is not known; type, source, target, readonly, "
                     "bind-recursive, tmpfs-size and tmpfs-mode are",
                     argument, field);
}

static int read_switch(const char *argument, const char *text, bool *on, struct error *err)
{
    *on = text && (strcmp(text, "true") == 0 || strcmp(text, "1") == 0);
    if (!text || *on || strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
        return 0;
    return error_set(err, EXIT_OURS, "--mount %.200s: \"%.80s\" is neither true nor false",
                     argument, text);
}

static int add_bind(json_t *mounts, const struct run_options *options, const char *argument,
                    const char *const values[KEY_COUNT], struct error *err)
{
    struct volume volume = { .option = "--mount",
                             .argument = argument,
                             .source = values[KEY_SOURCE],
                             .target = values[KEY_TARGET] };
    const char *recursive = values[KEY_RECURSIVE], *propagation = values[KEY_PROPAGATION];
    if (!volume.source)
        return refuse("--mount", argument, "a bind needs a source", err);
    if (values[KEY_SIZE] || values[KEY_MODE])
        return refuse("--mount", argument, "tmpfs-size and tmpfs-mode are for type=tmpfs", err);
    if (propagation && strcmp(propagation, "rprivate") != 0 && strcmp(propagation, "private") != 0)
        return refuse("--mount", argument,
                      "mounts do not propagate between host and workload: bind-propagation can "
                      "only be rprivate",
                      err);
    if (read_switch(argument, values[KEY_READONLY], &volume.read_only, err) < 0 ||
        read_switch(argument, values[KEY_NONRECURSIVE], &volume.nonrecursive, err) < 0)
        return -1;
    if (recursive && strcmp(recursive, "disabled") == 0)
        volume.nonrecursive = true;
    else if (recursive && strcmp(recursive, "enabled") != 0 && strcmp(recursive, "readonly") != 0)
        return refuse("--mount", argument,
                      "bind-recursive can be enabled, readonly (what readonly means here) or "
                      "disabled",
                      err);
    if (recursive && strcmp(recursive, "readonly") == 0 && !volume.read_only)
        return refuse("--mount", argument, "bind-recursive=readonly needs readonly", err);
    return add_volume(mounts, options, &volume, err);
}

static int add_tmpfs(json_t *mounts, const char *argument, const char *const values[KEY_COUNT],
                     struct error *err)
{
    char text[MAX_TEXT + 128];
    bool read_only;
    if (values[KEY_SOURCE] || values[KEY_RECURSIVE] || values[KEY_NONRECURSIVE] ||
        values[KEY_PROPAGATION])
        return refuse("--mount", argument, "a tmpfs has no source and no bind options", err);
    if (read_switch(argument, values[KEY_READONLY], &read_only, err) < 0)
        return -1;
    const char *size = values[KEY_SIZE], *mode = values[KEY_MODE];
    (void)snprintf(text, sizeof text, "%s:%s%s%s%s%s", values[KEY_TARGET], read_only ? "ro" : "rw",
                   size ? ",size=" : "", size ? size : "", mode ? ",mode=" : "", mode ? mode : "");
    return compose_tmpfs(mounts, "--mount type=tmpfs,target=", text, err);
}

static int add_mount(json_t *mounts, const struct run_options *options, const char *argument,
                     struct error *err)
{
    const char *values[KEY_COUNT] = { NULL };
    char copy[MAX_TEXT + 1];
    if (strlen(argument) > MAX_TEXT)
        return refuse("--mount", argument, "too long", err);
    (void)snprintf(copy, sizeof copy, "%s", argument);
    char *rest = copy;
    for (char *field; (field = strsep(&rest, ",")) != NULL;)
        if (read_key(argument, field, values, err) < 0)
            return -1;
    const char *type = values[KEY_TYPE];
    if (!values[KEY_TARGET])
        return refuse("--mount", argument, "a target is missing", err);
    if (type && strcmp(type, "bind") == 0)
        return add_bind(mounts, options, argument, values, err);
    if (type && strcmp(type, "tmpfs") == 0)
        return add_tmpfs(mounts, argument, values, err);
    return refuse("--mount", argument,
                  "type=bind or type=tmpfs is needed; volumes have no names "
                  "here",
                  err);
}

/* --- all of them --------------------------------------------------------------------------------
 */

static size_t depth_of(const json_t *mount)
{
    size_t depth = 0;
    for (const char *at = json_string_value(json_object_get(mount, "destination")); *at; at++)
        depth += *at == '/';
    return depth;
}

/* A mount covers what is mounted below it before: the parents come first, as Docker has it. */
static json_t *sort_by_depth(const json_t *mounts)
{
    json_t *sorted = json_array();
    size_t deepest = 0, index;
    json_t *mount;
    json_array_foreach(mounts, index, mount)
    {
        size_t depth = depth_of(mount);
        deepest = depth > deepest ? depth : deepest;
    }
    for (size_t depth = 0; depth <= deepest; depth++)
        json_array_foreach(mounts, index, mount)
        {
            if (depth_of(mount) == depth)
                (void)json_array_append(sorted, mount);
        }
    return sorted;
}

bool compose_has_target(const json_t *mounts, const char *target)
{
    size_t index;
    const json_t *mount;
    json_array_foreach(mounts, index, mount)
    {
        if (strcmp(json_string_value(json_object_get(mount, "destination")), target) == 0)
            return true;
    }
    return false;
}

static int check_twice(const json_t *mounts, struct error *err)
{
    for (size_t i = 0; i < json_array_size(mounts); i++) {
        json_auto_t *others = json_copy((json_t *)mounts);
        const char *target =
            json_string_value(json_object_get(json_array_get(mounts, i), "destination"));
        (void)json_array_remove(others, i);
        if (compose_has_target(others, target))
            return error_set(err, EXIT_OURS, "%.200s is mounted twice (-v, --mount, --tmpfs)",
                             target);
    }
    return 0;
}

json_t *compose_volumes(const struct run_options *options, struct error *err)
{
    json_auto_t *mounts = json_array();
    if (options->volumes.count + options->mounts.count + options->tmpfs.count > MAX_MOUNTS) {
        (void)error_set(err, EXIT_OURS, "more than %d of -v, --mount and --tmpfs", MAX_MOUNTS);
        return NULL;
    }
    for (size_t i = 0; i < options->tmpfs.count; i++)
        if (compose_tmpfs(mounts, "--tmpfs ", options->tmpfs.values[i], err) < 0)
            return NULL;
    for (size_t i = 0; i < options->volumes.count; i++)
        if (add_v(mounts, options, options->volumes.values[i], err) < 0)
            return NULL;
    for (size_t i = 0; i < options->mounts.count; i++)
        if (add_mount(mounts, options, options->mounts.values[i], err) < 0)
            return NULL;
    if (check_twice(mounts, err) < 0)
        return NULL;
    json_t *sorted = sort_by_depth(mounts);
    if (!sorted)
        (void)error_set(err, EXIT_OURS, "out of memory");
    return sorted;
}
