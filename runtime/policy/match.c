/* The criteria of a rule. The configuration may come from anyone: members of wrong types ask for
 * nothing here, and are refused by plan_parse later. */
#include <sched.h>
#include <string.h>

#include "parts.h"
#include "runtime/plan/compose_parts.h"

#define BIT(number) (UINT64_C(1) << (number))

enum { MAX_CAPABILITY = 63 };

/* --- identity -----------------------------------------------------------------------------------
 */

static bool match_digest(const json_t *wanted, const struct policy_identity *identity,
                         const json_t *config)
{
    (void)config;
    size_t index;
    const json_t *entry;
    json_array_foreach(wanted, index, entry)
    {
        const char *hex = strchr(json_string_value(entry), ':') + 1;
        if (identity->digest && strcmp(identity->digest, hex) == 0)
            return true;
    }
    return false;
}

/* Whether text is `prefix`, or goes on behind it at a boundary: "docker.io/library" is no prefix of
 * "docker.io/library-of-someone-else/x". */
bool policy_begins_with(const char *text, const char *prefix, const char *boundaries)
{
    size_t length = strlen(prefix);
    if (strncmp(text, prefix, length) != 0)
        return false;
    return !text[length] || strchr(boundaries, text[length]) ||
           (length > 0 && strchr(boundaries, prefix[length - 1]));
}

static bool has_prefix_of(const char *reference, const json_t *wanted)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(wanted, index, entry)
    {
        if (reference && policy_begins_with(reference, json_string_value(entry), "/:@"))
            return true;
    }
    return false;
}

static bool match_pulled_from(const json_t *wanted, const struct policy_identity *identity,
                              const json_t *config)
{
    (void)config;
    return identity->pulled && has_prefix_of(identity->reference, wanted);
}

/* Just a name: `hybrid tag` gives it to any content. */
static bool match_reference(const json_t *wanted, const struct policy_identity *identity,
                            const json_t *config)
{
    (void)config;
    return has_prefix_of(identity->reference, wanted);
}

static bool match_signature(const json_t *wanted, const struct policy_identity *identity,
                            const json_t *config)
{
    (void)config;
    size_t index, number;
    const json_t *entry, *signer;
    json_array_foreach(json_object_get(wanted, "keys"), index, entry)
    {
        json_array_foreach(identity->signers, number, signer)
        {
            if (json_equal(entry, signer))
                return true;
        }
    }
    return false;
}

static bool contains_uid(const json_t *list, uid_t uid)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(list, index, entry)
    {
        if (json_integer_value(entry) == (json_int_t)uid)
            return true;
    }
    return false;
}

static bool contains_cgroup(const json_t *list, const char *cgroup)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(list, index, entry)
    {
        if (cgroup && policy_begins_with(cgroup, json_string_value(entry), "/"))
            return true;
    }
    return false;
}

static bool has_pair(const json_t *object, const char *key, const char *wanted)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value && (strcmp(wanted, "*") == 0 || strcmp(wanted, value) == 0);
}

static bool match_tenant(const json_t *wanted, const struct policy_identity *identity,
                         const json_t *config)
{
    (void)config;
    const json_t *uids = json_object_get(wanted, "uid");
    const json_t *cgroups = json_object_get(wanted, "cgroup");
    if ((uids && !contains_uid(uids, identity->uid)) ||
        (cgroups && !contains_cgroup(cgroups, identity->cgroup)))
        return false;
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(wanted, "annotations"), key, value)
    {
        if (!has_pair(identity->annotations, key, json_string_value(value)))
            return false;
    }
    return true;
}

/* --- what is asked for --------------------------------------------------------------------------
 * What every workload has without asking always counts as well, so that giving it up does not take
 * a workload out of a rule.
 */

/* The image's own labels count beside those that --label puts in their place. */
static bool match_labels(const json_t *wanted, const struct policy_identity *identity,
                         const json_t *config)
{
    const json_t *annotations = json_object_get(config, "annotations");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)wanted, key, value)
    {
        const char *text = json_string_value(value);
        if (!has_pair(identity->image_labels, key, text) && !has_pair(annotations, key, text))
            return false;
    }
    return true;
}

static uint64_t capabilities_of(const json_t *config)
{
    static const struct run_options none = { 0 };
    static const char *const sets[] = { "bounding", "effective", "permitted", "inheritable",
                                        "ambient" };
    const json_t *own = json_object_get(json_object_get(config, "process"), "capabilities");
    uint64_t result = 0;
    (void)compose_capabilities(&none, &result, NULL);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        size_t index;
        const json_t *entry;
        json_array_foreach(json_object_get(own, sets[i]), index, entry)
        {
            int number =
                json_is_string(entry) ? capability_from_name(json_string_value(entry)) : -1;
            if (number >= 0 && number <= MAX_CAPABILITY)
                result |= BIT(number);
        }
    }
    return result;
}

