/*
 * From an OCI runtime configuration to a plan. Specification: OCI runtime-spec 1.2. Members that
 * the specification does not know are ignored, as it demands; those it knows and hybrid cannot
 * honour are refused by name.
 */
#include "json_read.h"
#include "parse_parts.h"

#include <sched.h>
#include <sys/mount.h>

#include "mount_options.h"

static const struct unsupported document_members[] = {
    { "vm", false }, { "windows", false }, { "solaris", false }, { "zos", false }, { NULL, false },
};

static const struct unsupported linux_members[] = {
    { "intelRdt", false },
    { "memoryPolicy", false },
    { "netDevices", false },
    { NULL, false },
};

/* Whether the value asks for nothing. */
static bool is_neutral(const json_t *value, bool zero_counts)
{
    size_t index;
    const char *key;
    json_t *entry;
    switch (json_typeof(value)) {
    case JSON_NULL:
        return true;
    case JSON_FALSE:
        return !zero_counts;
    case JSON_INTEGER:
        return !zero_counts && json_integer_value(value) == 0;
    case JSON_STRING:
        return json_string_length(value) == 0;
    case JSON_ARRAY:
        json_array_foreach(value, index, entry) return false;
        return true;
    case JSON_OBJECT:
        json_object_foreach((json_t *)value, key,
                            entry) if (!is_neutral(entry, zero_counts)) return false;
        return true;
    default:
        return false;
    }
}

int parse_refuse(const json_t *parent, const char *path, const struct unsupported *members,
                 struct error *err)
{
    for (; members->key; members++) {
        const json_t *value = json_object_get(parent, members->key);
        if (value && !is_neutral(value, members->zero_counts))
            return error_set(err, EXIT_OURS,
                             "%s%s%s is not supported; remove it from the "
                             "configuration",
                             path, *path ? "." : "", members->key);
    }
    return 0;
}

static int check_version(const json_t *document, struct error *err)
{
    const char *version = NULL;
    int present = json_read_string(document, "", "ociVersion", &version, err);
    if (present < 0)
        return -1;
    if (!present)
        return error_set(err, EXIT_OURS,
                         "ociVersion is missing; is this an OCI runtime "
                         "configuration?");
    if (strncmp(version, "1.", 2) != 0)
        return error_set(err, EXIT_OURS, "ociVersion %.40s is not supported; 1.x is", version);
    return 0;
}

static int parse_root(struct plan *plan, unsigned int flags, struct error *err)
{
    json_t *root = NULL;
    const char *path = NULL, *resolved = NULL;
    int present = json_read_object(plan->document, "", "root", &root, err);
    if (present < 0)
        return -1;
    if (!present)
        return error_set(err, EXIT_OURS, "root is missing; it says where the root file system is");
    if (json_read_string(root, "root", "path", &path, err) < 0 ||
        json_read_string(root, "root", PLAN_RESOLVED_KEY, &resolved, err) < 0 ||
        json_read_boolean(root, "root", "readonly", &plan->root_readonly, err) < 0)
        return -1;
    if (!path || !*path)
        return json_read_refuse("root", "path", "the path of a directory", err);
    /* Our own documents name the place where the layers are put together: no path of the host. */
    bool used = !(flags & (PLAN_PARSE_OWN | PLAN_PARSE_SANDBOX));
    plan->root_path = used ? path : NULL;
    plan->root_resolved = used ? resolved : NULL;
    return 0;
}

static int parse_root_propagation(struct plan *plan, const json_t *linux_part, struct error *err)
{
    const char *name = NULL;
    if (json_read_string(linux_part, "linux", "rootfsPropagation", &name, err) < 0)
        return -1;
    if (!name || !*name)
        return 0;
    struct plan_mount mount = { .target = "/" };
    if (!mount_option_apply(name, &mount) || !mount.propagation)
        return json_read_refuse("linux", "rootfsPropagation",
                                "shared, slave, private or unbindable, or one of them with r", err);
    plan->root_propagation = mount.propagation;
    return 0;
}

