/* The operations of the VM back end, as the monitor calls them. */
#include "vm.h"
#include "parts.h"

#include "cleanup.h"
#include "description.h"

#include <linux/seccomp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

enum {
    PREPARE_TIMEOUT =
        VM_STEP_SECONDS * 1000,   /* milliseconds for the guest to apply the plan, to execute */
    SHUTDOWN_TIMEOUT = 10 * 1000, /* for the guest to sync and unmount its writable layer */
    KILL_SECONDS = 5,             /* for the guest to say that it has killed its command */
};

static const char CUT_OFF[] =
    "its guest did not power off within 10 seconds of being told to, and was "
    "killed; what it wrote last may be missing from its writable layer";

static int send_filter(struct workload *vm, uint32_t process, const struct plan *plan,
                       struct error *err)
{
    struct wire_filter head = { .flags = plan->filter_flags };
    if (!plan->filter)
        return 0;
    return link_send(vm, WIRE_FILTER, process, &head, sizeof head, plan->filter,
                     plan->filter_length, err);
}

static int send_names(struct workload *vm, struct error *err)
{
    struct wire_names names;
    if (vm->machine.names.process.pid <= 0)
        return 0;
    memcpy(names.address, &vm->machine.network.name_server, sizeof names.address);
    if (link_offer_names(vm, &names.port, err) < 0)
        return -1;
    return link_send(vm, WIRE_NAMES, WIRE_MAIN_PROCESS, &names, sizeof names, NULL, 0, err);
}

int vm_send_network(struct workload *vm, struct error *err)
{
    uint8_t data[NETWORK_MAX_BYTES];
    if (vm->machine.network.netlink_fd < 0)
        return 0;
    size_t length = network_pack(&vm->machine.network.description, data);
    if (link_send(vm, WIRE_NETWORK, WIRE_MAIN_PROCESS, data, length, NULL, 0, err) < 0)
        return -1;
    return send_names(vm, err);
}

static void describe_limits(struct wire_rlimit limits[WIRE_RLIMITS])
{
    for (int i = 0; i < WIRE_RLIMITS; i++) {
        struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
        (void)getrlimit((__rlimit_resource_t)i, &limit);
        limits[i] = (struct wire_rlimit){ limit.rlim_cur, limit.rlim_max };
    }
}

/* In a pod, no limit is that of the machine. */
static uint64_t limit_memory(const struct workload *vm, const struct plan_resources *resources)
{
    int64_t limit = resources->memory_limit;
    if (vm->kind == VM_CONTAINER && (limit <= 0 || limit == PLAN_UNLIMITED))
        return 0;
    return vm_memory_limit(resources);
}

/* Sends what the workload is, once its streams were offered, and waits until the guest has set it
 * up. */
static int configure(struct workload *vm, const struct workload_spec *spec,
                     struct wire_config *config, struct error *err)
{
    struct timespec now;
    if (send_filter(vm, WIRE_MAIN_PROCESS, spec->plan, err) < 0 || vm_send_network(vm, err) < 0)
        return -1;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    config->clock_seconds = now.tv_sec;
    config->clock_nanoseconds = (uint32_t)now.tv_nsec;
    if (link_send(vm, WIRE_CONFIG, WIRE_MAIN_PROCESS, config, sizeof *config, vm->guest_config,
                  strlen(vm->guest_config), err) < 0)
        return -1;
    return link_wait_for(vm, VM_PREPARED, PREPARE_TIMEOUT, err);
}

/* Sends the plan and waits until the guest has applied it. stdio is taken over. */
static int prepare(struct workload *vm, const struct workload_spec *spec, int *terminal_fd,
                   struct error *err)
{
    struct wire_config config = {
        .memory_limit = limit_memory(vm, &spec->plan->resources),
        .layer_count = (uint32_t)spec->layer_count,
        .process = { .rows = spec->rows,
                     .columns = spec->columns,
                     .flags = (spec->keep_writable ? WIRE_SCRATCH_DISK : 0) |
                              (vm->kind == VM_CONTAINER || vm->machine.server.process.pid > 0
                                   ? WIRE_SHARES
                                   : 0) },
    };
    describe_limits(config.limits);
    int offered = link_offer_streams(vm, spec->stdio, spec->plan->terminal, terminal_fd,
                                     &config.process, err);
    memcpy(vm->ports, config.process.ports, sizeof vm->ports);
    if (offered == 0 && configure(vm, spec, &config, err) == 0)
        return 0;
    /* The hybrid-vmm of a pod lives on, and with it what was offered: nobody must wait for its end.
     */
    link_close_streams(vm, vm->ports);
    return -1;
}

