/* Whether a document is a policy. One table an object; nothing unknown is passed over. */
#include <string.h>

#include "parts.h"
#include "runtime/plan/compose.h"

enum { MAX_PATH = 256 };

typedef int (*checker)(const json_t *value, const char *path, struct error *err);

struct key {
    const char *name;
    checker check;
    bool required;
};

static int must_be(const char *path, const char *what, struct error *err)
{
    return error_set(err, EXIT_OURS, "%s must be %s", path, what);
}

static int refuse_key(const char *path, const char *name, const struct key *keys, struct error *err)
{
    const char *names[16] = { NULL };
    for (size_t i = 0; i < sizeof names / sizeof *names - 1 && keys[i].name; i++)
        names[i] = keys[i].name;
    const char *near = nearest_name(name, names);
    return error_set(err, EXIT_OURS, "%s%sunknown key \"%.80s\"%s%s%s", path, *path ? ": " : "",
                     name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* As an element of its parent: "floors.limits", "limits" in the document itself. */
static void join(char *text, const char *path, const char *name)
{
    (void)snprintf(text, MAX_PATH, "%s%s%.80s", path, *path ? "." : "", name);
}

static int check_object(const json_t *value, const char *path, const struct key *keys,
                        struct error *err)
{
    if (!json_is_object(value))
        return must_be(*path ? path : "the document", "an object", err);
    char below[MAX_PATH];
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)value, name, member)
    {
        const struct key *key = keys;
        while (key->name && strcmp(key->name, name) != 0)
            key++;
        if (!key->name)
            return refuse_key(path, name, keys, err);
        join(below, path, name);
        if (key->check(member, below, err) < 0)
            return -1;
    }
    for (const struct key *key = keys; key->name; key++) {
        if (!key->required || json_object_get(value, key->name))
            continue;
        join(below, path, key->name);
        return error_set(err, EXIT_OURS, "%s is missing", below);
    }
    return 0;
}

/* --- single values ------------------------------------------------------------------------------
 */

static int check_text(const json_t *value, const char *path, struct error *err)
{
    const char *text = json_string_value(value);
    if (!text || !*text || strlen(text) != json_string_length(value))
        return must_be(path, "a text of at least one character", err);
    return 0;
}

static int check_flag(const json_t *value, const char *path, struct error *err)
{
    return json_is_boolean(value) ? 0 : must_be(path, "true or false", err);
}

static int check_choice(const json_t *value, const char *path, const char *const *choices,
                        struct error *err)
{
    const char *text = json_string_value(value);
    char list[256] = "one of";
    for (size_t i = 0; choices[i]; i++) {
        if (text && strcmp(text, choices[i]) == 0)
            return 0;
        size_t used = strlen(list);
        (void)snprintf(list + used, sizeof list - used, "%s \"%s\"", i ? "," : "", choices[i]);
    }
    return must_be(path, list, err);
}

static int check_outcome(const json_t *value, const char *path, struct error *err)
{
    static const char *const choices[] = { "container", "vm", "deny", NULL };
    return check_choice(value, path, choices, err);
}

static int check_isolation(const json_t *value, const char *path, struct error *err)
{
    static const char *const choices[] = { "container", "vm", NULL };
    return check_choice(value, path, choices, err);
}

static int check_seccomp(const json_t *value, const char *path, struct error *err)
{
    static const char *const choices[] = { "required", "default", NULL };
    return check_choice(value, path, choices, err);
}

static int check_network(const json_t *value, const char *path, struct error *err)
{
    static const char *const choices[] = { "joined", "host", NULL };
    return check_choice(value, path, choices, err);
}

static int check_host_namespace(const json_t *value, const char *path, struct error *err)
{
    static const char *const choices[] = { "pid", "network", "ipc", "uts", "cgroup", NULL };
    return check_choice(value, path, choices, err);
}

static int check_propagation(const json_t *value, const char *path, struct error *err)
{
    static const char *const choices[] = { "shared", "slave", NULL };
    return check_choice(value, path, choices, err);
}

static int check_sysctl(const json_t *value, const char *path, struct error *err)
{
    const char *text = json_string_value(value);
    if (check_text(value, path, err) < 0 || strchr(text, '/') || *text == '.')
        return must_be(path,
                       "a sysctl such as \"net.core.somaxconn\", or the beginning of some, "
                       "such as \"net.ipv4.\"",
                       err);
    return 0;
}

static int check_namespace(const json_t *value, const char *path, struct error *err)
{
    static const char *const choices[] = { "pid",   "network", "ipc",  "uts", "cgroup",
                                           "mount", "user",    "time", NULL };
    return check_choice(value, path, choices, err);
}

