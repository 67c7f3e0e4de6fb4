/*
 * The floors of what a workload sees and changes of its kernel: paths of procfs and sysfs, sysctls,
 * the propagation of mounts. `hybrid run` has them by default; a bundle may bring empty lists.
 */
#include <string.h>

#include "parts.h"
#include "plan.h"

/* --- masked and read-only paths ------------------------------------------------------------------
 */

static bool contains(const json_t *list, const json_t *value)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(list, index, entry)
    {
        if (json_equal(entry, value))
            return true;
    }
    return false;
}

static int add_paths(json_t *linux_part, const char *key, const json_t *wanted, const char *what,
                     struct policy_decision *decision)
{
    json_t *present = json_object_get(linux_part, key);
    if (present && !json_is_null(present) && !json_is_array(present))
        return policy_refuse(decision, "linux.%s is no list", key);
    /* compose may share an array: it is changed in a copy. */
    json_t *list = json_is_array(present) ? json_copy(present) : json_array();
    size_t index;
    const json_t *path;
    int result = json_object_set_new(linux_part, key, list);
    json_array_foreach(wanted, index, path)
    {
        if (result < 0 || contains(list, path))
            continue;
        result = json_array_append(list, (json_t *)path);
        if (result == 0)
            result = policy_note(decision, "%s: %s", what, json_string_value(path));
    }
    return result < 0 ? policy_refuse(decision, "out of memory") : 0;
}

/* Paths are covered where a file system of this type is usually mounted, and nowhere else. */
static bool is_elsewhere(const json_t *mount, const json_t *places)
{
    static const char *const usual[][2] = { { "proc", "/proc" },
                                            { "sysfs", "/sys" },
                                            { "cgroup", "/sys/fs/cgroup" },
                                            { "cgroup2", "/sys/fs/cgroup" } };
    const char *type = json_string_value(json_object_get(mount, "type"));
    const char *target = json_string_value(json_object_get(mount, "destination"));
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (type && strcmp(type, usual[i][0]) == 0)
            return (!target || strcmp(target, usual[i][1]) != 0) &&
                   policy_exposes(usual[i][1], places);
    return false;
}

/*
 * A mount that begins at, below or above where a bundle's root is. The root is attached there while
 * the mounts are made: such a source means what is mounted in it by then, the workload's own procfs
 * on ROOT/proc, which would have another name without masks.
 */
static bool is_of_root(const json_t *config, const json_t *mount)
{
    const json_t *root = json_object_get(json_object_get(config, "root"), PLAN_RESOLVED_KEY);
    const char *source = json_string_value(json_object_get(mount, PLAN_RESOLVED_KEY));
    json_t *places = root && source ? json_pack("[O]", root) : NULL;
    bool shows = root && source && (!places || policy_exposes(source, places));
    json_decref(places);
    return shows;
}

/* The same files under another name: another mount of the file system, or a bind of the host's. */
static int check_mounts(const json_t *config, const struct policy_identity *identity,
                        const json_t *places, struct policy_decision *decision)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(json_object_get(config, "mounts"), index, entry)
    {
        if (is_elsewhere(entry, places) || policy_mount_exposes(entry, places) ||
            (json_array_size(places) > 0 && is_of_root(config, entry)))
            return policy_refuse(decision,
                                 "mounts[%zu] would show in another place what the policy masks or "
                                 "makes read-only; leave it out",
                                 index);
    }
    json_array_foreach(identity->mount_sources, index, entry)
    {
        if (policy_exposes(json_string_value(entry), places))
            return policy_refuse(decision,
                                 "a mount of %.200s would show in another place what the policy "
                                 "masks or makes read-only; leave it out",
                                 json_string_value(entry));
    }
    return 0;
}

static int apply_paths(const struct policy_floors *floors, const struct policy_identity *identity,
                       json_t *config, struct policy_decision *decision)
{
    const struct {
        const char *key, *what;
        const json_t *wanted;
    } lists[] = {
        { "maskedPaths", "masked path", floors->masked_paths },
        { "readonlyPaths", "read-only path", floors->readonly_paths },
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (!lists[i].wanted)
            continue;
        if (check_mounts(config, identity, lists[i].wanted, decision) < 0 ||
            add_paths(json_object_get(config, "linux"), lists[i].key, lists[i].wanted,
                      lists[i].what, decision) < 0)
            return -1;
    }
    return 0;
}

/* --- cgroups -------------------------------------------------------------------------------------
 */

/* The last of them counts, as in plan_parse. */
static bool is_readonly(const json_t *mount)
{
    bool readonly = false;
    size_t index;
    const json_t *entry;
    json_array_foreach(json_object_get(mount, "options"), index, entry)
    {
        const char *option = json_string_value(entry);
        if (option && (strcmp(option, "ro") == 0 || strcmp(option, "rw") == 0))
            readonly = option[1] == 'o';
    }
    return readonly;
}