/* Annotations by which crun's users ask for more isolation, or for groups: left unread they would
 * be a container, or one that may not read its files, without a word. */
static int refuse_foreign_requests(const json_t *annotations, struct error *err)
{
    static const struct {
        const char *key, *remedy;
    } requests[] = {
        { "run.oci.handler", "leave it out, and for a VM name the runtime hybrid-vm" },
        { "run.oci.keep_original_groups",
          "name the groups instead of keeping the caller's (podman: --group-add)" },
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        const char *value = json_string_value(json_object_get(annotations, requests[i].key));
        if (value && *value && strcmp(value, "0") != 0)
            return error_set(err, EXIT_OURS, "annotations.%s=%.40s is not supported; %s",
                             requests[i].key, value, requests[i].remedy);
    }
    return 0;
}

/* hybrid's own annotations; of those of a bundle, limits of its networks mean something, and of its
 * disks, of which it has none, are refused. */
static int parse_annotations(struct plan *plan, unsigned int flags, struct error *err)
{
    json_t *annotations = NULL;
    const char *init = "false";
    if (json_read_object(plan->document, "", "annotations", &annotations, err) < 0)
        return -1;
    if (!(flags & PLAN_PARSE_OWN))
        return refuse_disk_rates(annotations, err) < 0 ||
                       refuse_foreign_requests(annotations, err) < 0
                   ? -1
                   : parse_rates(plan, annotations, PLAN_DISK_RATES, err);
    if (json_read_string(annotations, "annotations", "hybrid.init", &init, err) < 0)
        return -1;
    plan->init = strcmp(init, "true") == 0;
    return parse_rates(plan, annotations, PLAN_DISK_READ_BYTES, err);
}

/* A working directory that the image lacks is made for the first process, as engines expect it,
 * also where the root is read-only for the workload. parse_process judges what the member says. */
static int make_cwd(struct plan *plan, const json_t *process, struct error *err)
{
    const char *cwd = json_string_value(json_object_get(process, "cwd"));
    if (!cwd || *cwd != '/' || cwd[1] == '\0')
        return 0;
    struct plan_step *step = plan_add_step(plan, PLAN_CWD_MAKE, err);
    if (!step)
        return -1;
    step->path = cwd;
    return 0;
}

/* Steps from the first mount to the read-only root. */
static int parse_file_system(struct plan *plan, const json_t *linux_part, const json_t *process,
                             unsigned int flags, struct error *err)
{
    bool terminal = false;
    if (json_read_boolean(process, "process", "terminal", &terminal, err) < 0)
        return -1;
    json_auto_t *readonly = json_array();
    if (parse_mounts(plan, flags, readonly, err) < 0 || parse_devices(plan, linux_part, err) < 0)
        return -1;
    if (terminal && !plan_add_step(plan, PLAN_CONSOLE, err))
        return -1;
    if (parse_hooks(plan, err) < 0 || !plan_add_step(plan, PLAN_ROOT, err) ||
        make_cwd(plan, process, err) < 0 || parse_identity(plan, linux_part, err) < 0 ||
        parse_paths(plan, linux_part, err) < 0)
        return -1;
    size_t index;
    const json_t *path;
    json_array_foreach(readonly, index, path)
    {
        struct plan_step *step = plan_add_step(plan, PLAN_READONLY_PATH, err);
        if (!step)
            return -1;
        step->path = json_string_value(path); /* the document's */
    }
    return plan->root_readonly && !plan_add_step(plan, PLAN_READONLY_ROOT, err) ? -1 : 0;
}

