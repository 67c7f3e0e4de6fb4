/* From a document to a process that waits for its command. */
#include "guest.h"
#include "log.h"

#include "cleanup.h"
#include "runtime/plan/compose.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>

_Static_assert(WIRE_RLIMITS == (int)RLIM_NLIMITS, "the wire carries every limit of the kernel");

static json_t *parse_document(const char *document, size_t length, struct error *err)
{
    json_error_t detail;
    json_t *json = json_loadb(document, length, JSON_REJECT_DUPLICATES, &detail);
    if (!json)
        (void)error_set(err, EXIT_OURS, "the workload's document is not JSON: %s", detail.text);
    return json;
}

/* The filter that came for process `number` becomes the plan's; *owner holds its bytes then. */
static void adopt_filter(struct workload *workload, uint32_t number, struct plan *plan,
                         struct guest_filter *owner)
{
    struct guest_filter *next = &workload->next_filter;
    if (!next->program || next->process != number)
        return;
    *owner = *next;
    *next = (struct guest_filter){ 0 };
    plan->filter = owner->program;
    plan->filter_length = owner->length;
    plan->filter_flags = owner->flags;
}

void workload_name_cgroup(uint32_t number, char name[static CGROUP_NAME])
{
    if (number == 0)
        (void)snprintf(name, CGROUP_NAME, "workload");
    else
        (void)snprintf(name, CGROUP_NAME, "workload-%u", number);
}

/*
 * The host's cgroup of the whole machine bounds processor time; what is left is bounded here. Of a
 * pod's containers each has its own share of that time.
 */
static int make_cgroup(struct guest *guest, uint64_t memory_limit, struct error *err)
{
    char name[CGROUP_NAME];
    struct plan_resources resources = guest->workload.plan.resources;
    resources.memory_limit = memory_limit > 0 ? (int64_t)memory_limit : -1;
    resources.memory_swap = -1; /* the guest has none */
    if (guest->role == GUEST_OWN) {
        resources.cpu_quota = resources.cpu_period = -1;
        resources.cpuset_cpus = resources.cpuset_mems = NULL;
    }
    workload_name_cgroup(guest->number, name);
    guest->workload.cgroup = cgroup_create(name, NULL, &resources, err);
    return guest->workload.cgroup ? 0 : -1;
}

/*
 * The host's hard limit of descriptors may exceed what this kernel grants anybody. The inits of a
 * pod's containers do this one after another, so that none takes back what another has given.
 */
static void raise_descriptor_maximum(uint64_t hard)
{
    unsigned long long current = 0;
    _cleanup_fclose_ FILE *file = fopen("/proc/sys/fs/nr_open", "r+e");
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
    if (file && flock(fileno(file), LOCK_EX) == 0 && fscanf(file, "%llu", &current) == 1 &&
        hard > current && hard <= INT32_MAX) {
        rewind(file);
        (void)fprintf(file, "%llu\n", (unsigned long long)hard);
    }
    // cppcheck-suppress resourceLeak ; released by its _cleanup_*
}

static int give_limits(const struct workload *workload, pid_t pid, struct error *err)
{
    raise_descriptor_maximum(workload->limits[RLIMIT_NOFILE].hard);
    for (int i = 0; i < WIRE_RLIMITS; i++) {
        struct rlimit limit = { workload->limits[i].soft, workload->limits[i].hard };
        if (prlimit(pid, (__rlimit_resource_t)i, &limit, NULL) < 0)
            return error_set_errno(err, EXIT_OURS, errno,
                                   "cannot give resource limit %d to the workload", i);
    }
    return 0;
}

/* What its configuration says; 0: nothing. */
static int find_oom_score(const struct plan *plan)
{
    int score = 0;
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind == PLAN_OOM_SCORE)
            score = plan->steps[i].oom_score.score;
    return score;
}

/*
 * Our own, which no OOM killer ends, would be inherited by what its configuration gives none: with
 * such processes alone in it, a cgroup that is full stands still for ever. What is written by whom
 * may lower it is also the least that the process can have once it is in a user namespace.
 */
static int give_oom_score(pid_t pid, const struct plan *plan, struct error *err)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || dprintf(fd, "%d", find_oom_score(plan)) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write %s in the guest", path);
    return 0;
}

/* Spawns the child and lets it apply its plan. The streams are joined on success. */
static int set_up(const struct workload *workload, struct process *process,
                  const struct sandbox_request *request, struct stream_set *streams,
                  struct error *err)
{
    process->oom_kills = cgroup_oom_kills(workload->cgroup);
    if (sandbox_spawn(request, &process->child, err) < 0)
        return -1;
    process->state = PROCESS_PREPARED;
    if (give_oom_score(process->child.pid, request->plan, err) < 0 ||
        give_limits(workload, process->child.pid, err) < 0 ||
        sandbox_set_up(&process->child, err) < 0)
        return -1;
    return process->terminal ? stream_join_terminal(process, streams, err) : 0;
}

/* The others of a pod may be told to join the first process of this one. */
static int announce(struct guest *guest, struct error *err)
{
    if (guest->role != GUEST_CONTAINER)
        return 0;
    struct process *process = &guest->workload.processes[0];
    int result = pids_announce(guest, process->child.pid, err);
    if (result < 0)
        process_release(process);
    return result;
}

