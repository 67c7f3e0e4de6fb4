#include "pod.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "pod_machine.h"
#include "runtime/network/network.h"
#include "runtime/plan/compose.h"
#include "runtime/state/state.h"
#include "runtime/vm/vm.h"

/* --- which part of a pod -------------------------------------------------------------------------
 */

/* How engines say it. */
static const struct mark {
    const char *type, *sandbox;
} marks[] = {
    { "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id" },  /* containerd */
    { "io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID" } /* CRI-O, podman */
};

static int read_mark(const char *id, const json_t *annotations, const struct mark *mark,
                     struct pod *pod, struct error *err)
{
    const json_t *type = json_object_get(annotations, mark->type);
    const char *text = json_string_value(type);
    struct error why;
    *pod =
        (struct pod){ .sandbox = json_string_value(json_object_get(annotations, mark->sandbox)) };
    if (!type)
        return 0;
    if (text && strcmp(text, "sandbox") == 0)
        pod->role = POD_SANDBOX;
    else if (text && strcmp(text, "container") == 0)
        pod->role = POD_CONTAINER;
    else
        return error_set(err, EXIT_OURS, "annotations: %s must be \"sandbox\" or \"container\"",
                         mark->type);
    if (pod->role == POD_CONTAINER && !pod->sandbox)
        return error_set(err, EXIT_OURS, "annotations: %s is missing, which says whose pod it is",
                         mark->sandbox);
    if (pod->sandbox && state_check_id(pod->sandbox, &why) < 0)
        return error_set(err, EXIT_OURS, "annotations: %s: %s", mark->sandbox, why.message);
    if (pod->role == POD_SANDBOX && pod->sandbox && strcmp(pod->sandbox, id) != 0)
        return error_set(err, EXIT_OURS, "annotations: %s names another one, %s, in the sandbox %s",
                         mark->sandbox, pod->sandbox, id);
    return 0;
}

/*
 * podman marks the containers of a pod but not their sandbox, the "infra container", whose image it
 * makes itself: it has one program, and that has one option, to do nothing.
 */
static bool is_podmans_sandbox(const json_t *document)
{
    const char *manager = json_string_value(
        json_object_get(json_object_get(document, "annotations"), "io.container.manager"));
    json_auto_t *pause = json_pack("[s, s]", "/catatonit", "-P");
    return manager && strcmp(manager, "libpod") == 0 &&
           json_equal(json_object_get(json_object_get(document, "process"), "args"), pause);
}

int pod_read(const char *id, const json_t *document, struct pod *pod, struct error *err)
{
    const json_t *annotations = json_object_get(document, "annotations");
    *pod = (struct pod){ 0 };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        struct pod read;
        if (read_mark(id, annotations, &marks[i], &read, err) < 0)
            return -1;
        if (read.role == POD_NONE)
            continue;
        bool differ = pod->role != POD_NONE &&
                      (pod->role != read.role ||
                       (pod->role == POD_CONTAINER && strcmp(pod->sandbox, read.sandbox) != 0));
        if (differ)
            return error_set(err, EXIT_OURS,
                             "annotations: %s and %s say different things of the same container; "
                             "an engine sets one of them, who set the other?",
                             marks[0].type, marks[i].type);
        *pod = read;
    }
    if (pod->role == POD_NONE && is_podmans_sandbox(document))
        pod->role = POD_SANDBOX;
    return 0;
}

/* --- the sandbox ---------------------------------------------------------------------------------
 */

int pod_check_sandbox(const struct plan *plan, struct error *err)
{
    static const struct {
        const char *field;
        int flag;
        enum plan_namespace index;
    } own[] = {
        { "pid", CLONE_NEWPID, PLAN_NS_PID },
        { "mount", CLONE_NEWNS, PLAN_NS_MOUNT },
        { "ipc", CLONE_NEWIPC, PLAN_NS_IPC },
        { "uts", CLONE_NEWUTS, PLAN_NS_UTS },
    };
    const struct plan_namespaces *namespaces = &plan->namespaces;
    const char *network = namespaces->path[PLAN_NS_NETWORK];
    struct error why;
    if (!network && !(namespaces->create & CLONE_NEWNET))
        return error_set(err, EXIT_OURS,
                         "cannot make a pod of VMs: linux.namespaces: network: the host's is given "
                         "to no VM (hostNetwork, --network=host)");
    if (network && network_check_path(network, &why) < 0)
        return error_set(err, EXIT_OURS, "cannot make a pod of VMs: linux.namespaces: network: %s",
                         why.message);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!(namespaces->create & own[i].flag))
            return error_set(err, EXIT_OURS,
                             "cannot make a pod of VMs: linux.namespaces: %s: %s; it must be the "
                             "sandbox's own (no hostPID, hostIPC; no --pid, --ipc, --uts)",
                             own[i].field,
                             namespaces->path[own[i].index]
                                 ? "one that somebody else made is joined by a path"
                                 : "the host's cannot be seen from within a VM");
    if ((namespaces->create & (CLONE_NEWUSER | CLONE_NEWTIME)) || namespaces->path[PLAN_NS_USER] ||
        namespaces->path[PLAN_NS_TIME] || namespaces->path[PLAN_NS_CGROUP])
        return error_set(err, EXIT_OURS,
                         "cannot make a pod of VMs: linux.namespaces: user, time, or cgroup by a "
                         "path: a VM joins none of the host's (no hostUsers: false)");
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind == PLAN_HOOK_CREATE || plan->steps[i].kind == PLAN_HOOK_START)
            return error_set(err, EXIT_OURS,
                             "cannot make a pod of VMs: hooks.createContainer, "
                             "hooks.startContainer: a sandbox has no files to run them in");
    return 0;
}

