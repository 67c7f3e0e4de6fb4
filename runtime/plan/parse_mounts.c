/* mounts of an OCI configuration. Specification: runtime-spec 1.2, config.md, "Mounts". */
#include "json_read.h"
#include "parse_parts.h"

#include <sched.h>
#include <sys/mount.h>

#include "mount_options.h"

enum { MAX_PATH_LENGTH = 4095, FILE_MODE = 0644 };

/* Appends a file system's own option to *data, comma-separated, in memory of the plan. */
static int append_data(struct plan *plan, const char **data, const char *option, struct error *err)
{
    if (!*data) {
        *data = option;
        return 0;
    }
    size_t size = strlen(*data) + strlen(option) + sizeof ",";
    char *joined = plan_allocate(plan, size, 1, err);
    if (!joined)
        return -1;
    (void)snprintf(joined, size, "%s,%s", *data, option);
    *data = joined;
    return 0;
}

static int read_options(struct plan *plan, const json_t *options, struct plan_mount *mount,
                        struct error *err)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(options, index, entry)
    {
        const char *option = json_string_value(entry);
        if (!mount_option_apply(option, mount) && *option &&
            append_data(plan, &mount->data, option, err) < 0)
            return -1;
    }
    return 0;
}

/* What buildah has done by then, and leaves in the bundle: relabelled the files, changed their
 * owner. */
static bool is_done_by_engine(const char *option, size_t length)
{
    return length == 1 && strchr("zZU", *option);
}

/*
 * A bind mount has no file system of its own that could understand other options. Bundles bring
 * them along nevertheless (size=, mode=), and mount(2) ignores them; what has no value can only be
 * an option of mounts that was misspelt.
 */
static bool has_foreign_options(const struct plan_mount *mount, unsigned int flags)
{
    for (const char *at = mount->data; at && *at; at += *at == ',') {
        size_t length = strcspn(at, ",");
        if ((flags & PLAN_PARSE_OWN) ||
            (!memchr(at, '=', length) && !is_done_by_engine(at, length)))
            return true;
        at += length;
    }
    return false;
}

static int check_bind(struct plan_mount *mount, unsigned int flags, struct error *err)
{
    mount->type = "bind";
    mount->flags |= MS_BIND;
    if (!mount->source || !*mount->source)
        return error_set(err, EXIT_OURS, "mount on %.200s: a bind mount needs a source",
                         mount->target);
    if (has_foreign_options(mount, flags)) {
        const char *near = mount_option_nearest(mount->data);
        return error_set(err, EXIT_OURS,
                         "mount on %.200s: %.80s is not an option of a bind mount"
                         "%s%s",
                         mount->target, mount->data, near ? "; did you mean " : "",
                         near ? near : "");
    }
    mount->data = NULL;
    return 0;
}

/* The extension of hybrid's own documents: a file whose content is the source. */
static int add_file(struct plan *plan, const struct plan_mount *mount, json_t *readonly,
                    const json_t *target, struct error *err)
{
    struct plan_step *step = plan_add_step(plan, PLAN_FILE, err);
    if (!step)
        return -1;
    const char *content = mount->source ? mount->source : "";
    step->file = (struct plan_file){ mount->target, content, strlen(content), FILE_MODE };
    if (mount->flags & MS_RDONLY)
        (void)json_array_append(readonly, (json_t *)target);
    return 0;
}

static int read_target(struct plan *plan, const char *path, const char **target, struct error *err)
{
    if (!*target || !**target || strlen(*target) > MAX_PATH_LENGTH)
        return json_read_refuse(path, "destination", "an absolute path", err);
    if (**target == '/')
        return 0;
    /* Older documents wrote relative targets; the specification lets them mean the root's. */
    size_t size = strlen(*target) + sizeof "/";
    char *absolute = plan_allocate(plan, size, 1, err);
    if (!absolute)
        return -1;
    (void)snprintf(absolute, size, "/%s", *target);
    *target = absolute;
    return 0;
}

/* The mount's own mapping, or with the option alone the container's. */
static int parse_mount_maps(struct plan *plan, const json_t *entry, const char *path,
                            struct plan_mount *mount, struct error *err)
{
    if (parse_maps(plan, entry, path, "uidMappings", &mount->uid_maps, &mount->uid_map_count, err) <
            0 ||
        parse_maps(plan, entry, path, "gidMappings", &mount->gid_maps, &mount->gid_map_count, err) <
            0)
        return -1;
    if ((mount->uid_map_count > 0) != (mount->gid_map_count > 0))
        return error_set(err, EXIT_OURS,
                         "%s must have both uidMappings and gidMappings, or neither", path);
    if (mount->uid_map_count > 0)
        mount->idmap = true;
    if (mount->idmap && mount->uid_map_count == 0 && !(plan->namespaces.create & CLONE_NEWUSER) &&
        !plan->namespaces.path[PLAN_NS_USER])
        return error_set(err, EXIT_OURS,
                         "mount on %.200s: option idmap needs mappings, or a user namespace in "
                         "linux.namespaces",
                         mount->target);
    return 0;
}

static int parse_mount(struct plan *plan, const json_t *entry, const char *path, unsigned int flags,
                       json_t *readonly, struct error *err)
{
    struct plan_mount mount = { 0 };
    json_t *options = NULL;
    if (!json_is_object(entry))
        return error_set(err, EXIT_OURS, "%s must be an object", path);
    if (json_read_string(entry, path, "destination", &mount.target, err) < 0 ||
        json_read_string(entry, path, "type", &mount.type, err) < 0 ||
        json_read_string(entry, path, "source", &mount.source, err) < 0 ||
        json_read_string(entry, path, PLAN_RESOLVED_KEY, &mount.resolved, err) < 0 ||
        json_read_strings(entry, path, "options", &options, err) < 0 ||
        read_target(plan, path, &mount.target, err) < 0 ||
        read_options(plan, options, &mount, err) < 0 ||
        parse_mount_maps(plan, entry, path, &mount, err) < 0)
        return -1;
    bool typed = mount.type && *mount.type;
    if (typed && strcmp(mount.type, "file") == 0 && (flags & PLAN_PARSE_OWN))
        return add_file(plan, &mount, readonly, json_object_get(entry, "destination"), err);
    if ((mount.flags & MS_BIND) || (typed && strcmp(mount.type, "bind") == 0)) {
        if (check_bind(&mount, flags, err) < 0)
            return -1;
    } else if (mount.idmap) {
        return error_set(err, EXIT_OURS, "mount on %.200s: only ids of bind mounts can be mapped",
                         mount.target);
    } else if (!typed) {
        return json_read_refuse(path, "type", "the type of a file system", err);
    }
    struct plan_step *step = plan_add_step(plan, PLAN_MOUNT, err);
    if (!step)
        return -1;
    step->mount = mount;
    return 0;
}

int parse_mounts(struct plan *plan, unsigned int flags, json_t *readonly, struct error *err)
{
    json_t *mounts = NULL;
    if (json_read_array(plan->document, "", "mounts", &mounts, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    json_array_foreach(mounts, index, entry)
    {
        char path[32];
        (void)snprintf(path, sizeof path, "mounts[%zu]", index);
        if (parse_mount(plan, entry, path, flags, readonly, err) < 0)
            return -1;
    }
    return 0;
}
