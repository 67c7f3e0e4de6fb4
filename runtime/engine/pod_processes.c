/*
 * Whose processes a container of a pod of VMs shares. On the host the sandbox has a pid namespace
 * of its own, in which nobody else ever is; what stands for it is that of the guest's which all
 * share that name it. The processes that stand in for containers are in the host's: which container
 * is meant is in the path alone, /proc/PID/ns/pid, and PID must be the stand-in of one of this pod
 * that lives, by what was recorded when it was created. The keeper looks again when the container
 * starts, by who has connected to it.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pod.h"
#include "runtime/state/state.h"
#include "runtime/vm/vm.h"

bool pod_is_namespace_of(pid_t pid, const char *file, const char *path)
{
    char own[64];
    struct stat one, other;
    (void)snprintf(own, sizeof own, "/proc/%d/ns/%s", (int)pid, file);
    return stat(path, &one) == 0 && stat(own, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/* Whether its process is what a path of a container of the pod `sandbox` names. */
static bool stands_in(const struct state *state, const char *sandbox, const char *path)
{
    char own[64];
    (void)snprintf(own, sizeof own, "/proc/%d/ns/pid", (int)state->pid);
    return state->pod && strcmp(state->pod, sandbox) == 0 && state->pid > 0 &&
           strcmp(path, own) == 0 && state_process_lives(state->pid, state->pid_start);
}

/* Returns 1 with *processes, 0: none of the pod's; or -1 with *err. */
static int find_container(const struct runtime *runtime, const char *sandbox, const char *path,
                          struct workload_processes *processes, struct error *err)
{
    struct state_list list;
    if (state_list_read(runtime->root, &list, err) < 0)
        return -1;
    int found = 0;
    for (size_t i = 0; i < list.count && !found; i++) {
        const struct state *state = &list.states[i];
        found = stands_in(state, sandbox, path);
        if (found)
            *processes = (struct workload_processes){ .kind = WORKLOAD_OF_CONTAINER,
                                                      .monitor = state->pid,
                                                      .monitor_start = state->pid_start };
    }
    state_list_free(&list);
    return found;
}

int pod_find_processes(const struct runtime *runtime, const struct state *sandbox, const char *path,
                       struct workload_processes *processes, struct error *err)
{
    if (pod_is_namespace_of(sandbox->pid, "pid", path)) {
        *processes = (struct workload_processes){ .kind = WORKLOAD_OF_POD };
        return 0;
    }
    int found = find_container(runtime, sandbox->id, path, processes, err);
    if (found != 0)
        return found < 0 ? -1 : 0;
    return error_set(err, EXIT_OURS,
                     VM_REFUSES
                     "linux.namespaces: pid: %.200s is neither the "
                     "namespace of the pod's sandbox %.64s nor /proc/PID/ns/pid of the process of "
                     "one of its containers; nothing weaker is done instead",
                     path, sandbox->id);
}

bool pod_names_container(const struct runtime *runtime, const struct pod *pod,
                         const json_t *document)
{
    const json_t *namespaces = json_object_get(json_object_get(document, "linux"), "namespaces");
    const json_t *entry;
    size_t index;
    json_array_foreach(namespaces, index, entry)
    {
        const char *type = json_string_value(json_object_get(entry, "type"));
        const char *path = json_string_value(json_object_get(entry, "path"));
        struct workload_processes ignored;
        struct error unread; /* then it is what it looks like */
        if (pod->role == POD_CONTAINER && type && path && strcmp(type, "pid") == 0)
            return pod_is_namespace_of(getpid(), "pid", path) &&
                   find_container(runtime, pod->sandbox, path, &ignored, &unread) == 1;
    }
    return false;
}