struct workload *vm_new(const struct workload_spec *spec, enum vm_kind kind, struct error *err)
{
    struct workload *vm = calloc(1, sizeof *vm);
    if (!vm) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    vm->kind = kind;
    vm->wire_fd = vm->kill_timer = vm->keeper_fd = -1;
    machine_init(&vm->machine);
    vm->stand_in = (struct stand_in){ -1, -1, -1, -1 };
    vm->watch = spec->watch;
    vm->keep_writable = spec->keep_writable;
    vm->id = strdup(spec->id);
    if (spec->scope)
        vm->cgroup_name = strdup(spec->scope->path);
    else if (spec->plan->cgroup_path)
        vm->cgroup_name = strdup(spec->plan->cgroup_path + strspn(spec->plan->cgroup_path, "/"));
    else if (asprintf(&vm->cgroup_name, "hybrid-%s", spec->id) < 0)
        vm->cgroup_name = NULL;
    if (vm->id && vm->cgroup_name)
        return vm;
    free(vm->id);
    free(vm->cgroup_name);
    free(vm);
    (void)error_set(err, EXIT_OURS, "out of memory");
    return NULL;
}

/* Ends hybrid-vmm, frees everything. */
void vm_release(struct workload *vm)
{
    struct error ignored;
    machine_end(&vm->machine);
    stand_in_close(&vm->stand_in);
    if (vm->cgroup) {
        cgroup_close(vm->cgroup);
        if (!vm->held) /* or we are in it ourselves */
            (void)cgroup_remove(vm->cgroup_name, &ignored);
    }
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++)
        free(vm->sessions[i].error);
    cleanup_close(&vm->wire_fd);
    cleanup_close(&vm->keeper_fd);
    cleanup_close(&vm->kill_timer);
    wire_next(&vm->reader);
    free(vm->guest_config);
    free(vm->cgroup_name);
    free(vm->id);
    free(vm);
}

/* Boots the machine, or joins its pod's, and sets the workload up in it. stdio is taken over. */
static int vm_prepare(struct workload *vm, const struct workload_spec *spec, int *terminal_fd,
                      struct error *err)
{
    *terminal_fd = -1;
    if ((spec->pod ? claim_attach(vm, spec, err) : boot_machine(vm, spec, err)) < 0) {
        for (int i = 0; i < WIRE_STREAMS; i++)
            cleanup_close(&spec->stdio[i]);
        return -1;
    }
    if (prepare(vm, spec, terminal_fd, err) == 0)
        return 0;
    cleanup_close(terminal_fd);
    *terminal_fd = -1;
    return -1;
}

/* A bundle's is refused when it is created (machine_check). */
static int check_filter(const struct plan *plan, struct error *err)
{
    if (!(plan->filter_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER))
        return 0;
    return error_set(err, EXIT_OURS,
                     "linux.seccomp: SCMP_ACT_NOTIFY asks an agent on this machine, which cannot "
                     "look into a VM's processes; use SCMP_ACT_ERRNO, or run it as a container");
}

static struct workload *vm_create(const struct workload_spec *spec, int *terminal_fd,
                                  struct error *err)
{
    *terminal_fd = -1;
    struct workload *vm = check_filter(spec->plan, err) < 0 ? NULL : vm_new(spec, VM_SOLO, err);
    if (!vm) {
        for (int i = 0; i < WIRE_STREAMS; i++)
            cleanup_close(&spec->stdio[i]);
        return NULL;
    }
    if (vm_prepare(vm, spec, terminal_fd, err) == 0)
        return vm;
    vm_release(vm);
    return NULL;
}

static struct workload *vm_hold(const struct workload_spec *spec, struct error *err)
{
    struct workload *vm = vm_new(spec, spec->pod ? VM_CONTAINER : VM_SOLO, err);
    if (!vm)
        return NULL;
    if (boot_reserve(vm, spec, err) == 0 && stand_in_begin(vm, spec, err) == 0)
        return vm;
    vm_release(vm);
    return NULL;
}

static int vm_start(struct workload *vm, struct error *err)
{
    if (link_send(vm, WIRE_START, WIRE_MAIN_PROCESS, NULL, 0, NULL, 0, err) < 0)
        return -1;
    int result = link_wait_for(vm, VM_STARTED, PREPARE_TIMEOUT, err);
    machine_close_threads(&vm->machine); /* of the host's files nothing stays within reach */
    return result;
}

static pid_t vm_pid(const struct workload *vm)
{
    return vm->machine.monitor.pid;
}

static const char *vm_cgroup(const struct workload *vm)
{
    return vm->cgroup_name;
}

static int vm_landlock(const struct workload *vm)
{
    return vm->machine.landlock;
}

static const char *vm_warning(const struct workload *vm)
{
    return !*vm->machine.warning && vm->cut_off ? CUT_OFF : vm->machine.warning;
}

