#include "shares.h"

#include "cleanup.h"
#include "include/wire.h"

#include <sys/mount.h>
#include <sys/stat.h>

static bool is_bind(const struct plan_step *step)
{
    return step->kind == PLAN_MOUNT && strcmp(step->mount.type, "bind") == 0;
}

/* Relative sources are relative to the bundle (config.md, "Mounts"). */
static char *absolute_path(const struct workload_spec *spec, const char *path)
{
    char *result = NULL;
    if (*path == '/' || !spec->bundle)
        return strdup(path);
    return asprintf(&result, "%s/%s", spec->bundle, path) < 0 ? NULL : result;
}

static int check_kind(const char *path, const char *target, struct error *err)
{
    struct stat status;
    if (stat(path, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot mount %s on %s", path, target);
    if (S_ISDIR(status.st_mode) || S_ISREG(status.st_mode)) // fanalyzer: loses share->path
        return 0;
    return error_set(err, EXIT_OURS,
                     "mount on %s: %s is a %s of the host, which a VM cannot use: it has a kernel "
                     "of its own; use --isolation=container",
                     target, path,
                     S_ISSOCK(status.st_mode)   ? "socket"
                     : S_ISFIFO(status.st_mode) ? "pipe"
                                                : "device");
}

static int check_mount(const struct plan_mount *mount, struct error *err)
{
    unsigned long shared = MS_SHARED | MS_SLAVE;
    if (mount->idmap)
        return error_set(err, EXIT_OURS,
                         "mount on %s: the ids of a directory shared with a VM cannot be mapped "
                         "(uidMappings, gidMappings, option idmap)",
                         mount->target);
    if (mount->propagation & shared)
        return error_set(err, EXIT_OURS,
                         "mount on %s: mounts do not propagate between the host and a VM (options "
                         "shared, slave and their kin)",
                         mount->target);
    return 0;
}

static int add_share(const struct workload_spec *spec, struct shares *shares, const char *source,
                     const char *resolved, const char *target, struct error *err)
{
    struct share *share = &shares->entries[shares->count++];
    share->source = source;
    share->resolved = resolved;
    share->path = absolute_path(spec, source);
    if (!share->path)
        return error_set(err, EXIT_OURS, "out of memory");
    return check_kind(share->path, target, err);
}

/* The pod's own /dev/shm: memory of the guest that its containers share, and no share. */
static bool is_pods_shm(const struct workload_spec *spec, const char *target, const char *source)
{
    return spec->pod && spec->pod->shm && source && target &&
           strcmp(target, WIRE_SHM_DIRECTORY) == 0 && strcmp(source, spec->pod->shm) == 0;
}

int shares_list(const struct workload_spec *spec, struct shares *shares, struct error *err)
{
    const struct plan *plan = spec->plan;
    *shares = (struct shares){ .entries = calloc(plan->step_count + 1, sizeof *shares->entries) };
    if (!shares->entries)
        return error_set(err, EXIT_OURS, "out of memory");
    if (spec->layer_count == 0) {
        /* Mount points are made in it before it becomes read-only, in the guest. */
        shares->entries[0].recursive = true;
        if (add_share(spec, shares, plan->root_path, plan->root_resolved, "/", err) < 0)
            return -1;
    }
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct plan_mount *mount = &plan->steps[i].mount;
        if (!is_bind(&plan->steps[i]) || is_pods_shm(spec, mount->target, mount->source))
            continue;
        struct share *share = &shares->entries[shares->count];
        share->recursive = mount->flags & MS_REC;
        share->read_only = (mount->flags & MS_RDONLY) || (mount->recursive_set & MOUNT_ATTR_RDONLY);
        if (check_mount(mount, err) < 0 ||
            add_share(spec, shares, mount->source, mount->resolved, mount->target, err) < 0)
            return -1;
    }
    return 0;
}

void shares_free(struct shares *shares)
{
    for (size_t i = 0; i < shares->count; i++)
        free(shares->entries[i].path);
    free(shares->entries);
    *shares = (struct shares){ 0 };
}

/* The plan borrows its strings from the document: a source is known by its address. */
static size_t find_share(const struct shares *shares, const char *source)
{
    size_t i = 0;
    while (i < shares->count && shares->entries[i].source != source)
        i++;
    return i;
}

static int set_share(json_t *object, const char *member, size_t number)
{
    char path[64];
    (void)snprintf(path, sizeof path, WIRE_SHARE_DIRECTORY "/%zu", number);
    return json_object_set_new(object, member, json_string(path));
}

/* What is left is for the guest's cgroup of one container: a guest has no swap. */
static void drop_machines_limits(json_t *resources)
{
    static const char *const members[][2] = {
        { "memory", "limit" },
        { "memory", "swap" },
        { "cpu", "cpus" },
        { "cpu", "mems" },
        { "unified", "memory.swap.max" },
        { "unified", "memory.swap.high" },
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        (void)json_object_del(json_object_get(resources, members[i][0]), members[i][1]);
}

/*
 * What the host does itself, with the VM as a whole: it sets the limits of the VM's cgroup and runs
 * the hooks. The guest's own cgroup counts memory and processes; and holds one of a pod's
 * containers to more (machine_find_unheld), though not by the numbers of the host's processors.
 */
static void drop_host_part(json_t *config, bool pod)
{
    static const char *const limits[] = { "blockIO", "hugepageLimits", "network", "rdma" };
    static const char *const solo[] = { "memory", "cpu", "unified" };
    json_t *lin = json_object_get(config, "linux");
    json_t *resources = json_object_get(lin, "resources");
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        (void)json_object_del(resources, limits[i]);
    for (size_t i = 0; !pod && i < sizeof solo / sizeof solo[0]; i++)
        (void)json_object_del(resources, solo[i]);
    if (pod)
        drop_machines_limits(resources);
    (void)json_object_del(lin, "cgroupsPath");
    (void)json_object_del(config, "hooks");
}

/* The guest's own network namespace is what interfaces are set up in: the workload joins it,
 * whether its configuration names one of the host or asks for a new one. */
static int join_network(json_t *config)
{
    json_t *entry;
    size_t index;
    json_array_foreach(json_object_get(json_object_get(config, "linux"), "namespaces"), index,
                       entry)
    {
        const char *type = json_string_value(json_object_get(entry, "type"));
        if (!type || strcmp(type, "network") != 0)
            continue;
        (void)json_object_del(entry, PLAN_NOT_HOSTS_KEY); /* a guest has one, its own */
        return json_object_set_new(entry, "path", json_string("/proc/self/ns/net"));
    }
    return 0;
}

json_t *shares_rewrite(const struct workload_spec *spec, const struct shares *shares,
                       bool networked, struct error *err)
{
    const json_t *document = spec->plan->document;
    json_t *copy = json_deep_copy(document);
    const json_t *mounts = json_object_get(document, "mounts");
    json_t *copied = json_object_get(copy, "mounts");
    int failed = copy ? 0 : -1;
    (void)json_object_del(json_object_get(copy, "root"), PLAN_RESOLVED_KEY);
    if (spec->bundle && copy) {
        failed |= set_share(json_object_get(copy, "root"), "path", shares->first);
        failed |= networked ? join_network(copy) : 0;
        drop_host_part(copy, spec->pod);
    }
    for (size_t i = 0; !failed && i < json_array_size(mounts); i++) {
        const json_t *entry = json_array_get(mounts, i);
        (void)json_object_del(json_array_get(copied, i), PLAN_RESOLVED_KEY); /* of the host */
        const char *source = json_string_value(json_object_get(entry, "source"));
        size_t number = find_share(shares, source);
        if (number < shares->count)
            failed |= set_share(json_array_get(copied, i), "source", shares->first + number);
        else if (is_pods_shm(spec, json_string_value(json_object_get(entry, "destination")),
                             source))
            failed |= json_object_set_new(json_array_get(copied, i), "source",
                                          json_string(WIRE_SHM_DIRECTORY));
    }
    if (!failed)
        return copy;
    json_decref(copy);
    (void)error_set(err, EXIT_OURS, "out of memory");
    return NULL;
}
