/* linux of an OCI configuration: namespaces, devices, sysctls, paths. Specification: runtime-spec
 * 1.2, config-linux.md. */
#include "json_read.h"
#include "parse_parts.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { DEFAULT_DEVICE_MODE = 0666 };

static const struct {
    const char *type;
    int flag;
    enum plan_namespace index;
} namespace_types[] = {
    { "pid", CLONE_NEWPID, PLAN_NS_PID },          { "network", CLONE_NEWNET, PLAN_NS_NETWORK },
    { "mount", CLONE_NEWNS, PLAN_NS_MOUNT },       { "ipc", CLONE_NEWIPC, PLAN_NS_IPC },
    { "uts", CLONE_NEWUTS, PLAN_NS_UTS },          { "user", CLONE_NEWUSER, PLAN_NS_USER },
    { "cgroup", CLONE_NEWCGROUP, PLAN_NS_CGROUP }, { "time", CLONE_NEWTIME, PLAN_NS_TIME },
};

enum { NAMESPACE_TYPES = sizeof namespace_types / sizeof *namespace_types };

/* --- namespaces and id maps ---------------------------------------------------------------------
 */

static int add_namespace(struct plan_namespaces *result, const char *type, const char *path,
                         bool not_hosts, const char *where, struct error *err)
{
    const char *names[NAMESPACE_TYPES + 1] = { NULL };
    for (int i = 0; i < NAMESPACE_TYPES; i++) {
        names[i] = namespace_types[i].type;
        if (strcmp(type, names[i]) != 0)
            continue;
        if ((result->create & namespace_types[i].flag) || result->path[namespace_types[i].index])
            return error_set(err, EXIT_OURS, "%s.type %s appears twice", where, type);
        if (path && *path != '/')
            return json_read_refuse(where, "path", "an absolute path", err);
        result->path[namespace_types[i].index] = path;
        if (path && not_hosts)
            result->not_hosts |= 1U << namespace_types[i].index;
        if (!path)
            result->create |= namespace_types[i].flag;
        return 0;
    }
    const char *near = nearest_name(type, names);
    return error_set(err, EXIT_OURS, "%s.type \"%.40s\" is unknown%s%s", where, type,
                     near ? "; did you mean " : "", near ? near : "");
}

json_t *namespace_names(void)
{
    json_t *names = json_array();
    for (int i = 0; i < NAMESPACE_TYPES; i++)
        (void)json_array_append_new(names, json_string(namespace_types[i].type));
    return names;
}

static bool has_namespace(const struct plan *plan, int flag, enum plan_namespace index)
{
    return (plan->namespaces.create & flag) || plan->namespaces.path[index];
}

static int check_namespaces(const struct plan *plan, struct error *err)
{
    bool new_user = plan->namespaces.create & CLONE_NEWUSER;
    bool mapped = plan->uid_map_count > 0 && plan->gid_map_count > 0;
    if (!has_namespace(plan, CLONE_NEWNS, PLAN_NS_MOUNT))
        return error_set(
            err, EXIT_OURS,
            "linux.namespaces must have a mount namespace: the mounts would be made on "
            "the host");
    if (plan->namespaces.time_offset_count > 0 && !(plan->namespaces.create & CLONE_NEWTIME))
        return error_set(err, EXIT_OURS,
                         "linux.timeOffsets needs a time namespace without a path in "
                         "linux.namespaces");
    if (new_user && !mapped)
        return error_set(err, EXIT_OURS,
                         "linux.namespaces has a user namespace, but "
                         "linux.uidMappings or gidMappings is empty");
    /* Beside a path, engines tell what the namespace has: compared when it is joined. */
    if (!has_namespace(plan, CLONE_NEWUSER, PLAN_NS_USER) &&
        (plan->uid_map_count > 0 || plan->gid_map_count > 0))
        return error_set(err, EXIT_OURS,
                         "linux.uidMappings and gidMappings need a user namespace in "
                         "linux.namespaces");
    return 0;
}