static size_t vm_poll_fds(const struct workload *vm, struct pollfd *fds, size_t max)
{
    const int watched[] = { vm->wire_fd,
                            link_news_fd(vm),
                            vm->machine.console.fd,
                            vm->kill_timer,
                            vm->machine.server.process.pidfd,
                            vm->machine.names.process.pidfd };
    size_t count = 0;
    for (size_t i = 0; i < sizeof watched / sizeof watched[0] && count < max; i++) {
        if (watched[i] >= 0)
            fds[count++] = (struct pollfd){ .fd = watched[i], .events = POLLIN };
    }
    return count;
}

/* The guest does not even die when it is told to: its kernel hangs, or hybrid-vmm is stopped. */
static void end_unresponsive(struct workload *vm)
{
    uint64_t expirations;
    if (vm->kill_timer < 0 || vm->stage >= VM_EXITED || vm->exit.failed ||
        read(vm->kill_timer, &expirations, sizeof expirations) != (ssize_t)sizeof expirations)
        return;
    vm->stage = VM_EXITED;
    vm->exit = (struct workload_exit){ .status = EXIT_SIGNAL_BASE + SIGKILL };
    link_end_machine(vm);
}

static int vm_dispatch(struct workload *vm, const struct pollfd *fds, size_t count,
                       void (*exec_ended)(void *context, uint32_t number, int status,
                                          const struct error *error),
                       void *context, struct workload_exit *exit)
{
    (void)fds; /* a look at each costs no more than finding out which */
    (void)count;
    vm->exec_ended = exec_ended;
    vm->exec_context = context;
    link_tell_ended(vm);
    while (link_pump(vm) && !vm->exit.failed && vm->stage < VM_EXITED)
        ;
    link_check_helpers(vm);
    vm->exec_ended = NULL;
    end_unresponsive(vm);
    if (!vm->exit.failed && vm->stage < VM_EXITED)
        return 0;
    *exit = vm->exit;
    return 1;
}

static int send_signal(struct workload *vm, uint32_t process, int signal, bool all,
                       struct error *err)
{
    struct wire_signal request = { .signal = (uint32_t)signal, .all = all };
    return link_send(vm, WIRE_SIGNAL, process, &request, sizeof request, NULL, 0, err);
}

