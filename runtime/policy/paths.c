/*
 * Paths of a configuration that lead to the host's files, namespaces and programs. Where they lead
 * is looked at once, when the policy judges it, and pinned: whoever can change a link afterwards
 * gets an error, not what the policy would have refused.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "parts.h"
#include "plan.h"

/* --- files ---------------------------------------------------------------------------------------
 */

static bool climbs(const char *path)
{
    size_t length = strlen(path);
    return strstr(path, "/../") || (length >= 3 && strcmp(path + length - 3, "/..") == 0);
}

/* A link of procfs (/proc/PID/root) leads into another tree than the path that it shows as its
 * target does here, which is what realpath makes of it. */
static bool is_same_file(const char *path, const char *resolved)
{
    struct stat named, found;
    return stat(path, &named) == 0 && stat(resolved, &found) == 0 && named.st_dev == found.st_dev &&
           named.st_ino == found.st_ino;
}

/* What leads nowhere is opened as it was judged: as it is written; and not at all if that says
 * nothing of the place. */
static int pin(json_t *object, const char *path, const char *resolved, struct error *err)
{
    if (resolved && !is_same_file(path, resolved))
        return error_set(err, EXIT_OURS,
                         "the policy cannot judge %.200s: a link of /proc in it leads to the files "
                         "of another root directory or mount namespace; give a path of this one",
                         path);
    const char *pinned = resolved ? resolved : *path == '/' && !climbs(path) ? path : "";
    if (json_object_set_new(object, PLAN_RESOLVED_KEY, json_string(pinned)) == 0)
        return 0;
    return error_set(err, EXIT_OURS,
                     "the policy cannot judge %.200s: it leads to a path that is not UTF-8", path);
}

/* A relative root may lead out of the bundle, by ".." or a symbolic link. */
static bool is_below_bundle(const char *path, const char *resolved)
{
    _cleanup_free_ char *here = realpath(".", NULL);
    size_t length = here ? strlen(here) : 0;
    return *path != '/' && length > 1 && resolved && strncmp(resolved, here, length) == 0 &&
           resolved[length] == '/';
}

static int pin_root(json_t *root, json_t *sources, struct error *err)
{
    const char *path = json_string_value(json_object_get(root, "path"));
    if (!path)
        return 0;
    _cleanup_free_ char *resolved = realpath(path, NULL);
    if (pin(root, path, resolved, err) < 0)
        return -1;
    if (resolved && !is_below_bundle(path, resolved))
        (void)json_array_append(sources, json_object_get(root, PLAN_RESOLVED_KEY));
    return 0;
}

/* A relative source is a bundle's, and matches whatever a rule says of mounts. */
static int pin_mount(json_t *mount, json_t *sources, struct error *err)
{
    const char *source = json_string_value(json_object_get(mount, "source"));
    (void)json_object_del(mount, PLAN_RESOLVED_KEY);
    if (!source || *source != '/')
        return 0;
    _cleanup_free_ char *resolved = realpath(source, NULL);
    if (pin(mount, source, resolved, err) < 0)
        return -1;
    if (resolved)
        (void)json_array_append(sources, json_object_get(mount, PLAN_RESOLVED_KEY));
    if (!policy_mount_opens_source(mount)) /* its source is a word that means nothing */
        (void)json_object_del(mount, PLAN_RESOLVED_KEY);
    return 0;
}

json_t *policy_pin_mounts(json_t *config, bool bundle, struct error *err)
{
    json_t *sources = json_array();
    size_t index;
    json_t *mount;
    int result = bundle ? pin_root(json_object_get(config, "root"), sources, err) : 0;
    json_array_foreach(json_object_get(config, "mounts"), index, mount)
    {
        if (result == 0)
            result = pin_mount(mount, sources, err);
    }
    if (result == 0)
        return sources;
    json_decref(sources);
    return NULL;
}

static bool remove_from_all(json_t *list, const char *key)
{
    bool removed = false;
    size_t index;
    json_t *entry;
    json_array_foreach(list, index, entry) removed |= json_object_del(entry, key) == 0;
    return removed;
}

bool policy_unpin(json_t *config)
{
    bool removed = json_object_del(json_object_get(config, "root"), PLAN_RESOLVED_KEY) == 0;
    removed |= remove_from_all(json_object_get(config, "mounts"), PLAN_RESOLVED_KEY);
    removed |= remove_from_all(json_object_get(json_object_get(config, "linux"), "namespaces"),
                               PLAN_NOT_HOSTS_KEY);
    return removed;
}

/* --- namespaces ----------------------------------------------------------------------------------
 */

/* type: as in /proc/PID/ns. */
static bool is_of_host(const char *path, const char *type)
{
    static const char *const processes[] = { "self", "1" };
    struct stat joined, host;
    char file[64];
    if (stat(path, &joined) < 0)
        return true;
    for (size_t i = 0; i < sizeof processes / sizeof *processes; i++) {
        (void)snprintf(file, sizeof file, "/proc/%s/ns/%s", processes[i], type);
        if (stat(file, &host) == 0 && host.st_ino == joined.st_ino && host.st_dev == joined.st_dev)
            return true;
    }
    return false;
}

/* The file of /proc/PID/ns of a type of the runtime-spec. */
static const char *file_of(const char *type)
{
    return strcmp(type, "network") == 0 ? "net" : strcmp(type, "mount") == 0 ? "mnt" : type;
}

unsigned int policy_pin_namespaces(json_t *config)
{
    unsigned int flags = 0;
    size_t index;
    json_t *entry;
    json_array_foreach(json_object_get(json_object_get(config, "linux"), "namespaces"), index,
                       entry)
    {
        const char *type = json_string_value(json_object_get(entry, "type"));
        const char *path = json_string_value(json_object_get(entry, "path"));
        (void)json_object_del(entry, PLAN_NOT_HOSTS_KEY);
        if (!type || !path || !*path)
            continue;
        bool hosts = is_of_host(path, file_of(type));
        if (hosts || json_object_set_new(entry, PLAN_NOT_HOSTS_KEY, json_true()) < 0)
            flags |= policy_namespace_flag(type);
    }
    return flags;
}

/* --- programs ------------------------------------------------------------------------------------
 */

json_t *policy_resolve_hooks(const json_t *config)
{
    json_t *programs = json_array();
    const json_t *hook;
    for (size_t i = 0; (hook = policy_hook_at(config, i)); i++) {
        const char *path = json_string_value(json_object_get(hook, "path"));
        _cleanup_free_ char *resolved = path && *path == '/' ? realpath(path, NULL) : NULL;
        bool pinned = resolved && is_same_file(path, resolved);
        (void)json_array_append_new(programs, json_string(pinned ? resolved : ""));
    }
    return programs;
}
