/*
 * Seccomp profiles given by the user, in either of two formats: linux.seccomp of the OCI
 * runtime-spec, or Docker's (archMap instead of architectures; rules with `includes` and
 * `excludes`), which is resolved to the first.
 */
#include "cleanup.h"
#include "compose_parts.h"
#include "json_read.h"
#include "seccomp_native.h"

/*
 * minKernel is compared with the oldest kernel that hybrid runs on, not with the running one: the
 * same filter must result for a container on the host and for a guest with its own kernel.
 */
enum { OLDEST_KERNEL_MAJOR = 6, OLDEST_KERNEL_MINOR = 1 };

/* 1: every supported kernel is at least as new; -1 with *err otherwise; 0: no minKernel. */
static int read_min_kernel(const json_t *condition, const char *path, struct error *err)
{
    const char *text = NULL;
    int present = json_read_string(condition, path, "minKernel", &text, err);
    if (present <= 0 || !*text)
        return present < 0 ? -1 : 0;
    unsigned int major, minor;
    int used = 0;
    /* NOLINTNEXTLINE(cert-err34-c): three digits at most */
    if (sscanf(text, "%3u.%3u%n", &major, &minor, &used) != 2 || text[used])
        return json_read_refuse(path, "minKernel", "a version such as 4.8", err);
    if (major < OLDEST_KERNEL_MAJOR ||
        (major == OLDEST_KERNEL_MAJOR && minor <= OLDEST_KERNEL_MINOR))
        return 1;
    return error_set(err, EXIT_OURS,
                     "%s.minKernel %.20s is newer than %d.%d, the oldest kernel "
                     "that is supported; leave the rule or its condition out",
                     path, text, OLDEST_KERNEL_MAJOR, OLDEST_KERNEL_MINOR);
}

/* How many of the listed capabilities are in the set. */
static int count_held(const json_t *names, uint64_t capabilities, size_t *held, struct error *err)
{
    size_t index;
    const json_t *entry;
    *held = 0;
    json_array_foreach(names, index, entry)
    {
        const char *name = json_string_value(entry);
        int number = capability_from_name(name);
        if (number < 0) {
            const char *near = capability_nearest(name);
            return error_set(err, EXIT_OURS, "seccomp profile: unknown capability %.40s%s%s", name,
                             near ? "; did you mean " : "", near ? near : "");
        }
        *held += capabilities >> number & 1;
    }
    return 0;
}

static bool has_native_arch(const json_t *arches)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(arches, index, entry) if (strcmp(json_string_value(entry),
                                                        SECCOMP_NATIVE_GO_NAME) == 0) return true;
    return false;
}

/*
 * One of `includes` (all capabilities, one of the architectures and the kernel must be there) and
 * `excludes` (none of them may be). Returns 1 if the rule stays, 0 if not, -1 with *err.
 */
static int check_condition(const json_t *rule, const char *path, bool include,
                           uint64_t capabilities, struct error *err)
{
    const char *key = include ? "includes" : "excludes";
    char where[80];
    (void)snprintf(where, sizeof where, "%s.%s", path, key);
    json_t *condition = NULL, *caps = NULL, *arches = NULL;
    if (json_read_object(rule, path, key, &condition, err) < 0 ||
        json_read_strings(condition, where, "caps", &caps, err) < 0 ||
        json_read_strings(condition, where, "arches", &arches, err) < 0)
        return -1;
    size_t held;
    int new_enough = read_min_kernel(condition, where, err);
    if (new_enough < 0 || count_held(caps, capabilities, &held, err) < 0)
        return -1;
    bool native = has_native_arch(arches);
    if (include)
        return held == json_array_size(caps) && (json_array_size(arches) == 0 || native);
    return held == 0 && !native && new_enough == 0;
}