/* linux.timeOffsets: seconds and nanoseconds by clock. */
static int parse_time_offsets(struct plan *plan, const json_t *linux_part, struct error *err)
{
    static const char *const clocks[] = { "monotonic", "boottime" };
    json_t *offsets = NULL;
    if (json_read_object(linux_part, "linux", "timeOffsets", &offsets, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        json_t *offset = NULL;
        int64_t seconds = 0, nanoseconds = 0;
        int present = json_read_object(offsets, "linux.timeOffsets", clocks[i], &offset, err);
        if (present < 0 ||
            json_read_integer(offset, "linux.timeOffsets", "secs", INT32_MIN, INT32_MAX, &seconds,
                              err) < 0 ||
            json_read_integer(offset, "linux.timeOffsets", "nanosecs", 0, 999999999, &nanoseconds,
                              err) < 0)
            return -1;
        if (present)
            plan->namespaces.time_offsets[plan->namespaces.time_offset_count++] =
                (struct plan_time_offset){ clocks[i], seconds, (uint32_t)nanoseconds };
    }
    return 0;
}

int parse_namespaces(struct plan *plan, const json_t *linux_part, struct error *err)
{
    json_t *entries = NULL;
    if (json_read_array(linux_part, "linux", "namespaces", &entries, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    json_array_foreach(entries, index, entry)
    {
        char where[48];
        (void)snprintf(where, sizeof where, "linux.namespaces[%zu]", index);
        const char *type = NULL, *path = NULL;
        bool not_hosts = false;
        if (!json_is_object(entry))
            return error_set(err, EXIT_OURS, "%s must be an object", where);
        if (json_read_string(entry, where, "type", &type, err) < 0 ||
            json_read_string(entry, where, "path", &path, err) < 0 ||
            json_read_boolean(entry, where, PLAN_NOT_HOSTS_KEY, &not_hosts, err) < 0)
            return -1;
        if (!type)
            return json_read_refuse(where, "type", "given", err);
        if (path && !*path)
            path = NULL; /* Go programs write "" for what is not set */
        if (add_namespace(&plan->namespaces, type, path, not_hosts, where, err) < 0)
            return -1;
    }
    if (parse_maps(plan, linux_part, "linux", "uidMappings", &plan->uid_maps, &plan->uid_map_count,
                   err) < 0 ||
        parse_maps(plan, linux_part, "linux", "gidMappings", &plan->gid_maps, &plan->gid_map_count,
                   err) < 0)
        return -1;
    if (parse_time_offsets(plan, linux_part, err) < 0)
        return -1;
    return check_namespaces(plan, err);
}

/* --- devices ------------------------------------------------------------------------------------
 */

/* config-linux.md, "Default Devices"; /dev/console is a step of its own. */
static const struct plan_device default_devices[] = {
    { "/dev/null", S_IFCHR | 0666, 1, 3, 0, 0, true },
    { "/dev/zero", S_IFCHR | 0666, 1, 5, 0, 0, true },
    { "/dev/full", S_IFCHR | 0666, 1, 7, 0, 0, true },
    { "/dev/random", S_IFCHR | 0666, 1, 8, 0, 0, true },
    { "/dev/urandom", S_IFCHR | 0666, 1, 9, 0, 0, true },
    { "/dev/tty", S_IFCHR | 0666, 5, 0, 0, 0, true },
};

/* runtime-linux.md, "Dev symbolic links", and the two that every engine's users expect. */
static const struct plan_symlink default_links[] = {
    { "/dev/fd", "/proc/self/fd" },       { "/dev/stdin", "/proc/self/fd/0" },
    { "/dev/stdout", "/proc/self/fd/1" }, { "/dev/stderr", "/proc/self/fd/2" },
    { "/dev/core", "/proc/kcore" },       { "/dev/ptmx", "pts/ptmx" },
};

static bool dev_is_bound(const struct plan *plan)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct plan_step *step = &plan->steps[i];
        if (step->kind == PLAN_MOUNT && (step->mount.flags & MS_BIND) &&
            (strcmp(step->mount.target, "/dev") == 0 || strcmp(step->mount.target, "/dev/") == 0))
            return true;
    }
    return false;
}

static int device_type(const char *type, mode_t *mode)
{
    static const struct {
        const char *name;
        mode_t mode;
    } types[] = { { "c", S_IFCHR }, { "u", S_IFCHR }, { "b", S_IFBLK }, { "p", S_IFIFO } };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i].name) == 0) {
            *mode = types[i].mode;
            return 0;
        }
    return -1;
}