/* SIGKILL holds also if the guest does not carry it out. */
static int start_kill_timer(struct workload *vm, struct error *err)
{
    const struct itimerspec patience = { .it_value = { .tv_sec = KILL_SECONDS } };
    if (vm->kill_timer >= 0)
        return 0;
    vm->kill_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (vm->kill_timer < 0 || timerfd_settime(vm->kill_timer, 0, &patience, NULL) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot set a timer");
    return 0;
}

static int vm_signal(struct workload *vm, int signal, bool all, struct error *err)
{
    if (signal == SIGKILL && start_kill_timer(vm, err) < 0)
        return -1;
    return send_signal(vm, WIRE_MAIN_PROCESS, signal, all, err);
}

/* A freeze that failed is called off: it may be carried out late, when its container counts as
 * running. */
static int freeze_in_guest(struct workload *vm, bool pause, struct error *err)
{
    const struct wire_freeze freeze = { .frozen = pause }, thaw = { .frozen = false };
    bool killed = !pause && vm->kill_timer >= 0; /* that is what it waits for, and no answer */
    struct error ignored; /* a container that cannot be told anything is lost by that */
    if (!killed && link_request(vm, WIRE_FREEZE, &freeze, sizeof freeze, err) == 0)
        return 0;
    if ((pause || killed) && !vm->exit.failed && vm->stage < VM_EXITED &&
        link_send(vm, WIRE_FREEZE, WIRE_REQUEST_PROCESS, &thaw, sizeof thaw, NULL, 0, &ignored) ==
            0)
        vm->requests++;
    return killed ? 0 : -1;
}

/*
 * From outside, so that all of the process stands still, whatever its guest has made of it:
 * MACHINE_PAUSE asks it to stop its vCPUs, and leaves the threads of its devices at their work. By
 * signals, not by the cgroup's freezer: kernels up to 6.13 put a thread of their own, which no
 * freezer stops, into the cgroup of each VM, and on cgroup v2 such a cgroup never counts as frozen.
 * A container of a pod stands still by its guest's freezer: the others go on.
 */
static int vm_pause(struct workload *vm, bool pause, struct error *err)
{
    siginfo_t info = { 0 };
    if (vm->kind == VM_CONTAINER)
        return freeze_in_guest(vm, pause, err);
    if (syscall(SYS_pidfd_send_signal, vm->machine.monitor.pidfd, pause ? SIGSTOP : SIGCONT, NULL,
                0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot reach hybrid-vmm");
    /* Told when the last of its threads has stopped or gone on. */
    if (waitid(P_PIDFD, (id_t)vm->machine.monitor.pidfd, &info,
               WEXITED | WNOWAIT | (pause ? WSTOPPED : WCONTINUED)) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot wait for hybrid-vmm");
    if (info.si_code == CLD_STOPPED || info.si_code == CLD_CONTINUED)
        return 0;
    return error_set(err, EXIT_OURS, "hybrid-vmm has just ended");
}

static int vm_update(struct workload *vm, const char *resources, struct error *err)
{
    if (vm->kind != VM_CONTAINER)
        return error_set(err, EXIT_OURS, "%s has a machine of its own", vm->id);
    return link_request(vm, WIRE_UPDATE, resources, strlen(resources), err);
}

static int vm_resize(struct workload *vm, uint32_t process, uint16_t rows, uint16_t columns,
                     struct error *err)
{
    struct wire_resize request = { .rows = rows, .columns = columns };
    return link_send(vm, WIRE_RESIZE, process, &request, sizeof request, NULL, 0, err);
}

static struct vm_session *new_session(struct workload *vm, uint32_t number, struct error *err)
{
    if (number == WIRE_MAIN_PROCESS || number == WIRE_REQUEST_PROCESS ||
        link_find_session(vm, number)) {
        (void)error_set(err, EXIT_OURS, "exec session %u exists already", number);
        return NULL;
    }
    /* The workload itself is one of the guest's processes. */
    for (size_t i = 1; i < WIRE_MAX_PROCESSES; i++) {
        if (!vm->sessions[i].used) {
            vm->sessions[i] = (struct vm_session){ .used = true, .number = number };
            return &vm->sessions[i];
        }
    }
    (void)error_set(err, EXIT_OURS, "%d processes are running in %s already", WIRE_MAX_PROCESSES,
                    vm->id);
    return NULL;
}

static int vm_exec(struct workload *vm, const struct workload_exec *exec, int *terminal_fd,
                   struct error *err)
{
    struct wire_process request = { .rows = exec->rows, .columns = exec->columns };
    *terminal_fd = -1;
    struct vm_session *session = new_session(vm, exec->number, err);
    if (!session) {
        for (int i = 0; i < WIRE_STREAMS; i++)
            cleanup_close(&exec->stdio[i]);
        return -1;
    }
    int result =
        link_offer_streams(vm, exec->stdio, exec->plan->terminal, terminal_fd, &request, err);
    memcpy(session->ports, request.ports, sizeof session->ports);
    if (result == 0 && send_filter(vm, exec->number, exec->plan, err) == 0 &&
        link_send(vm, WIRE_EXEC, exec->number, &request, sizeof request, exec->process_text,
                  strlen(exec->process_text), err) == 0)
        return 0;
    link_close_streams(vm, session->ports);
    session->used = false;
    cleanup_close(terminal_fd);
    *terminal_fd = -1;
    return -1;
}

static bool vm_exec_started(struct workload *vm, uint32_t number)
{
    const struct vm_session *session = link_find_session(vm, number);
    return session && session->started;
}

static int vm_exec_signal(struct workload *vm, uint32_t number, int signal, struct error *err)
{
    return send_signal(vm, number, signal, false, err);
}

/* What the workload wrote last may reach the disk only now. */
static void vm_say_farewell(struct workload *vm, char *note, size_t size)
{
    link_shut_down(vm, SHUTDOWN_TIMEOUT);
    link_drain_control(vm); /* a warning may still be on its way */
    *note = '\0';
    if (*vm->machine.warning)
        (void)snprintf(note, size, "the VM of %.60s had an I/O error: %s", vm->id,
                       vm->machine.warning);
    else if (vm->cut_off)
        (void)snprintf(note, size, "the VM of %.60s: %s", vm->id, CUT_OFF);
}

static void vm_destroy(struct workload *vm)
{
    if (!vm)
        return;
    link_shut_down(vm, SHUTDOWN_TIMEOUT);
    if (vm->kind == VM_CONTAINER)
        claim_detach(vm);
    vm_release(vm);
}

int vm_remove_leftovers(const char *cgroup, const char *network_path, struct error *err)
{
    if (*cgroup && cgroup_remove(cgroup, err) < 0)
        return -1;
    return network_path ? network_remove_leftovers(network_path, err) : 0;
}

const struct workload_ops vm_ops = {
    .name = "vm",
    .create = vm_create,
    .hold = vm_hold,
    .prepare = vm_prepare,
    .start = vm_start,
    .pid = vm_pid,
    .cgroup = vm_cgroup,
    .landlock = vm_landlock,
    .warning = vm_warning,
    .poll_fds = vm_poll_fds,
    .dispatch = vm_dispatch,
    .signal = vm_signal,
    .pause = vm_pause,
    .update = vm_update,
    .resize = vm_resize,
    .exec = vm_exec,
    .exec_started = vm_exec_started,
    .exec_signal = vm_exec_signal,
    .say_farewell = vm_say_farewell,
    .destroy = vm_destroy,
};
