/* process of an OCI configuration, and the process object of exec. Specification: runtime-spec 1.2,
 * config.md, "Process". */
#include "json_read.h"
#include "parse_parts.h"
#include "rlimit.h"

#include <sys/resource.h>

#define PATH "process"

enum { DEFAULT_UMASK = 0022, OOM_SCORE_LIMIT = 1000, MAX_TERMINAL = UINT16_MAX };

/* The largest ids; the last number means "no id" to the kernel. */
#define MAX_ID (UINT32_MAX - 1)

static int parse_console(struct plan *plan, const json_t *process, struct error *err)
{
    json_t *size = NULL;
    int64_t rows = 0, columns = 0;
    if (json_read_boolean(process, PATH, "terminal", &plan->terminal, err) < 0 ||
        json_read_object(process, PATH, "consoleSize", &size, err) < 0 ||
        json_read_integer(size, PATH ".consoleSize", "height", 0, MAX_TERMINAL, &rows, err) < 0 ||
        json_read_integer(size, PATH ".consoleSize", "width", 0, MAX_TERMINAL, &columns, err) < 0)
        return -1;
    plan->terminal_rows = plan->terminal ? (uint16_t)rows : 0;
    plan->terminal_columns = plan->terminal ? (uint16_t)columns : 0;
    return 0;
}

/*
 * Engines ask for more than some hosts' root may give, by default and for everything: a bundle gets
 * what there is. Who asks by name, on our own command line, is told.
 */
static bool takes_what_there_is(unsigned int flags)
{
    return !(flags & PLAN_PARSE_OWN);
}

int parse_oom_score(struct plan *plan, const json_t *process, unsigned int flags, struct error *err)
{
    int64_t score = 0;
    int present = json_read_integer(process, PATH, "oomScoreAdj", -OOM_SCORE_LIMIT, OOM_SCORE_LIMIT,
                                    &score, err);
    if (present <= 0)
        return present;
    struct plan_step *step = plan_add_step(plan, PLAN_OOM_SCORE, err);
    if (!step)
        return -1;
    step->oom_score = (struct plan_oom_score){ (int)score, takes_what_there_is(flags) };
    return 0;
}

/*
 * Engines write unlimited as 2^64-1, which plan_load_json makes a string; hybrid itself writes
 * 2^63-1. No limit is as large as that: both mean none.
 */
static int read_limit(const json_t *entry, const char *path, const char *key, uint64_t *value,
                      struct error *err)
{
    const json_t *number = json_object_get(entry, key);
    if (json_is_string(number) && strcmp(json_string_value(number), "18446744073709551615") == 0) {
        *value = RLIM_INFINITY;
        return 0;
    }
    int64_t whole = -1;
    if (json_read_integer(entry, path, key, 0, INT64_MAX, &whole, err) < 0)
        return -1;
    if (whole < 0)
        return json_read_refuse(path, key, "given", err);
    *value = whole == INT64_MAX ? RLIM_INFINITY : (uint64_t)whole;
    return 0;
}

static int parse_rlimit(struct plan *plan, const json_t *entry, const char *path,
                        unsigned int flags, uint64_t *seen, struct error *err)
{
    struct plan_rlimit limit = { .name = "", .at_most = takes_what_there_is(flags) };
    if (!json_is_object(entry))
        return error_set(err, EXIT_OURS, "%s must be an object", path);
    if (json_read_string(entry, path, "type", &limit.name, err) < 0 ||
        read_limit(entry, path, "soft", &limit.soft, err) < 0 ||
        read_limit(entry, path, "hard", &limit.hard, err) < 0)
        return -1;
    limit.resource = rlimit_from_name(limit.name);
    if (limit.resource < 0)
        return error_set(err, EXIT_OURS, "%s.type \"%.40s\" is no resource limit", path,
                         limit.name);
    if (*seen & (UINT64_C(1) << limit.resource))
        return error_set(err, EXIT_OURS, "%s.type %s appears twice", path, limit.name);
    *seen |= UINT64_C(1) << limit.resource;
    if (limit.soft > limit.hard)
        return error_set(err, EXIT_OURS, "%s: the soft limit of %s is above its hard limit", path,
                         limit.name);
    struct plan_step *step = plan_add_step(plan, PLAN_RLIMIT, err);
    if (!step)
        return -1;
    step->rlimit = limit;
    return 0;
}