static int read_device(const json_t *entry, const char *path, struct plan_device *device,
                       struct error *err)
{
    const char *type = "";
    int64_t major = -1, minor = -1, mode = DEFAULT_DEVICE_MODE, uid = 0, gid = 0;
    mode_t file_type;
    if (!json_is_object(entry))
        return error_set(err, EXIT_OURS, "%s must be an object", path);
    if (json_read_string(entry, path, "path", &device->path, err) < 0 ||
        json_read_string(entry, path, "type", &type, err) < 0 ||
        json_read_integer(entry, path, "major", 0, 0xfff, &major, err) < 0 ||
        json_read_integer(entry, path, "minor", 0, 0xfffff, &minor, err) < 0 ||
        json_read_integer(entry, path, "fileMode", 0, 0777777, &mode, err) < 0 ||
        json_read_integer(entry, path, "uid", 0, UINT32_MAX - 1, &uid, err) < 0 ||
        json_read_integer(entry, path, "gid", 0, UINT32_MAX - 1, &gid, err) < 0)
        return -1;
    if (!device->path || *device->path != '/')
        return json_read_refuse(path, "path", "an absolute path", err);
    if (device_type(type, &file_type) < 0)
        return json_read_refuse(path, "type", "c, u, b or p", err);
    if (file_type != S_IFIFO && (major < 0 || minor < 0))
        return error_set(err, EXIT_OURS, "%s must have major and minor", path);
    device->mode = file_type | ((mode_t)mode & 07777);
    device->major = major < 0 ? 0 : (uint32_t)major;
    device->minor = minor < 0 ? 0 : (uint32_t)minor;
    device->uid = (uid_t)uid;
    device->gid = (gid_t)gid;
    return 0;
}

static int add_device(struct plan *plan, const struct plan_device *device, struct error *err)
{
    struct plan_step *step = plan_add_step(plan, PLAN_DEVICE, err);
    if (!step)
        return -1;
    step->device = *device;
    return 0;
}