static int parse_document(struct plan *plan, unsigned int flags, struct error *err)
{
    json_t *linux_part = NULL, *process = NULL, *seccomp = NULL;
    if (!json_is_object((const json_t *)plan->document))
        return error_set(err, EXIT_OURS, "the configuration must be a JSON object");
    if (check_version(plan->document, err) < 0 ||
        parse_refuse(plan->document, "", document_members, err) < 0 ||
        json_read_object(plan->document, "", "linux", &linux_part, err) < 0 ||
        parse_refuse(linux_part, "linux", linux_members, err) < 0 ||
        json_read_object(linux_part, "linux", "seccomp", &seccomp, err) < 0 ||
        json_read_string(seccomp, "linux.seccomp", "listenerPath", &plan->listener_path, err) < 0 ||
        json_read_string(seccomp, "linux.seccomp", "listenerMetadata", &plan->listener_metadata,
                         err) < 0 ||
        json_read_object(plan->document, "", "process", &process, err) < 0)
        return -1;
    if (parse_root(plan, flags, err) < 0 ||
        json_read_string(linux_part, "linux", "mountLabel", &plan->mount_label, err) < 0 ||
        parse_root_propagation(plan, linux_part, err) < 0 ||
        parse_annotations(plan, flags, err) < 0 || parse_namespaces(plan, linux_part, err) < 0 ||
        parse_resources(plan, linux_part, flags, err) < 0)
        return -1;
    if (flags & PLAN_PARSE_SANDBOX)
        return parse_sandbox(plan, linux_part, process, err);
    if (parse_file_system(plan, linux_part, process, flags, err) < 0)
        return -1;
    /* Without a process a container can be created, but not started (runtime.md, "Start"). */
    return process ? parse_process(plan, process, NULL, seccomp != NULL, flags, err) : 0;
}

static const struct plan_resources no_resources = PLAN_NO_RESOURCES;

int plan_parse(json_t *document, unsigned int flags, struct plan *plan, struct error *err)
{
    *plan = (struct plan){ .document = document, .resources = no_resources };
    if (parse_document(plan, flags, err) == 0)
        return 0;
    plan_free(plan);
    return -1;
}

int plan_parse_update(json_t *resources, struct plan *plan, struct error *err)
{
    *plan = (struct plan){ .document = json_pack("{s:o}", "resources", resources),
                           .resources = no_resources };
    if (!plan->document)
        return error_set(err, EXIT_OURS, "out of memory");
    if (parse_resources(plan, plan->document, PLAN_PARSE_UPDATE, err) == 0)
        return 0;
    plan_free(plan);
    return -1;
}

static int copy_maps(struct plan *plan, const struct plan *base, struct error *err)
{
    size_t uids = base->uid_map_count, gids = base->gid_map_count;
    struct plan_id_map *maps = plan_allocate(plan, uids + gids, sizeof *maps, err);
    if (!maps)
        return -1;
    if (uids)
        memcpy(maps, base->uid_maps, uids * sizeof *maps);
    if (gids)
        memcpy(maps + uids, base->gid_maps, gids * sizeof *maps);
    plan->uid_maps = maps;
    plan->gid_maps = maps + uids;
    plan->uid_map_count = uids;
    plan->gid_map_count = gids;
    return 0;
}

int plan_parse_process(json_t *process, const struct plan *base, unsigned int flags,
                       struct plan *plan, struct error *err)
{
    *plan = (struct plan){
        .document = process,
        .resources = no_resources,
        .namespaces.create = base->namespaces.create,
    };
    /* All namespaces are joined through the workload's process: by path means no more than made. */
    if (base->namespaces.path[PLAN_NS_USER])
        plan->namespaces.create |= CLONE_NEWUSER;
    if (base->namespaces.path[PLAN_NS_TIME])
        plan->namespaces.create |= CLONE_NEWTIME;
    const json_t *linux_part = json_object_get(base->document, "linux");
    const json_t *seccomp = json_object_get(linux_part, "seccomp");
    if (!json_is_object(process))
        (void)error_set(err, EXIT_OURS, "the process must be a JSON object");
    else if (copy_maps(plan, base, err) == 0 &&
             parse_process(plan, process, base, json_is_object(seccomp), flags, err) == 0)
        return 0;
    plan_free(plan);
    return -1;
}