static int parse_rlimits(struct plan *plan, const json_t *process, unsigned int flags,
                         struct error *err)
{
    json_t *limits = NULL;
    uint64_t seen = 0;
    if (json_read_array(process, PATH, "rlimits", &limits, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    json_array_foreach(limits, index, entry)
    {
        char path[48];
        (void)snprintf(path, sizeof path, PATH ".rlimits[%zu]", index);
        if (parse_rlimit(plan, entry, path, flags, &seen, err) < 0)
            return -1;
    }
    return 0;
}

static int parse_groups(struct plan *plan, const json_t *user, struct plan_user *result,
                        struct error *err)
{
    json_t *groups = NULL;
    if (json_read_array(user, PATH ".user", "additionalGids", &groups, err) < 0)
        return -1;
    size_t index, count = json_array_size(groups);
    gid_t *ids = plan_allocate(plan, count, sizeof *ids, err);
    if (!ids)
        return -1;
    const json_t *entry;
    json_array_foreach(groups, index, entry)
    {
        json_int_t id = json_integer_value(entry);
        if (!json_is_integer(entry) || id < 0 || id > MAX_ID)
            return json_read_refuse(PATH ".user", "additionalGids", "a list of group ids", err);
        ids[index] = (gid_t)id;
    }
    result->additional_groups = ids;
    result->additional_group_count = count;
    return 0;
}

/* umask comes first in the plan; both are members of process.user. */
static int parse_user(struct plan *plan, const json_t *process, unsigned int flags,
                      struct error *err)
{
    json_t *user = NULL;
    struct plan_user result = { 0 };
    int64_t uid = 0, gid = 0, umask = DEFAULT_UMASK;
    if (json_read_object(process, PATH, "user", &user, err) < 0 ||
        json_read_integer(user, PATH ".user", "uid", 0, MAX_ID, &uid, err) < 0 ||
        json_read_integer(user, PATH ".user", "gid", 0, MAX_ID, &gid, err) < 0 ||
        json_read_integer(user, PATH ".user", "umask", 0, 0777, &umask, err) < 0 ||
        parse_groups(plan, user, &result, err) < 0)
        return -1;
    /* In a bundle, username is a member for Windows. */
    if ((flags & PLAN_PARSE_OWN) &&
        json_read_string(user, PATH ".user", "username", &result.name, err) < 0)
        return -1;
    result.uid = (uid_t)uid;
    result.gid = (gid_t)gid;
    struct plan_step *step = plan_add_step(plan, PLAN_UMASK, err);
    if (!step)
        return -1;
    step->umask = (mode_t)umask;
    step = plan_add_step(plan, PLAN_USER, err);
    if (!step)
        return -1;
    step->user = result;
    return 0;
}

static int parse_cwd(struct plan *plan, const json_t *process, struct error *err)
{
    const char *cwd = NULL;
    if (json_read_string(process, PATH, "cwd", &cwd, err) < 0)
        return -1;
    if (!cwd || *cwd != '/')
        return json_read_refuse(PATH, "cwd", "an absolute path", err);
    struct plan_step *step = plan_add_step(plan, PLAN_CWD, err);
    if (!step)
        return -1;
    step->path = cwd;
    return 0;
}

static bool has_control_characters(const char *text)
{
    while ((unsigned char)*text >= ' ' && *text != '\x7f')
        text++;
    return *text != '\0';
}

/* What confines the command, as security modules know it. */
static int parse_confinements(struct plan *plan, const json_t *process, struct error *err)
{
    static const struct {
        const char *key;
        enum plan_step_kind kind;
    } members[] = { { "apparmorProfile", PLAN_APPARMOR }, { "selinuxLabel", PLAN_SELINUX } };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const char *name = NULL;
        if (json_read_string(process, PATH, members[i].key, &name, err) < 0)
            return -1;
        if (!name || !*name)
            continue;
        /* The kernel reads a line: one that begins with its end would be no confinement at all. */
        if (has_control_characters(name))
            return json_read_refuse(PATH, members[i].key, "a name without control characters", err);
        struct plan_step *step = plan_add_step(plan, members[i].kind, err);
        if (!step)
            return -1;
        step->name = name;
    }
    return 0;
}

static int read_capabilities(const json_t *sets, const char *key, uint64_t *set, struct error *err)
{
    json_t *names = NULL;
    if (json_read_strings(sets, PATH ".capabilities", key, &names, err) < 0)
        return -1;
    size_t index;
    const json_t *name;
    json_array_foreach(names, index, name)
    {
        int number = capability_from_name(json_string_value(name));
        /* config.md: runtimes should not fail on names that map to nothing; they grant nothing. */
        if (number >= 0)
            *set |= UINT64_C(1) << number;
    }
    return 0;
}

static int parse_capabilities(struct plan *plan, const json_t *process, const struct plan *base,
                              struct error *err)
{
    struct plan_capabilities result = { 0 };
    json_t *sets = NULL;
    int present = json_read_object(process, PATH, "capabilities", &sets, err);
    if (present < 0)
        return -1;
    for (size_t i = 0; !present && base && i < base->step_count; i++)
        if (base->steps[i].kind == PLAN_CAPABILITIES)
            result = base->steps[i].capabilities; /* exec: as the workload, unless it says more */
    if (read_capabilities(sets, "bounding", &result.bounding, err) < 0 ||
        read_capabilities(sets, "effective", &result.effective, err) < 0 ||
        read_capabilities(sets, "inheritable", &result.inheritable, err) < 0 ||
        read_capabilities(sets, "permitted", &result.permitted, err) < 0 ||
        read_capabilities(sets, "ambient", &result.ambient, err) < 0)
        return -1;
    struct plan_step *step = plan_add_step(plan, PLAN_CAPABILITIES, err);
    if (!step)
        return -1;
    step->capabilities = result;
    return 0;
}

/*
 * The filter comes last, so that it need not allow what sets a process up. Without no_new_privs
 * loading it takes CAP_SYS_ADMIN (seccomp(2)), which the sandbox keeps until execve takes it away.
 */
static int parse_privileges(struct plan *plan, const json_t *process, const struct plan *base,
                            bool seccomp, struct error *err)
{
    bool no_new_privs = false;
    if (json_read_boolean(process, PATH, "noNewPrivileges", &no_new_privs, err) < 0 ||
        parse_capabilities(plan, process, base, err) < 0)
        return -1;
    if (no_new_privs && !plan_add_step(plan, PLAN_NO_NEW_PRIVS, err))
        return -1;
    if (!base && parse_start_hooks(plan, err) < 0)
        return -1;
    return seccomp && !plan_add_step(plan, PLAN_SECCOMP, err) ? -1 : 0;
}

static int parse_exec(struct plan *plan, const json_t *process, struct error *err)
{
    json_t *args = NULL, *env = NULL;
    if (json_read_strings(process, PATH, "args", &args, err) < 0 ||
        json_read_strings(process, PATH, "env", &env, err) < 0)
        return -1;
    if (json_array_size(args) == 0)
        return json_read_refuse(PATH, "args", "a list with at least the command", err);
    size_t index;
    const json_t *entry;
    json_array_foreach(env, index, entry)
    {
        const char *text = json_string_value(entry);
        if (*text == '=' || !strchr(text, '='))
            return error_set(err, EXIT_OURS, PATH ".env[%zu] is \"%.80s\", not NAME=VALUE", index,
                             text);
    }
    struct plan_exec result = { plan_string_vector(plan, args, err),
                                plan_string_vector(plan, env, err) };
    struct plan_step *step = result.argv && result.env ? plan_add_step(plan, PLAN_EXEC, err) : NULL;
    if (!step)
        return -1;
    step->exec = result;
    return 0;
}

int parse_process(struct plan *plan, const json_t *process, const struct plan *base, bool seccomp,
                  unsigned int flags, struct error *err)
{
    if (parse_console(plan, process, err) < 0 || parse_affinity(plan, process, err) < 0 ||
        parse_oom_score(plan, process, flags, err) < 0 ||
        parse_personality(plan, base ? base->document : plan->document, err) < 0 ||
        parse_scheduler(plan, process, err) < 0 || parse_rlimits(plan, process, flags, err) < 0 ||
        parse_user(plan, process, flags, err) < 0 || parse_cwd(plan, process, err) < 0 ||
        parse_confinements(plan, process, err) < 0 ||
        parse_privileges(plan, process, base, seccomp, err) < 0)
        return -1;
    return parse_exec(plan, process, err);
}