static bool match_capabilities(const json_t *wanted, const struct policy_identity *identity,
                               const json_t *config)
{
    (void)identity;
    uint64_t asked = capabilities_of(config);
    size_t index;
    const json_t *entry;
    json_array_foreach(wanted, index, entry)
    {
        int number = capability_from_name(json_string_value(entry));
        if (number < 0 || (asked & BIT(number))) /* -1: ALL, any at all */
            return true;
    }
    return false;
}

/* A path that could mean another one than it says. */
static bool is_ambiguous(const char *path)
{
    size_t length = strlen(path);
    return *path != '/' || strstr(path, "//") || strstr(path, "/./") || strstr(path, "/../") ||
           (length >= 2 && strcmp(path + length - 2, "/.") == 0) ||
           (length >= 3 && strcmp(path + length - 3, "/..") == 0);
}

/* A mount shows `place` if it begins there, below it, or above it. */
bool policy_exposes(const char *source, const json_t *places)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(places, index, entry)
    {
        const char *place = json_string_value(entry);
        if (is_ambiguous(source) || policy_begins_with(source, place, "/") ||
            policy_begins_with(place, source, "/"))
            return true;
    }
    return false;
}

/* At or below one of the places. */
static bool lies_in(const char *path, const json_t *places)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(places, index, entry)
    {
        if (is_ambiguous(path) || policy_begins_with(path, json_string_value(entry), "/"))
            return true;
    }
    return false;
}

bool policy_mount_is_bind(const json_t *mount)
{
    size_t index;
    const json_t *entry;
    const char *type = json_string_value(json_object_get(mount, "type"));
    json_array_foreach(json_object_get(mount, "options"), index, entry)
    {
        const char *option = json_string_value(entry);
        if (option && (strcmp(option, "bind") == 0 || strcmp(option, "rbind") == 0))
            return true;
    }
    return type && strcmp(type, "bind") == 0;
}

bool policy_mount_opens_source(const json_t *mount)
{
    /* "file" is our own: content, not a path. A bundle cannot have it. */
    static const char *const own[] = { "proc",   "sysfs",   "tmpfs", "devpts", "mqueue",
                                       "cgroup", "cgroup2", "file",  NULL };
    const char *type = json_string_value(json_object_get(mount, "type"));
    for (size_t i = 0; own[i]; i++)
        if (type && strcmp(type, own[i]) == 0)
            return policy_mount_is_bind(mount);
    return true;
}

/*
 * What is neither a bind nor a file system without files of the host's is anywhere: overlay, ext4
 * and others take paths from their options too (lowerdir=, device=), relative ones from the
 * bundle; and debugfs, devtmpfs and others ignore the source.
 */
bool policy_mount_exposes(const json_t *mount, const json_t *places)
{
    const char *source = json_string_value(json_object_get(mount, "source"));
    bool opens = policy_mount_opens_source(mount);
    if (!source || (opens && !policy_mount_is_bind(mount)))
        source = ""; /* anywhere */
    return (*source == '/' || opens) && policy_exposes(source, places);
}

static bool match_mounts(const json_t *wanted, const struct policy_identity *identity,
                         const json_t *config)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(json_object_get(config, "mounts"), index, entry)
    {
        if (policy_mount_exposes(entry, wanted))
            return true;
    }
    /* A bundle's root, if it says where on the host it is. */
    const char *root = json_string_value(json_object_get(json_object_get(config, "root"), "path"));
    if (root && *root == '/' && policy_exposes(root, wanted))
        return true;
    json_array_foreach(identity->mount_sources, index, entry)
    {
        if (policy_exposes(json_string_value(entry), wanted))
            return true;
    }
    return false;
}

bool policy_device_parse(const char *text, struct policy_device *device)
{
    if (strlen(text) < 5 || !strchr("abc", text[0]) || text[1] != ' ')
        return false;
    int64_t *const numbers[] = { &device->major, &device->minor };
    static const char ends[] = { ':', '\0' };
    const char *at = text + 2;
    for (size_t i = 0; i < 2; i++) {
        size_t digits = strspn(at, "0123456789");
        if (*at == '*') {
            *numbers[i] = -1;
            at++;
        } else if (digits > 0 && digits < 8) {
            *numbers[i] = atoll(at); /* NOLINT(cert-err34-c): at most seven digits */
            at += digits;
        } else {
            return false;
        }
        if (*at != ends[i])
            return false;
        at++;
    }
    device->type = text[0];
    return true;
}

static int64_t device_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

static struct policy_device read_device(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    struct policy_device device = { .type = 'a',
                                    .major = device_number(object, "major"),
                                    .minor = device_number(object, "minor") };
    if (type && (*type == 'c' || *type == 'u')) /* u: unbuffered, the same */
        device.type = 'c';
    else if (type && *type == 'b')
        device.type = 'b';
    return device;
}