/* --- its container -------------------------------------------------------------------------------
 */

/* What a pod's containers share with its sandbox. */
static const struct shared {
    const char *type, *file;
    const char *guests; /* the guest has its own in its place, there; NULL: it gets it as it is */
} kinds[] = {
    { "network", "net", NULL },
    { "ipc", "ipc", "/proc/self/ns/ipc" },
    { "uts", "uts", "/proc/self/ns/uts" },
    { "pid", "pid", "/proc/self/ns/pid" }, /* or with another container */
};

static const struct shared *find_kind(const json_t *entry)
{
    const char *type = json_string_value(json_object_get(entry, "type"));
    for (size_t i = 0; type && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].type) == 0)
            return &kinds[i];
    return NULL;
}

/* The path by which an entry joins a namespace. Programs in Go write "" for what is not set. */
static const char *path_of(const json_t *entry)
{
    const char *path = json_string_value(json_object_get(entry, "path"));
    return path && *path ? path : NULL;
}

/* Whether any namespace of a kind that a pod shares is joined by a path. */
static bool joins_any(const json_t *namespaces)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(namespaces, index, entry)
    {
        if (path_of(entry) && find_kind(entry))
            return true;
    }
    return false;
}

static int check_sandbox(const struct pod *pod, const struct state *sandbox, struct error *err)
{
    const char *what = strcmp(sandbox->isolation, "sandbox") != 0 ? sandbox->isolation : NULL;
    if (what)
        return error_set(err, EXIT_OURS,
                         VM_REFUSES
                         "its pod's sandbox %s was made as a %s, not for VMs: call "
                         "hybrid-vm for the whole pod, with the engine's own pause image",
                         pod->sandbox, what);
    if (sandbox->status != STATE_CREATED && sandbox->status != STATE_RUNNING)
        return error_set(err, EXIT_OURS, VM_REFUSES "its pod's sandbox %s is %s", pod->sandbox,
                         state_status_name(sandbox->status));
    return 0;
}

static int check_joined(const struct runtime *runtime, const struct state *sandbox,
                        const struct shared *kind, const char *path, struct pod_place *place,
                        struct error *err)
{
    if (strcmp(kind->type, "pid") == 0)
        return pod_find_processes(runtime, sandbox, path, &place->processes, err);
    if (pod_is_namespace_of(sandbox->pid, kind->file, path))
        return 0;
    return error_set(err, EXIT_OURS,
                     VM_REFUSES "linux.namespaces: %s: %.200s is not the namespace of the pod's "
                                "sandbox %.64s; nothing weaker is done instead",
                     kind->type, path, sandbox->id);
}

/* Each path leads to the sandbox's namespace; what is the guest's own gets the guest's path. */
static int take_over(const struct runtime *runtime, const struct state *sandbox, json_t *namespaces,
                     struct pod_place *place, struct error *err)
{
    bool network = false;
    size_t index;
    json_t *entry;
    json_array_foreach(namespaces, index, entry)
    {
        const struct shared *kind = find_kind(entry);
        const char *path = path_of(entry);
        if (!kind || !path)
            continue;
        if (check_joined(runtime, sandbox, kind, path, place, err) < 0)
            return -1;
        network = network || !kind->guests;
        if (!kind->guests)
            continue;
        (void)json_object_del(entry, PLAN_NOT_HOSTS_KEY);
        if (json_object_set_new(entry, "path", json_string(kind->guests)) < 0)
            return error_set(err, EXIT_OURS, "out of memory");
    }
    return network
               ? 0
               : error_set(err, EXIT_OURS,
                           VM_REFUSES "linux.namespaces: network: in the VM of the pod of %.64s "
                                      "there is one network, the sandbox's, which it does not "
                                      "join; nothing weaker is done instead",
                           sandbox->id);
}

