/* The init of one container of a pod, and what only those are asked for. */
#include "guest.h"
#include "log.h"

#include "cleanup.h"
#include "runtime/plan/compose.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum { FIRST_KEPT = STDERR_FILENO + 1, CONTROL_FD = FIRST_KEPT, NEWS_FD, PIDS_FD, KEPT_END };

/* Closes all but the streams and the given descriptors, which get the numbers above. 0, or -1. */
static int keep_only(const struct container_ends *ends)
{
    const int given[] = { ends->control_fd, ends->news_fd, ends->pids_fd };
    int high[KEPT_END - FIRST_KEPT];
    for (int i = 0; i < KEPT_END - FIRST_KEPT; i++) {
        /* Out of the way first: one's number may be another's new one. */
        high[i] = given[i] < 0 ? -1 : fcntl(given[i], F_DUPFD_CLOEXEC, KEPT_END);
        if (given[i] >= 0 && high[i] < 0)
            return -1;
    }
    for (int i = 0; i < KEPT_END - FIRST_KEPT; i++)
        if (high[i] >= 0 && dup3(high[i], FIRST_KEPT + i, O_CLOEXEC) < 0)
            return -1;
    return close_range(ends->pids_fd < 0 ? PIDS_FD : KEPT_END, ~0U, 0);
}

/* Lets go of all that is PID 1's; what the machine has got stays known. 0, or -1 with *err. */
static int leave_pod(struct guest *guest, const struct container_ends *ends, uint32_t number,
                     struct error *err)
{
    if (keep_only(ends) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot let go of what is PID 1's");
    wire_next(&guest->reader);
    guest->role = GUEST_CONTAINER;
    guest->number = number;
    guest->control_fd = CONTROL_FD;
    guest->news_fd = NEWS_FD;
    guest->joins = ends->pids_fd >= 0;
    guest->pids_fd = guest->joins ? PIDS_FD : -1;
    guest->pause = 0;
    guest->names.on = false;
    memset(guest->members, 0, sizeof guest->members);
    return 0;
}

void container_serve(struct guest *guest, const struct container_ends *ends, uint32_t number)
{
    struct error err;
    char name[CGROUP_NAME];
    if (leave_pod(guest, ends, number, &err) < 0) {
        log_error("container %u: %s", number, err.message);
        _exit(EXIT_OURS);
    }
    if (serve_open_signals(guest, &err) < 0 || serve(guest, &err) < 0)
        log_error("container %u: %s", number, err.message);
    workload_end(&guest->workload);
    workload_name_cgroup(number, name);
    /* Before the connection is closed: then nothing is left of the container. */
    _exit(guest->workload.cgroup && cgroup_remove(name, &err) < 0 ? EXIT_OURS : 0);
}

/* Namespaces that a pod shares: the guest's own. Paths as the host writes them. */
static const struct {
    enum plan_namespace index;
    const char *type, *path;
} SHARED[] = {
    { PLAN_NS_IPC, "ipc", "/proc/self/ns/ipc" },
    { PLAN_NS_UTS, "uts", "/proc/self/ns/uts" },
};

/* No container of a pod can have more than its machine. 0: no limit. */
static int check_memory(uint64_t limit, struct error *err)
{
    struct sysinfo machine;
    if (sysinfo(&machine) < 0 || limit <= (uint64_t)machine.totalram * machine.mem_unit)
        return 0;
    return error_set(err, EXIT_OURS,
                     "cannot set the memory limit to %llu: the pod's machine has %llu bytes, which "
                     "cannot grow; a pod's memory is chosen when it is made (annotation "
                     "io.kubernetes.cri.sandbox-memory, or the sandbox's "
                     "linux.resources.memory.limit)",
                     (unsigned long long)limit,
                     (unsigned long long)machine.totalram * machine.mem_unit);
}

int container_adopt(struct guest *guest, const struct wire_config *config, struct error *err)
{
    struct plan *plan = &guest->workload.plan;
    if (config->layer_count > 0 || (config->process.flags & WIRE_SCRATCH_DISK))
        return error_set(err, EXIT_OURS, "a pod's container has no layers and no disk of its own");
    if ((config->process.flags & WIRE_SHARES) && !guest->shared)
        return error_set(err, EXIT_OURS, "the pod's machine has no files of the host");
    int own = CLONE_NEWNS | (guest->joins ? 0 : CLONE_NEWPID);
    if (pids_adopt(guest, err) < 0)
        return -1;
    if ((plan->namespaces.create & own) != own)
        return error_set(err, EXIT_OURS,
                         "linux.namespaces: pid, mount: a container needs its own in the VM of a "
                         "pod; the VM's are PID 1's, and would show it the other containers");
    if (check_memory(config->memory_limit, err) < 0)
        return -1;
    /* Engines leave it out on hosts with cgroup v1: it would see those of the others. */
    if (!plan->namespaces.path[PLAN_NS_CGROUP])
        plan->namespaces.create |= CLONE_NEWCGROUP;
    for (size_t i = 0; i < sizeof SHARED / sizeof SHARED[0]; i++) {
        const char **path = &plan->namespaces.path[SHARED[i].index];
        if (*path && strcmp(*path, SHARED[i].path) != 0)
            return error_set(err, EXIT_OURS, "linux.namespaces: %s: there is no %s in the guest",
                             SHARED[i].type, *path);
        *path = NULL;
    }
    return 0;
}

int container_freeze(struct workload *workload, bool frozen, struct error *err)
{
    if (workload->processes[0].state != PROCESS_RUNNING)
        return error_set(err, EXIT_OURS, "the container is not running");
    if (cgroup_freeze(workload->cgroup, frozen, err) < 0)
        return -1;
    workload->frozen = frozen;
    return 0;
}

static int apply(struct workload *workload, struct plan_resources resources, struct error *err)
{
    bool limited = resources.memory_limit > 0 && resources.memory_limit != PLAN_UNLIMITED;
    if (resources.cpuset_cpus || resources.cpuset_mems)
        return error_set(err, EXIT_OURS,
                         "linux.resources.cpu.cpus and .mems: one container of a pod's VM cannot "
                         "be bound to processors of the host; bind the pod's sandbox");
    if (check_memory(limited ? (uint64_t)resources.memory_limit : 0, err) < 0)
        return -1;
    resources.memory_swap = -1; /* the guest has none */
    return cgroup_set_resources(workload->cgroup, &resources, err);
}

int container_update(struct workload *workload, const char *document, struct error *err)
{
    struct plan plan;
    json_error_t detail;
    if (!workload->cgroup)
        return error_set(err, EXIT_OURS, "the container has not been made");
    json_t *json = plan_load_json(document, &detail);
    if (!json)
        return error_set(err, EXIT_OURS, "the new limits are not JSON: %s", detail.text);
    if (plan_parse_update(json, &plan, err) < 0)
        return -1;
    int result = apply(workload, plan.resources, err);
    plan_free(&plan);
    return result;
}