static int check_version(const json_t *value, const char *path, struct error *err)
{
    return json_is_integer(value) && json_integer_value(value) == 1 ? 0 : must_be(path, "1", err);
}

static int check_digest(const json_t *value, const char *path, struct error *err)
{
    static const char prefix[] = "sha256:";
    const char *text = json_string_value(value);
    if (!text || strncmp(text, prefix, sizeof prefix - 1) != 0 ||
        strlen(text) != sizeof prefix - 1 + 64 ||
        strspn(text + sizeof prefix - 1, "0123456789abcdef") != 64)
        return must_be(path, "\"sha256:\" and 64 lower-case hexadecimal digits", err);
    return 0;
}

static int check_path(const json_t *value, const char *path, struct error *err)
{
    const char *text = json_string_value(value);
    if (check_text(value, path, err) < 0 || *text != '/' || strstr(text, "//") ||
        strstr(text, "/./") || strstr(text, "/../"))
        return must_be(path, "an absolute path without \"//\", \"/./\" and \"/../\"", err);
    return 0;
}

static int check_uid(const json_t *value, const char *path, struct error *err)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number >= UINT32_MAX)
        return must_be(path, "a user id", err);
    return 0;
}

static int check_capability(const json_t *value, const char *path, struct error *err)
{
    const char *name = json_string_value(value);
    if (name && (strcmp(name, "ALL") == 0 || capability_from_name(name) >= 0))
        return 0;
    const char *near = name ? capability_nearest(name) : NULL;
    return error_set(err, EXIT_OURS, "%s must be a capability, such as %s, or ALL", path,
                     near ? near : "NET_RAW");
}

static int check_device(const json_t *value, const char *path, struct error *err)
{
    struct policy_device device;
    const char *text = json_string_value(value);
    if (!text || !policy_device_parse(text, &device))
        return must_be(path, "a device such as \"b 8:0\", \"c 10:*\" or \"a *:*\"", err);
    return 0;
}

static int check_size(const json_t *value, const char *path, struct error *err)
{
    const char *text = json_string_value(value);
    int64_t bytes = text ? size_parse(text, path, err) : -1;
    if (bytes < 6 << 20)
        return must_be(path, "a size of at least 6m, such as \"512m\"", err);
    return 0;
}

static int check_cpus(const json_t *value, const char *path, struct error *err)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 0.01 && number <= 8192))
        return must_be(path, "a number of processors from 0.01 to 8192", err);
    return 0;
}

static int check_count(const json_t *value, const char *path, struct error *err)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 1 || number > 4194304)
        return must_be(path, "a whole number from 1 to 4194304", err);
    return 0;
}

/* --- lists and objects --------------------------------------------------------------------------
 */

static int check_each(const json_t *value, const char *path, checker check, struct error *err)
{
    char below[MAX_PATH];
    size_t index;
    const json_t *entry;
    if (!json_is_array(value))
        return must_be(path, "an array", err);
    json_array_foreach(value, index, entry)
    {
        (void)snprintf(below, sizeof below, "%.200s[%zu]", path, index);
        if (check(entry, below, err) < 0)
            return -1;
    }
    return 0;
}

#define LIST_OF(name, check)                                                                       \
    static int name(const json_t *value, const char *path, struct error *err)                      \
    {                                                                                              \
        return check_each(value, path, check, err);                                                \
    }

LIST_OF(check_digests, check_digest)
LIST_OF(check_texts, check_text)
LIST_OF(check_paths, check_path)
LIST_OF(check_uids, check_uid)
LIST_OF(check_capabilities, check_capability)
LIST_OF(check_devices, check_device)
LIST_OF(check_networks, check_network)
LIST_OF(check_host_namespaces, check_host_namespace)
LIST_OF(check_namespaces, check_namespace)
LIST_OF(check_propagations, check_propagation)
LIST_OF(check_sysctls, check_sysctl)

/* An object of texts. */
static int check_pairs(const json_t *value, const char *path, struct error *err)
{
    if (!json_is_object(value) || json_object_size(value) == 0)
        return must_be(path, "an object of at least one key and its text", err);
    char below[MAX_PATH];
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)value, name, member)
    {
        join(below, path, name);
        if (!json_is_string(member))
            return must_be(below, "a text; \"*\" stands for any", err);
    }
    return 0;
}

#define OBJECT_OF(name, ...)                                                                       \
    static int name(const json_t *value, const char *path, struct error *err)                      \
    {                                                                                              \
        static const struct key keys[] = { __VA_ARGS__, { 0 } };                                   \
        return check_object(value, path, keys, err);                                               \
    }

OBJECT_OF(check_hook_object, { "path", check_path, true }, { "argv0", check_text, true })

