/* linux.resources of an OCI configuration. Specification: runtime-spec 1.2, config-linux.md,
 * "Control groups". */
#include "json_read.h"
#include "parse_parts.h"

#define PATH "linux.resources"

/* Engines write 0 for what was not asked for; no limit of these can be 0. -1 is no limit. */
static int read_limit(const json_t *parent, const char *path, const char *key, int64_t *limit,
                      struct error *err)
{
    int64_t value = -1;
    int present = json_read_integer(parent, path, key, -1, INT64_MAX, &value, err);
    if (present < 0)
        return -1;
    *limit = value == 0 ? -1 : value;
    if (present > 0 && value == -1)
        *limit = PLAN_UNLIMITED;
    return 0;
}

static int parse_memory(const json_t *all, struct plan_resources *resources, struct error *err)
{
    json_t *memory = NULL;
    if (json_read_object(all, PATH, "memory", &memory, err) < 0 ||
        json_read_boolean(memory, PATH ".memory", "checkBeforeUpdate", &resources->check_memory,
                          err) < 0 ||
        read_limit(memory, PATH ".memory", "limit", &resources->memory_limit, err) < 0 ||
        read_limit(memory, PATH ".memory", "swap", &resources->memory_swap, err) < 0 ||
        read_limit(memory, PATH ".memory", "reservation", &resources->memory_reservation, err) < 0)
        return -1;
    bool limited = resources->memory_limit > 0 && resources->memory_limit != PLAN_UNLIMITED;
    if (limited && resources->memory_swap > 0 && resources->memory_swap < resources->memory_limit)
        return error_set(err, EXIT_OURS,
                         PATH ".memory.swap is below .limit; it counts memory plus "
                              "swap");
    return 0;
}

static int parse_cpu(const json_t *all, struct plan_resources *resources, struct error *err)
{
    json_t *cpu = NULL;
    if (json_read_object(all, PATH, "cpu", &cpu, err) < 0 ||
        read_limit(cpu, PATH ".cpu", "shares", &resources->cpu_shares, err) < 0 ||
        read_limit(cpu, PATH ".cpu", "quota", &resources->cpu_quota, err) < 0 ||
        read_limit(cpu, PATH ".cpu", "period", &resources->cpu_period, err) < 0 ||
        json_read_string(cpu, PATH ".cpu", "cpus", &resources->cpuset_cpus, err) < 0 ||
        json_read_string(cpu, PATH ".cpu", "mems", &resources->cpuset_mems, err) < 0)
        return -1;
    if (resources->cpuset_cpus && !*resources->cpuset_cpus)
        resources->cpuset_cpus = NULL;
    if (resources->cpuset_mems && !*resources->cpuset_mems)
        resources->cpuset_mems = NULL;
    return 0;
}

static int parse_pids(const json_t *all, struct plan_resources *resources, struct error *err)
{
    json_t *pids = NULL;
    if (json_read_object(all, PATH, "pids", &pids, err) < 0)
        return -1;
    return read_limit(pids, PATH ".pids", "limit", &resources->pids_limit, err);
}

/* --- device rules -------------------------------------------------------------------------------
 */

/* What a container can always use, whatever a bundle says: config-linux.md, "Default Devices". */
static const struct plan_device_rule always_allowed[] = {
    { -1, -1, 'c', true, false, false, true }, { -1, -1, 'b', true, false, false, true },
    { 1, 3, 'c', true, true, true, true },     { 1, 5, 'c', true, true, true, true },
    { 1, 7, 'c', true, true, true, true },     { 1, 8, 'c', true, true, true, true },
    { 1, 9, 'c', true, true, true, true },     { 5, 0, 'c', true, true, true, true },
    { 5, 1, 'c', true, true, true, true },     { 5, 2, 'c', true, true, true, true },
    { 136, -1, 'c', true, true, true, true },
};

enum { ALWAYS_ALLOWED = sizeof always_allowed / sizeof *always_allowed };

/*
 * In any order. runc also takes letters that mean nothing, and its users write "rwa", where `a` is
 * the type that stands for all: here it denies all, and allows nothing.
 */