/* Makes the process's streams and then the process. On failure the slot is free again. */
static int make_process(struct workload *workload, uint32_t number, const struct wire_process *wire,
                        struct sandbox_request *request, struct error *err)
{
    if (((wire->flags & WIRE_TERMINAL) != 0) != request->plan->terminal)
        return error_set(err, EXIT_OURS, "the host and the document disagree about a terminal");
    struct process *process = process_allocate(workload, number, err);
    if (!process)
        return -1;
    struct stream_set streams;
    int result = stream_open(process, wire, &streams, err);
    if (result == 0) {
        memcpy(request->stdio, streams.stdio, sizeof request->stdio);
        request->rows = wire->rows;
        request->columns = wire->columns;
        result = set_up(workload, process, request, &streams, err);
    }
    stream_set_close(&streams);
    if (result < 0)
        process_release(process);
    return result;
}

/* The clock and the file systems, which a pod's machine has got already. */
static int equip(struct guest *guest, const struct wire_config *config, struct error *err)
{
    if (guest->role == GUEST_CONTAINER)
        return container_adopt(guest, config, err);
    if (boot_set_clock(config->clock_seconds, config->clock_nanoseconds, err) < 0 ||
        boot_mount_layers(&guest->workload, config, err) < 0)
        return -1;
    return config->process.flags & WIRE_SHARES ? boot_mount_shares(err) : 0;
}

int workload_prepare(struct guest *guest, const struct wire_config *config, const char *document,
                     size_t length, struct error *err)
{
    struct workload *workload = &guest->workload;
    json_t *json = parse_document(document, length, err);
    unsigned int flags = config->layer_count > 0 ? PLAN_PARSE_OWN : 0; /* or it is a bundle's */
    if (!json || plan_parse(json, flags, &workload->plan, err) < 0)
        return -1;
    if (guest_network_adopt(guest, err) < 0 || equip(guest, config, err) < 0)
        return -1;
    adopt_filter(workload, WIRE_MAIN_PROCESS, &workload->plan, &workload->filter);
    memcpy(workload->limits, config->limits, sizeof workload->limits);
    if (make_cgroup(guest, config->memory_limit, err) < 0)
        return -1;
    struct sandbox_root root = {
        .layers = (const char *const *)workload->layers,
        .layer_count = workload->layer_count,
        .upper = workload->layer_count > 0 ? BOOT_UPPER : NULL,
        .work = workload->layer_count > 0 ? BOOT_WORK : NULL,
        .volatile_upper = !(config->process.flags & WIRE_SCRATCH_DISK),
    };
    struct sandbox_request request = { .plan = &workload->plan,
                                       .root = &root,
                                       .cgroup_fd = cgroup_birth_fd(workload->cgroup),
                                       .cgroup_name = cgroup_name(workload->cgroup),
                                       .join_pidfd = -1 };
    if (make_process(workload, WIRE_MAIN_PROCESS, &config->process, &request, err) < 0)
        return -1;
    return announce(guest, err);
}

/* The document of a session, applied to a child in the workload's namespaces. */
static int start_session(struct workload *workload, uint32_t number,
                         const struct wire_process *wire, const struct plan *plan,
                         struct error *err)
{
    const struct sandbox_child *first = &workload->processes[0].child;
    _cleanup_close_ int nested = cgroup_open_nested(workload->cgroup, first->pid);
    struct sandbox_request request = { .plan = plan,
                                       .cgroup_fd =
                                           nested < 0 ? cgroup_birth_fd(workload->cgroup) : nested,
                                       .join_pidfd = first->pidfd };
    if (make_process(workload, number, wire, &request, err) < 0)
        return -1;
    struct process *process = process_find(workload, number);
    process->state = PROCESS_RUNNING;
    if (sandbox_execute(&process->child, err) < 0) {
        process_release(process);
        return -1;
    }
    return 0;
}

int workload_exec(struct guest *guest, uint32_t number, const struct wire_process *wire,
                  const char *document, size_t length, struct error *err)
{
    struct workload *workload = &guest->workload;
    struct plan plan = { 0 };
    struct guest_filter filter = { 0 };
    if (workload->processes[0].state != PROCESS_RUNNING)
        return error_set(err, EXIT_OURS, "the workload is not running");
    if (workload->frozen) /* what is born there would not even be set up */
        return error_set(err, EXIT_OURS, "the workload is paused; hybrid resume lets it go on");
    json_t *json = parse_document(document, length, err);
    if (!json)
        return -1;
    int result = plan_parse_process(json, &workload->plan, PLAN_PARSE_OWN, &plan, err);
    if (result == 0) {
        adopt_filter(workload, number, &plan, &filter);
        result = start_session(workload, number, wire, &plan, err);
    }
    plan_free(&plan);
    free(filter.program);
    return result;
}

void workload_signal_all(const struct workload *workload, int signal)
{
    if (signal == SIGKILL) {
        cgroup_kill(workload->cgroup);
        return;
    }
    int fd = openat(cgroup_birth_fd(workload->cgroup), "cgroup.procs", O_RDONLY | O_CLOEXEC);
    _cleanup_fclose_ FILE *processes = fd >= 0 ? fdopen(fd, "r") : NULL;
    int pid;
    if (fd >= 0 && !processes)
        (void)close(fd); /* a FILE takes memory, of which there may be none */
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
    while (processes && fscanf(processes, "%d", &pid) == 1)
        (void)kill(pid, signal);
}

void workload_end(struct workload *workload)
{
    if (!workload->cgroup)
        return;
    cgroup_kill(workload->cgroup);
    process_await_all();
}