static int check_hook(const json_t *value, const char *path, struct error *err)
{
    return json_is_object(value) ? check_hook_object(value, path, err)
                                 : check_path(value, path, err);
}

LIST_OF(check_hooks, check_hook)

OBJECT_OF(check_tenant, { "uid", check_uids, false }, { "cgroup", check_paths, false },
          { "annotations", check_pairs, false })

OBJECT_OF(check_signature, { "keys", check_paths, true })

OBJECT_OF(check_match, { "digest", check_digests, false }, { "pulled_from", check_texts, false },
          { "reference", check_texts, false }, { "hooks", check_paths, false },
          { "host_namespaces", check_host_namespaces, false },
          { "joined_namespaces", check_namespaces, false }, { "tenant", check_tenant, false },
          { "labels", check_pairs, false }, { "capabilities", check_capabilities, false },
          { "mounts", check_paths, false }, { "devices", check_devices, false },
          { "networks", check_networks, false }, { "signature", check_signature, false })

OBJECT_OF(check_rule, { "name", check_text, true }, { "description", check_text, false },
          { "match", check_match, true }, { "isolation", check_outcome, true })

OBJECT_OF(check_limits, { "memory", check_size, false }, { "cpus", check_cpus, false },
          { "pids", check_count, false })

OBJECT_OF(check_floors, { "isolation", check_isolation, false },
          { "no_new_privileges", check_flag, false }, { "seccomp", check_seccomp, false },
          { "denied_sandboxes", check_flag, false },
          { "denied_capabilities", check_capabilities, false },
          { "denied_host_namespaces", check_host_namespaces, false },
          { "allowed_hooks", check_hooks, false }, { "masked_paths", check_paths, false },
          { "readonly_paths", check_paths, false }, { "allowed_sysctls", check_sysctls, false },
          { "denied_propagation", check_propagations, false }, { "limits", check_limits, false })

LIST_OF(check_rules, check_rule)

OBJECT_OF(check_document, { "$schema", check_text, false }, { "version", check_version, true },
          { "description", check_text, false }, { "tenant_annotations", check_text, false },
          { "floors", check_floors, false }, { "rules", check_rules, true },
          { "default", check_outcome, true })

/*
 * Content that was pulled can be had under a name that says nothing of it: a rule of pulled_from
 * that gives more than the default does would be evaded.
 */
static int check_weakens(const json_t *document, const json_t *rule, size_t index,
                         struct error *err)
{
    static const char *const order[] = { "container", "vm", "deny" };
    const char *outcome = json_string_value(json_object_get(rule, "isolation"));
    const char *other = json_string_value(json_object_get(document, "default"));
    if (!json_object_get(json_object_get(rule, "match"), "pulled_from") ||
        strcmp(outcome, other) == 0)
        return 0;
    for (size_t i = 0; i < sizeof order / sizeof *order && strcmp(order[i], outcome) != 0; i++)
        if (strcmp(order[i], other) == 0)
            return error_set(err, EXIT_OURS,
                             "rules[%zu].match.pulled_from: \"%s\" is more than the default, "
                             "\"%s\": another name of the same content would evade it; use "
                             "digest or signature, or make the default the stricter one",
                             index, outcome, other);
    return 0;
}

/* Two rules of a name could not be told apart; annotations must be those the policy trusts. */
static int check_rules_together(const json_t *document, struct error *err)
{
    const json_t *rules = json_object_get(document, "rules");
    const char *prefix = json_string_value(json_object_get(document, "tenant_annotations"));
    size_t index;
    const json_t *rule;
    json_array_foreach(rules, index, rule)
    {
        const char *name = json_string_value(json_object_get(rule, "name"));
        for (size_t i = 0; i < index; i++)
            if (strcmp(name,
                       json_string_value(json_object_get(json_array_get(rules, i), "name"))) == 0)
                return error_set(err, EXIT_OURS,
                                 "rules[%zu] and rules[%zu] are both named \"%.80s\"", i, index,
                                 name);
        if (check_weakens(document, rule, index, err) < 0)
            return -1;
        const json_t *tenant = json_object_get(json_object_get(rule, "match"), "tenant");
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(tenant, "annotations"), key, value)
        {
            if (!prefix || strncmp(key, prefix, strlen(prefix)) != 0)
                return error_set(err, EXIT_OURS,
                                 "rules[%zu].match.tenant.annotations.%.80s does not begin with "
                                 "tenant_annotations, the prefix that the callers are trusted with",
                                 index, key);
        }
    }
    return 0;
}

int policy_check(const json_t *document, struct error *err)
{
    if (check_document(document, "", err) < 0)
        return -1;
    return check_rules_together(document, err);
}