/* The nodes that every container has, which Docker's and our own rules allow. */
static bool is_default_device(const struct policy_device *device)
{
    static const struct policy_device defaults[] = {
        { 'c', 1, 3 }, { 'c', 1, 5 }, { 'c', 1, 7 }, { 'c', 1, 8 },
        { 'c', 1, 9 }, { 'c', 5, 0 }, { 'c', 5, 1 }, { 'c', 5, 2 },
    };
    if (device->type == 'c' && device->major == 136)
        return true;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (device->type == defaults[i].type && device->major == defaults[i].major &&
            device->minor == defaults[i].minor)
            return true;
    return false;
}

static bool overlaps(const struct policy_device *asked, const json_t *wanted)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(wanted, index, entry)
    {
        struct policy_device device = { 0 };
        (void)policy_device_parse(json_string_value(entry), &device);
        if ((device.type == asked->type || device.type == 'a' || asked->type == 'a') &&
            (device.major == asked->major || device.major < 0 || asked->major < 0) &&
            (device.minor == asked->minor || device.minor < 0 || asked->minor < 0))
            return true;
    }
    return false;
}

/* Nodes made, and access allowed: making a node alone ("m") opens nothing. */
static bool match_devices(const json_t *wanted, const struct policy_identity *identity,
                          const json_t *config)
{
    (void)identity;
    const json_t *linux_part = json_object_get(config, "linux");
    size_t index;
    const json_t *entry;
    json_array_foreach(json_object_get(linux_part, "devices"), index, entry)
    {
        struct policy_device device = read_device(entry);
        const char *type = json_string_value(json_object_get(entry, "type"));
        if (type && *type == 'p')
            continue; /* a named pipe */
        if (!is_default_device(&device) && overlaps(&device, wanted))
            return true;
    }
    const json_t *rules = json_object_get(json_object_get(linux_part, "resources"), "devices");
    json_array_foreach(rules, index, entry)
    {
        struct policy_device device = read_device(entry);
        const char *access = json_string_value(json_object_get(entry, "access"));
        if (json_is_false(json_object_get(entry, "allow")) || (access && strcmp(access, "m") == 0))
            continue;
        if (!is_default_device(&device) && overlaps(&device, wanted))
            return true;
    }
    return false;
}

static bool match_networks(const json_t *wanted, const struct policy_identity *identity,
                           const json_t *config)
{
    const struct policy_namespaces namespaces = policy_namespaces_of(config, identity);
    size_t index;
    const json_t *entry;
    json_array_foreach(wanted, index, entry)
    {
        bool joined = strcmp(json_string_value(entry), "joined") == 0;
        if ((joined ? namespaces.joined : namespaces.host) & CLONE_NEWNET)
            return true;
    }
    return false;
}

static bool match_host_namespaces(const json_t *wanted, const struct policy_identity *identity,
                                  const json_t *config)
{
    return policy_namespaces_of(config, identity).host & policy_namespace_flags(wanted);
}

static bool match_joined_namespaces(const json_t *wanted, const struct policy_identity *identity,
                                    const json_t *config)
{
    return policy_namespaces_of(config, identity).joined & policy_namespace_flags(wanted);
}

/* By the path that is given, or by where it leads; one that leads nowhere could be any. */
static bool match_hooks(const json_t *wanted, const struct policy_identity *identity,
                        const json_t *config)
{
    const json_t *hook;
    for (size_t i = 0; (hook = policy_hook_at(config, i)); i++) {
        const char *path = json_string_value(json_object_get(hook, "path"));
        const char *leads = json_string_value(json_array_get(identity->hooks, i));
        if (!path || !leads || lies_in(path, wanted) || lies_in(leads, wanted))
            return true;
    }
    return false;
}

static const struct criterion {
    const char *name;
    bool (*matches)(const json_t *wanted, const struct policy_identity *identity,
                    const json_t *config);
    bool chosen; /* by the caller or the image's author */
} criteria[] = {
    { "digest", match_digest, false },
    { "pulled_from", match_pulled_from, false },
    { "signature", match_signature, false },
    { "tenant", match_tenant, false },
    { "reference", match_reference, true },
    { "labels", match_labels, true },
    { "capabilities", match_capabilities, true },
    { "mounts", match_mounts, true },
    { "devices", match_devices, true },
    { "networks", match_networks, true },
    { "host_namespaces", match_host_namespaces, true },
    { "joined_namespaces", match_joined_namespaces, true },
    { "hooks", match_hooks, true },
};

const char *policy_match(const json_t *match, const struct policy_identity *identity,
                         const json_t *config)
{
    for (size_t i = 0; i < sizeof criteria / sizeof *criteria; i++) {
        const json_t *wanted = json_object_get(match, criteria[i].name);
        if (wanted && !criteria[i].matches(wanted, identity, config))
            return criteria[i].name;
    }
    return NULL;
}

bool policy_match_can_be_chosen(const json_t *match)
{
    for (size_t i = 0; i < sizeof criteria / sizeof *criteria; i++)
        if (criteria[i].chosen && json_object_get(match, criteria[i].name))
            return true;
    return false;
}