/* A member of the sandbox's configuration that the container, which joins it, does not repeat. */
static int inherit(json_t *object, const json_t *sandboxes, const char *key, struct error *err)
{
    json_t *value = json_object_get(sandboxes, key);
    if (!value || json_object_get(object, key))
        return 0;
    return json_object_set(object, key, value) < 0 ? error_set(err, EXIT_OURS, "out of memory") : 0;
}

static int inherit_settings(const json_t *config, json_t *document, struct error *err)
{
    json_t *lin = json_object_get(document, "linux");
    const json_t *sysctls = json_object_get(json_object_get(config, "linux"), "sysctl");
    if (inherit(document, config, "hostname", err) < 0 ||
        inherit(document, config, "domainname", err) < 0)
        return -1;
    if (!json_is_object(json_object_get(lin, "sysctl")))
        return inherit(lin, json_object_get(config, "linux"), "sysctl", err);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)sysctls, key, value)
    {
        (void)value;
        if (inherit(json_object_get(lin, "sysctl"), sysctls, key, err) < 0)
            return -1;
    }
    return 0;
}

static int refuse_ended(const struct pod_place *place, struct error *err)
{
    return error_set(err, EXIT_OURS, VM_REFUSES "its pod's sandbox %.64s has ended",
                     place->sandbox);
}

static int note_place(const struct runtime *runtime, const struct state *sandbox,
                      const json_t *config, struct pod_place *place, struct error *err)
{
    const char *shm = pod_find_shm(config);
    place->pid = sandbox->pid;
    place->pid_start = sandbox->pid_start;
    place->sandbox = strdup(sandbox->id);
    place->directory = state_directory(runtime->root, sandbox->id, err);
    place->shm = shm ? strdup(shm) : NULL;
    if (!place->sandbox || !place->directory || (shm && !place->shm))
        return error_set(err, EXIT_OURS, "out of memory");
    return 0;
}

int pod_join(const struct runtime *runtime, const struct pod *pod, json_t *document,
             struct pod_place *place, struct error *err)
{
    json_t *namespaces = json_object_get(json_object_get(document, "linux"), "namespaces");
    if (pod->role != POD_CONTAINER || !joins_any(namespaces))
        return 0;
    _cleanup_state_ struct state sandbox = { 0 };
    struct error why;
    if (state_read(runtime->root, pod->sandbox, &sandbox, &why) < 0 ||
        engine_require(&sandbox, &why) < 0)
        return error_set(err, EXIT_OURS, VM_REFUSES "its pod's sandbox: %s", why.message);
    json_auto_t *config = pod_read_config(runtime, sandbox.id, err);
    if (!config || note_place(runtime, &sandbox, config, place, err) < 0 ||
        check_sandbox(pod, &sandbox, err) < 0 ||
        take_over(runtime, &sandbox, namespaces, place, err) < 0 ||
        pod_check_memory(sandbox.id, config, document, err) < 0 ||
        inherit_settings(config, document, err) < 0)
        return -1;
    /* Alive after what was looked at: until then the number was its own. */
    return state_process_lives(place->pid, place->pid_start) ? 0 : refuse_ended(place, err);
}

int pod_check_network(const struct pod_place *place, pid_t monitor, struct error *err)
{
    char path[64];
    if (!place->sandbox)
        return 0;
    (void)snprintf(path, sizeof path, "/proc/%d/ns/net", (int)monitor);
    if (pod_is_namespace_of(place->pid, "net", path) &&
        state_process_lives(place->pid, place->pid_start))
        return 0;
    return refuse_ended(place, err);
}

void pod_leave(struct pod_place *place)
{
    free(place->sandbox);
    free(place->directory);
    free(place->shm);
    *place = (struct pod_place){ 0 };
}

int pod_check_container(const struct runtime *runtime, const struct pod *pod, struct error *err)
{
    _cleanup_state_ struct state sandbox = { 0 };
    struct error unknown; /* a sandbox of another runtime's is nothing to us */
    if (pod->role != POD_CONTAINER ||
        state_read(runtime->root, pod->sandbox, &sandbox, &unknown) < 0 ||
        strcmp(sandbox.isolation, "sandbox") != 0)
        return 0;
    return error_set(err, EXIT_OURS,
                     "cannot run this bundle as a container: its pod's sandbox %.64s was made for "
                     "VMs; call hybrid-vm for the whole pod, or let the policy decide one "
                     "isolation for it",
                     pod->sandbox);
}