static int add_default_devices(struct plan *plan, size_t first_own, struct error *err)
{
    size_t end = plan->step_count;
    for (size_t i = 0; i < sizeof default_devices / sizeof *default_devices; i++) {
        bool listed = false;
        for (size_t n = first_own; n < end && !listed; n++)
            listed = strcmp(plan->steps[n].device.path, default_devices[i].path) == 0;
        if (!listed && add_device(plan, &default_devices[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < sizeof default_links / sizeof *default_links; i++) {
        struct plan_step *step = plan_add_step(plan, PLAN_SYMLINK, err);
        if (!step)
            return -1;
        step->symlink = default_links[i];
    }
    return 0;
}

int parse_devices(struct plan *plan, const json_t *linux_part, struct error *err)
{
    json_t *entries = NULL;
    bool bound = dev_is_bound(plan);
    size_t first_own = plan->step_count;
    if (json_read_array(linux_part, "linux", "devices", &entries, err) < 0)
        return -1;
    if (bound && json_array_size(entries) > 0)
        return error_set(err, EXIT_OURS,
                         "linux.devices: /dev is a bind mount, so the nodes would "
                         "be made on the host; remove one of them");
    size_t index;
    const json_t *entry;
    json_array_foreach(entries, index, entry)
    {
        char path[48];
        struct plan_device device = { 0 };
        (void)snprintf(path, sizeof path, "linux.devices[%zu]", index);
        if (read_device(entry, path, &device, err) < 0 || add_device(plan, &device, err) < 0)
            return -1;
    }
    return bound ? 0 : add_default_devices(plan, first_own, err);
}

/* --- names, sysctls, paths ----------------------------------------------------------------------
 */

static int add_name(struct plan *plan, enum plan_step_kind kind, const char *key,
                    const char **result, struct error *err)
{
    const char *name = NULL;
    if (json_read_string(plan->document, "", key, &name, err) < 0)
        return -1;
    if (!name || !*name)
        return 0;
    if (!has_namespace(plan, CLONE_NEWUTS, PLAN_NS_UTS))
        return error_set(err, EXIT_OURS,
                         "%s needs a uts namespace in linux.namespaces: it would "
                         "rename the host",
                         key);
    if (strlen(name) > 64)
        return json_read_refuse("", key, "at most 64 bytes long", err);
    struct plan_step *step = plan_add_step(plan, kind, err);
    if (!step)
        return -1;
    step->name = name;
    *result = name;
    return 0;
}

/* Sysctls that belong to a namespace. All others are the whole kernel's. */
static const struct {
    const char *prefix;
    int flag;
    enum plan_namespace index;
    const char *name;
} sysctl_scopes[] = {
    { "net.", CLONE_NEWNET, PLAN_NS_NETWORK, "network" },
    { "fs.mqueue.", CLONE_NEWIPC, PLAN_NS_IPC, "ipc" },
    { "kernel.msgmax", CLONE_NEWIPC, PLAN_NS_IPC, "ipc" },
    { "kernel.msgmnb", CLONE_NEWIPC, PLAN_NS_IPC, "ipc" },
    { "kernel.msgmni", CLONE_NEWIPC, PLAN_NS_IPC, "ipc" },
    { "kernel.sem", CLONE_NEWIPC, PLAN_NS_IPC, "ipc" },
    { "kernel.shmall", CLONE_NEWIPC, PLAN_NS_IPC, "ipc" },
    { "kernel.shmmax", CLONE_NEWIPC, PLAN_NS_IPC, "ipc" },
    { "kernel.shmmni", CLONE_NEWIPC, PLAN_NS_IPC, "ipc" },
    { "kernel.shm_rmid_forced", CLONE_NEWIPC, PLAN_NS_IPC, "ipc" },
    { "kernel.domainname", CLONE_NEWUTS, PLAN_NS_UTS, "uts" },
};

static bool in_scope(const char *key, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(key, prefix, length) == 0 && (prefix[length - 1] == '.' || !key[length]);
}

static int check_sysctl(const struct plan *plan, const char *key, struct error *err)
{
    for (size_t i = 0; i < sizeof sysctl_scopes / sizeof *sysctl_scopes; i++) {
        if (!in_scope(key, sysctl_scopes[i].prefix))
            continue;
        if (strstr(key, "..") || key[strspn(key, ".")] == '\0')
            break;
        if (has_namespace(plan, sysctl_scopes[i].flag, sysctl_scopes[i].index))
            return 0;
        return error_set(err, EXIT_OURS,
                         "linux.sysctl: %.80s needs a %s namespace in "
                         "linux.namespaces: it would change the host",
                         key, sysctl_scopes[i].name);
    }
    return error_set(err, EXIT_OURS,
                     "linux.sysctl: %.80s does not belong to a namespace: it would "
                     "change the host; remove it from the configuration",
                     key);
}

static int parse_sysctls(struct plan *plan, const json_t *linux_part, const char *domain,
                         struct error *err)
{
    json_t *sysctls = NULL;
    if (json_read_object(linux_part, "linux", "sysctl", &sysctls, err) < 0)
        return -1;
    const char *key;
    json_t *entry;
    json_object_foreach(sysctls, key, entry)
    {
        const char *value = NULL;
        if (json_read_string(sysctls, "linux.sysctl", key, &value, err) < 0)
            return -1;
        /* A slash would be a way out of the key's directory: sysctl(8) takes it as separator. */
        if (!value || strchr(key, '/'))
            return json_read_refuse("linux.sysctl", key, "a dotted name with a string", err);
        if (check_sysctl(plan, key, err) < 0)
            return -1;
        if (domain && strcmp(key, "kernel.domainname") == 0 && strcmp(value, domain) != 0)
            return error_set(err, EXIT_OURS,
                             "linux.sysctl: %s contradicts domainname; leave one of them out", key);
        struct plan_step *step = plan_add_step(plan, PLAN_SYSCTL, err);
        if (!step)
            return -1;
        step->sysctl = (struct plan_sysctl){ key, value };
    }
    return 0;
}

int parse_identity(struct plan *plan, const json_t *linux_part, struct error *err)
{
    const char *domain = NULL;
    if (add_name(plan, PLAN_HOSTNAME, "hostname", &plan->hostname, err) < 0 ||
        add_name(plan, PLAN_DOMAINNAME, "domainname", &domain, err) < 0)
        return -1;
    if ((plan->namespaces.create & CLONE_NEWNET) && !plan_add_step(plan, PLAN_LOOPBACK_UP, err))
        return -1;
    return parse_sysctls(plan, linux_part, domain, err);
}

static int add_paths(struct plan *plan, const json_t *linux_part, const char *key,
                     enum plan_step_kind kind, struct error *err)
{
    json_t *paths = NULL;
    if (json_read_strings(linux_part, "linux", key, &paths, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    json_array_foreach(paths, index, entry)
    {
        if (*json_string_value(entry) != '/')
            return json_read_refuse("linux", key, "a list of absolute paths", err);
        struct plan_step *step = plan_add_step(plan, kind, err);
        if (!step)
            return -1;
        step->path = json_string_value(entry);
    }
    return 0;
}

int parse_paths(struct plan *plan, const json_t *linux_part, struct error *err)
{
    if (add_paths(plan, linux_part, "maskedPaths", PLAN_MASK, err) < 0)
        return -1;
    return add_paths(plan, linux_part, "readonlyPaths", PLAN_READONLY_PATH, err);
}
