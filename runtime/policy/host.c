/* What a configuration asks of the host itself: its namespaces, and programs run on it (hooks). */
#include <sched.h>
#include <string.h>

#include "parts.h"

/* runtime-spec, config-linux.md, "Namespaces". */
static const struct namespace_type {
    const char *name;
    unsigned int flag;
    bool own; /* every workload has one without asking */
} types[] = {
    { "pid", CLONE_NEWPID, true },       { "network", CLONE_NEWNET, true },
    { "ipc", CLONE_NEWIPC, true },       { "uts", CLONE_NEWUTS, true },
    { "cgroup", CLONE_NEWCGROUP, true }, { "mount", CLONE_NEWNS, false },
    { "user", CLONE_NEWUSER, false },    { "time", CLONE_NEWTIME, false },
};

enum { TYPE_COUNT = sizeof types / sizeof *types };

unsigned int policy_namespace_flag(const char *name)
{
    for (size_t i = 0; name && i < TYPE_COUNT; i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].flag;
    return 0;
}

unsigned int policy_namespace_flags(const json_t *names)
{
    unsigned int flags = 0;
    size_t index;
    const json_t *entry;
    json_array_foreach(names, index, entry) flags |=
        policy_namespace_flag(json_string_value(entry));
    return flags;
}

struct policy_namespaces policy_namespaces_of(const json_t *config,
                                              const struct policy_identity *identity)
{
    unsigned int named = 0;
    struct policy_namespaces result = { .host = identity->host_namespaces };
    const json_t *list = json_object_get(json_object_get(config, "linux"), "namespaces");
    size_t index;
    const json_t *entry;
    json_array_foreach(list, index, entry)
    {
        const char *path = json_string_value(json_object_get(entry, "path"));
        unsigned int flag =
            policy_namespace_flag(json_string_value(json_object_get(entry, "type")));
        named |= flag;
        if (path && *path)
            result.joined |= flag;
    }
    for (size_t i = 0; i < TYPE_COUNT; i++)
        if (types[i].own && !(named & types[i].flag))
            result.host |= types[i].flag;
    return result;
}

/* startContainer is run in the container, of its files. */
static const char *const kinds[] = { "prestart",  "createRuntime", "createContainer",
                                     "poststart", "poststop",      NULL };

const json_t *policy_hook_at(const json_t *config, size_t number)
{
    const json_t *hooks = json_object_get(config, "hooks");
    for (size_t i = 0; kinds[i]; i++) {
        const json_t *list = json_object_get(hooks, kinds[i]);
        if (number < json_array_size(list))
            return json_array_get(list, number);
        number -= json_array_size(list);
    }
    return NULL;
}

/* --- floors --------------------------------------------------------------------------------------
 */

static int check_namespaces(unsigned int denied, unsigned int host,
                            struct policy_decision *decision)
{
    for (size_t i = 0; i < TYPE_COUNT; i++)
        if (denied & host & types[i].flag)
            return policy_refuse(decision,
                                 "the host's %s namespace is denied; give linux.namespaces one of "
                                 "type \"%s\" without a path",
                                 types[i].name, types[i].name);
    return 0;
}

/* Whether a hook is what an entry allows: a path, or an object of one and of its first argument. */
static bool entry_allows(const json_t *entry, const char *program, const json_t *hook)
{
    const char *path = json_string_value(entry);
    const json_t *first = json_object_get(entry, "argv0");
    if (!path)
        path = json_string_value(json_object_get(entry, "path"));
    return policy_begins_with(program, path, "/") &&
           (!first || json_equal(first, json_array_get(json_object_get(hook, "args"), 0)));
}

/* What an environment can do to a program (LD_PRELOAD) is more than the program. */
static bool is_allowed(const json_t *allowed, const json_t *program, const json_t *hook)
{
    const char *path = json_string_value(program);
    size_t index;
    const json_t *entry;
    if (!path || !*path || json_array_size(json_object_get(hook, "env")) > 0)
        return false;
    json_array_foreach(allowed, index, entry)
    {
        if (entry_allows(entry, path, hook))
            return true;
    }
    return false;
}

int policy_check_host(const struct policy_floors *floors, const struct policy_identity *identity,
                      const json_t *config, struct policy_decision *decision)
{
    const json_t *hook;
    if (check_namespaces(floors->denied_namespaces, policy_namespaces_of(config, identity).host,
                         decision) < 0)
        return -1;
    for (size_t i = 0; floors->allowed_hooks && (hook = policy_hook_at(config, i)); i++)
        if (!is_allowed(floors->allowed_hooks, json_array_get(identity->hooks, i), hook)) {
            const char *path = json_string_value(json_object_get(hook, "path"));
            bool has_environment = json_array_size(json_object_get(hook, "env")) > 0;
            return policy_refuse(decision,
                                 "the hook %.200s is none of allowed_hooks%s: it would run on the "
                                 "host",
                                 path ? path : "without a path",
                                 has_environment ? ", which have no environment" : "");
        }
    return 0;
}

/* A program of many names knows by the first of its args which it is: without args, the path, which
 * may be a link to it. */
static int pin_hook(json_t *hook, json_t *leads)
{
    json_t *path = json_object_get(hook, "path");
    if (json_array_size(json_object_get(hook, "args")) == 0 &&
        json_object_set_new(hook, "args", json_pack("[O]", path)) < 0)
        return -1;
    return json_object_set(hook, "path", leads);
}

int policy_pin_hooks(const struct policy_identity *identity, json_t *config,
                     struct policy_decision *decision)
{
    json_t *hook;
    for (size_t i = 0; (hook = (json_t *)policy_hook_at(config, i)); i++) {
        json_t *leads = json_array_get(identity->hooks, i);
        if (json_string_length(leads) > 0 && pin_hook(hook, leads) < 0)
            return policy_refuse(decision, "out of memory");
    }
    return 0;
}