static int read_access(const char *path, const char *access, struct plan_device_rule *rule,
                       struct error *err)
{
    if (!access || !*access || (!rule->allow && strchr(access, 'a')))
        access = "rwm";
    if (access[strspn(access, "rwma")] || !access[strspn(access, "a")])
        return json_read_refuse(path, "access", "made of the letters r, w and m", err);
    rule->read = strchr(access, 'r') != NULL;
    rule->write = strchr(access, 'w') != NULL;
    rule->mknod = strchr(access, 'm') != NULL;
    return 0;
}

static int read_rule(const json_t *entry, const char *path, struct plan_device_rule *rule,
                     struct error *err)
{
    const char *type = "a", *access = NULL;
    bool allow = false;
    rule->major = rule->minor = -1;
    if (!json_is_object(entry))
        return error_set(err, EXIT_OURS, "%s must be an object", path);
    int allowed = json_read_boolean(entry, path, "allow", &allow, err);
    if (allowed < 0 || json_read_string(entry, path, "type", &type, err) < 0 ||
        json_read_string(entry, path, "access", &access, err) < 0 ||
        json_read_integer(entry, path, "major", -1, UINT32_MAX, &rule->major, err) < 0 ||
        json_read_integer(entry, path, "minor", -1, UINT32_MAX, &rule->minor, err) < 0)
        return -1;
    if (!allowed)
        return json_read_refuse(path, "allow", "given", err);
    if (!*type)
        type = "a";
    if (type[1] || !strchr("abcu", *type))
        return json_read_refuse(path, "type", "a, b, c or u", err);
    rule->allow = allow;
    rule->type = *type;
    if (rule->type == 'u') /* unbuffered: a character device by another name */
        rule->type = 'c';
    return read_access(path, access, rule, err);
}

static int parse_device_rules(struct plan *plan, const json_t *all, unsigned int flags,
                              struct error *err)
{
    json_t *entries = NULL;
    if (json_read_array(all, PATH, "devices", &entries, err) < 0)
        return -1;
    size_t index, given = json_array_size(entries);
    struct plan_device_rule *rules =
        plan_allocate(plan, given + 1 + ALWAYS_ALLOWED, sizeof *rules, err);
    if (!rules)
        return -1;
    size_t count = 0;
    /* A bundle that says nothing of devices must not get all of the host's. */
    if (given == 0)
        rules[count++] = (struct plan_device_rule){ -1, -1, 'a', false, true, true, true };
    const json_t *entry;
    json_array_foreach(entries, index, entry)
    {
        char path[48];
        (void)snprintf(path, sizeof path, PATH ".devices[%zu]", index);
        if (read_rule(entry, path, &rules[count++], err) < 0)
            return -1;
    }
    /* Our own documents list them already. */
    for (size_t i = 0; !(flags & PLAN_PARSE_OWN) && i < ALWAYS_ALLOWED; i++)
        rules[count++] = always_allowed[i];
    plan->resources.devices = rules;
    plan->resources.device_count = count;
    return 0;
}

/* A ".." component would leave the place in the hierarchy that the caller may use. */
static bool climbs(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")) != NULL; at++)
        if ((at == path || at[-1] == '/') && (at[2] == '/' || !at[2]))
            return true;
    return false;
}

int parse_resources(struct plan *plan, const json_t *linux_part, unsigned int flags,
                    struct error *err)
{
    json_t *all = NULL;
    if (json_read_object(linux_part, "linux", "resources", &all, err) < 0 ||
        parse_memory(all, &plan->resources, err) < 0 || parse_cpu(all, &plan->resources, err) < 0 ||
        parse_pids(all, &plan->resources, err) < 0 || parse_settings(plan, all, err) < 0 ||
        (!(flags & PLAN_PARSE_UPDATE) && parse_device_rules(plan, all, flags, err) < 0) ||
        json_read_string(linux_part, "linux", "cgroupsPath", &plan->cgroup_path, err) < 0)
        return -1;
    plan->resources.every_controller = !(flags & PLAN_PARSE_OWN);
    if (plan->cgroup_path && !*plan->cgroup_path)
        plan->cgroup_path = NULL;
    if (plan->cgroup_path && climbs(plan->cgroup_path))
        return json_read_refuse("linux", "cgroupsPath", "a path without \"..\"", err);
    return 0;
}