/* Copies a rule without Docker's members. Appends nothing if its conditions do not hold. */
static int resolve_rule(json_t *rules, const json_t *rule, const char *path, uint64_t capabilities,
                        struct error *err)
{
    static const char *const kept[] = { "names", "action", "errnoRet", "args", NULL };
    if (!json_is_object(rule))
        return error_set(err, EXIT_OURS, "%s must be an object", path);
    int included = check_condition(rule, path, true, capabilities, err);
    int allowed = included < 0 ? -1 : check_condition(rule, path, false, capabilities, err);
    if (included < 0 || allowed < 0)
        return -1;
    if (!included || !allowed)
        return 0;
    json_auto_t *copy = json_object();
    for (size_t i = 0; kept[i]; i++) {
        json_t *value = json_object_get(rule, kept[i]);
        if (value && !json_is_null(value) &&
            compose_set(copy, kept[i], json_incref(value), err) < 0)
            return -1;
    }
    const char *name = NULL; /* Docker's oldest format: one name a rule */
    if (json_read_string(rule, path, "name", &name, err) < 0)
        return -1;
    if (name && json_object_get(copy, "names"))
        return error_set(err, EXIT_OURS, "%s has both name and names; use one of them", path);
    if (name && compose_set(copy, "names", json_pack("[s]", name), err) < 0)
        return -1;
    return compose_append(rules, json_incref(copy), err);
}

static json_t *resolve_rules(const json_t *profile, uint64_t capabilities, struct error *err)
{
    json_t *given = NULL;
    if (json_read_array(profile, "seccomp profile:", "syscalls", &given, err) < 0)
        return NULL;
    json_auto_t *rules = json_array();
    size_t index;
    const json_t *rule;
    json_array_foreach(given, index, rule)
    {
        char path[64];
        (void)snprintf(path, sizeof path, "seccomp profile: syscalls[%zu]", index);
        if (resolve_rule(rules, rule, path, capabilities, err) < 0)
            return NULL;
    }
    return json_incref(rules);
}

/* The architectures of the archMap entry for this machine: itself and its others. */
static json_t *resolve_arch_map(const json_t *map, struct error *err)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(map, index, entry)
    {
        static const char *const path = "seccomp profile: archMap[]";
        const char *name = NULL;
        json_t *others = NULL;
        if (json_read_string(entry, path, "architecture", &name, err) < 0 ||
            json_read_strings(entry, path, "subArchitectures", &others, err) < 0)
            return NULL;
        if (!name || strcmp(name, SECCOMP_NATIVE) != 0)
            continue;
        json_t *result = json_pack("[s]", name);
        if (others)
            (void)json_array_extend(result, others);
        return result;
    }
    return json_pack("[s]", SECCOMP_NATIVE);
}

static json_t *resolve_architectures(const json_t *profile, struct error *err)
{
    json_t *map = NULL, *given = NULL;
    if (json_read_array(profile, "seccomp profile:", "archMap", &map, err) < 0 ||
        json_read_strings(profile, "seccomp profile:", "architectures", &given, err) < 0)
        return NULL;
    if (json_array_size(map) > 0 && json_array_size(given) > 0) {
        (void)error_set(err, EXIT_OURS,
                        "seccomp profile: has both architectures and archMap; use one of them");
        return NULL;
    }
    if (json_array_size(given) > 0)
        return json_incref(given);
    return map ? resolve_arch_map(map, err) : json_pack("[s]", SECCOMP_NATIVE);
}

json_t *seccomp_profile_resolve(const json_t *profile, uint64_t capabilities, struct error *err)
{
    static const char *const kept[] = { "defaultAction", "defaultErrnoRet",  "flags",
                                        "listenerPath",  "listenerMetadata", NULL };
    if (!json_is_object(profile) || !json_object_get(profile, "defaultAction")) {
        (void)error_set(err, EXIT_OURS,
                        "seccomp profile: must be a JSON object with defaultAction");
        return NULL;
    }
    json_auto_t *result = json_object();
    for (size_t i = 0; kept[i]; i++) {
        json_t *value = json_object_get(profile, kept[i]);
        if (value && !json_is_null(value) &&
            compose_set(result, kept[i], json_incref(value), err) < 0)
            return NULL;
    }
    json_auto_t *architectures = resolve_architectures(profile, err);
    json_auto_t *rules = architectures ? resolve_rules(profile, capabilities, err) : NULL;
    if (!rules || compose_set(result, "architectures", json_incref(architectures), err) < 0 ||
        compose_set(result, "syscalls", json_incref(rules), err) < 0)
        return NULL;
    return json_incref(result);
}