static int make_readonly(json_t *mount, size_t number, struct policy_decision *decision)
{
    json_t *present = json_object_get(mount, "options");
    if (is_readonly(mount))
        return 0;
    if (present && !json_is_null(present) && !json_is_array(present))
        return policy_refuse(decision, "the options of mounts[%zu] are no list", number);
    /* compose may share an array: it is changed in a copy. */
    json_t *options = json_is_array(present) ? json_copy(present) : json_array();
    if (json_array_append_new(options, json_string("ro")) < 0 ||
        json_object_set(mount, "options", options) < 0) {
        json_decref(options);
        return policy_refuse(decision, "out of memory");
    }
    json_decref(options);
    return policy_note(decision, "read-only: mounts[%zu], of cgroups", number);
}

static bool is_of_cgroups(const json_t *mount)
{
    const char *type = json_string_value(json_object_get(mount, "type"));
    return type && (strcmp(type, "cgroup") == 0 || strcmp(type, "cgroup2") == 0) &&
           !policy_mount_is_bind(mount);
}

static int refuse_cgroups(const char *source, struct policy_decision *decision)
{
    return policy_refuse(decision,
                         "a mount of %.200s would show the host's cgroups, where the policy's "
                         "limits can be lifted; leave it out",
                         source);
}

/*
 * A writable cgroup file system lets root of a workload write its own limits. (Only cgroup v2 with
 * nsdelegate keeps those of the cgroup namespace's root, and no host promises that.)
 */
int policy_apply_cgroup_mounts(const struct policy_identity *identity, json_t *config,
                               struct policy_decision *decision)
{
    json_t *places = json_pack("[s]", "/sys/fs/cgroup"), *mount;
    const char *shown = NULL;
    int result = places ? 0 : policy_refuse(decision, "out of memory");
    size_t index;
    const json_t *source;
    json_array_foreach(json_object_get(config, "mounts"), index, mount)
    {
        if (result == 0 && is_of_cgroups(mount))
            result = make_readonly(mount, index, decision);
        else if (policy_mount_is_bind(mount) &&
                 (policy_mount_exposes(mount, places) || is_of_root(config, mount)))
            shown = json_string_value(json_object_get(mount, "source"));
    }
    json_array_foreach(identity->mount_sources, index, source)
    {
        if (policy_exposes(json_string_value(source), places))
            shown = json_string_value(source);
    }
    if (result == 0 && shown)
        result = refuse_cgroups(shown, decision);
    json_decref(places);
    return result;
}

/* --- sysctls -------------------------------------------------------------------------------------
 */

/* Every workload of `hybrid run` has these two, as Docker's have. */
static bool is_default_sysctl(const char *key)
{
    return strcmp(key, "net.ipv4.ip_unprivileged_port_start") == 0 ||
           strcmp(key, "net.ipv4.ping_group_range") == 0;
}

static bool is_allowed_sysctl(const json_t *allowed, const char *key)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(allowed, index, entry)
    {
        if (policy_begins_with(key, json_string_value(entry), "."))
            return true;
    }
    return is_default_sysctl(key);
}

static int check_sysctls(const json_t *allowed, const json_t *config,
                         struct policy_decision *decision)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(json_object_get(config, "linux"), "sysctl"), key, value)
    {
        if (!is_allowed_sysctl(allowed, key))
            return policy_refuse(decision, "the sysctl %.200s is none of allowed_sysctls", key);
    }
    return 0;
}

/* --- propagation ---------------------------------------------------------------------------------
 */

/* "rshared" is "shared" of a whole tree. */
static bool is_denied(const json_t *denied, const json_t *name)
{
    const char *text = json_string_value(name);
    size_t index;
    const json_t *entry;
    json_array_foreach(denied, index, entry)
    {
        const char *kind = json_string_value(entry);
        if (text && (strcmp(text, kind) == 0 || (*text == 'r' && strcmp(text + 1, kind) == 0)))
            return true;
    }
    return false;
}

static int check_propagation(const json_t *denied, const json_t *config,
                             struct policy_decision *decision)
{
    const json_t *root = json_object_get(json_object_get(config, "linux"), "rootfsPropagation");
    if (is_denied(denied, root))
        return policy_refuse(decision, "linux.rootfsPropagation %s is denied",
                             json_string_value(root));
    size_t index, number;
    const json_t *mount, *option;
    json_array_foreach(json_object_get(config, "mounts"), index, mount)
    {
        json_array_foreach(json_object_get(mount, "options"), number, option)
        {
            if (is_denied(denied, option))
                return policy_refuse(decision, "the propagation %s of mounts[%zu] is denied",
                                     json_string_value(option), index);
        }
    }
    return 0;
}

int policy_apply_exposure(const struct policy_floors *floors,
                          const struct policy_identity *identity, json_t *config,
                          struct policy_decision *decision)
{
    if (apply_paths(floors, identity, config, decision) < 0 ||
        check_propagation(floors->denied_propagation, config, decision) < 0)
        return -1;
    return floors->allowed_sysctls ? check_sysctls(floors->allowed_sysctls, config, decision) : 0;
}
