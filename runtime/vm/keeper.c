/* The keeper of a pod's machine: see pod.h. Its containers' monitors are processes of ours; what
 * the guest says is not to be believed, here as there. */
#include "pod.h"

#include "parts.h"
#include "vm.h"

#include "cleanup.h"
#include "io.h"
#include "runtime/state/local_socket.h"
#include "runtime/state/state.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>

enum {
    READY_TIMEOUT = VM_STEP_SECONDS * 1000, /* milliseconds for the guest to set itself up */
    FIRST_NUMBER = 1,                       /* of containers, in the guest */
    RELEASE_TIMEOUT = 3 * 1000, /* for virtiofsd to let go of what the guest was told to forget */
    RETRY_PAUSE = 200,          /* until shares that could not be taken away are tried again */
    RETRY_TIMEOUT = 10 * 1000,  /* for that to succeed */
    OWN_FDS = 8,
};

/* What runs in it can be trusted to end in no other way. */
static const char DISOBEDIENT[] = "its guest did not do as it was told with one of the pod's "
                                  "containers, or broke the protocol";

/* A container's claim. */
struct attachment {
    int fd;          /* to its monitor; -1: free */
    pid_t monitor;   /* its process, which the kernel has named, */
    uint64_t start;  /* and when that was started */
    uint32_t number; /* in the guest; 0: its shares are still arriving */
    uint32_t port;   /* of its connection into the guest; 0: none was offered */
    uint32_t first;  /* its shares */
    uint32_t count;  /* 0 before the first message */
    uint32_t given;  /* how many of them are there */
    int64_t leaving; /* since when they could not be taken away, or their release not be awaited, in
                        milliseconds; 0: it is there */
    struct share_mounts mounts; /* what the server of shares may still have open of them */
};

struct keeper {
    const struct vm_pod *pod;
    struct workload *vm;
    int listener;
    int signals; /* signalfd of SIGTERM and of POD_END_SIGNAL, which made `over` */
    bool alone;  /* containers that are there go on, no others come: the sandbox's process has ended
                  */
    bool over;
    uint32_t next_share, next_number;
    struct attachment attachments[POD_MAX_CONTAINERS];
};

/* --- what its containers have --------------------------------------------------------------------
 */

static void tell(const struct attachment *attachment, uint32_t type, const struct error *why)
{
    struct pod_message message = { .type = type, .status = (uint32_t)why->exit_code };
    (void)snprintf(message.text, sizeof message.text, "%s", why->message);
    (void)pod_send(attachment->fd, &message, NULL, 0);
}

static void end_machine(struct workload *vm, const char *why)
{
    if (vm->exit.failed)
        return;
    vm->exit = (struct workload_exit){ .status = EXIT_OURS, .failed = true };
    (void)error_set(&vm->exit.error, EXIT_OURS,
                    "the VM of the pod %s was ended: %s; start the pod again", vm->id, why);
    link_end_machine(vm);
}

/* Whether it is still to be tried what was impossible for want of a process, for the moment. */
static bool try_later(struct attachment *attachment)
{
    int64_t now = wire_clock_milliseconds();
    if (attachment->leaving == 0)
        attachment->leaving = now;
    return now - attachment->leaving < RETRY_TIMEOUT;
}

/* Takes away what a container had, and tells the guest to forget it. Returns whether it is gone. */
static bool take_away(struct keeper *keeper, struct attachment *attachment)
{
    struct error why, ignored; /* a machine that is lost shows itself */
    const struct share_server *server = &keeper->vm->machine.server;
    const struct wire_forget forget = { .first = attachment->first, .count = attachment->given };
    link_withdraw(keeper->vm, attachment->port); /* if it has, its init is to see the end */
    if (forget.count == 0)
        return true;
    if (attachment->mounts.count == 0)
        (void)share_mounts_list(server, forget.first, forget.count, &attachment->mounts);
    if (share_server_remove(server, forget.first, forget.count, &why) < 0) {
        /* What its guest could still read of a container that was deleted is not left to it. */
        if (!try_later(attachment))
            end_machine(keeper->vm, why.message);
        return false;
    }
    (void)link_send(keeper->vm, WIRE_FORGET, WIRE_MAIN_PROCESS, &forget, sizeof forget, NULL, 0,
                    &ignored);
    attachment->given = 0;
    return true;
}

/*
 * Its connection closes once the server of shares has let go of what it had, for which its monitor
 * waits, since whoever had the container deleted may then take the volumes off; and we do not.
 */
static void drop(struct keeper *keeper, struct attachment *attachment)
{
    if (!take_away(keeper, attachment))
        return;
    if (attachment->mounts.count > 0 &&
        share_mounts_hold_until_release(&attachment->mounts, RELEASE_TIMEOUT, attachment->fd) < 0 &&
        try_later(attachment))
        return;
    (void)close(attachment->fd);
    share_mounts_free(&attachment->mounts);
    *attachment = (struct attachment){ .fd = -1 };
}

/* The guest has no place for a container; its monitor may be gone already. */
static void on_refused(void *context, uint32_t number, const struct error *error)
{
    struct keeper *keeper = context;
    for (size_t i = 0; i < POD_MAX_CONTAINERS; i++)
        if (keeper->attachments[i].fd >= 0 && keeper->attachments[i].number == number)
            tell(&keeper->attachments[i], POD_FAILED, error);
}

/* --- attach --------------------------------------------------------------------------------------
 */

/* The container whose monitor it is: one that runs in this machine, and still has all that is its.
 * Only its number goes to the guest, which has to know whether it has any processes. */
static int find_processes(const struct keeper *keeper, const struct workload_processes *processes,
                          uint32_t *number, struct error *err)
{
    *number = processes->kind == WORKLOAD_OF_POD ? WIRE_PODS_PROCESSES : WIRE_OWN_PROCESSES;
    if (processes->kind != WORKLOAD_OF_CONTAINER)
        return 0;
    for (size_t i = 0; i < POD_MAX_CONTAINERS; i++) {
        const struct attachment *other = &keeper->attachments[i];
        if (other->fd < 0 || other->number == 0 || other->leaving != 0 ||
            other->monitor != processes->monitor || other->start != processes->monitor_start)
            continue;
        *number = other->number;
        return 0;
    }
    return error_set(err, EXIT_OURS,
                     "cannot share the processes of the container for which process %d stands "
                     "(linux.namespaces: pid): it does not run in the VM of this pod, or no more",
                     (int)processes->monitor);
}

/* Its connection into the guest, which the guest is told to make. */
static int connect_container(struct keeper *keeper, struct attachment *attachment,
                             const struct workload_processes *processes, struct error *err)
{
    struct wire_container request = { .number = keeper->next_number };
    struct pod_message answer = { .type = POD_ATTACHED, .first = attachment->first };
    if (keeper->next_number == WIRE_REQUEST_PROCESS)
        return error_set(err, EXIT_OURS, "the VM of this pod has had too many containers");
    if (find_processes(keeper, processes, &request.processes, err) < 0)
        return -1;
    _cleanup_close_ int wire = link_offer_connection(keeper->vm, &request.port, err);
    if (wire < 0)
        return -1;
    attachment->port = request.port;
    attachment->number = keeper->next_number++;
    keeper->vm->refusable++;
    const struct vm_machine *machine = &keeper->vm->machine;
    const int fds[] = { wire, machine->control_fd, machine->threads_fd };
    const size_t fd_count = machine->threads_fd < 0 ? 2 : 3;
    if (link_send(keeper->vm, WIRE_CONTAINER, WIRE_MAIN_PROCESS, &request, sizeof request, NULL, 0,
                  err) < 0)
        return -1;
    if (pod_send(attachment->fd, &answer, fds, fd_count) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "the monitor does not listen");
    return 0;
}

static int begin(struct keeper *keeper, struct attachment *attachment, uint32_t count,
                 struct error *err)
{
    if (count > POD_MAX_SHARES || count > UINT32_MAX - keeper->next_share)
        return error_set(err, EXIT_OURS, "too many shares for the VM of a pod");
    attachment->first = keeper->next_share;
    attachment->count = count;
    keeper->next_share += count;
    return 0;
}

static int attach(struct keeper *keeper, struct attachment *attachment,
                  const struct pod_message *message, const int *fds, size_t fd_count,
                  struct error *err)
{
    if (attachment->number != 0 || message->count < fd_count)
        return error_set(err, EXIT_OURS, "a monitor attached in an order that makes no sense");
    if (attachment->given == 0 && begin(keeper, attachment, message->count, err) < 0)
        return -1;
    if (message->count != attachment->count || fd_count > attachment->count - attachment->given)
        return error_set(err, EXIT_OURS, "a monitor attached with other shares than it said");
    uint32_t next = attachment->first + attachment->given;
    attachment->given += (uint32_t)fd_count; /* what is there in part is taken away, too */
    if (fd_count > 0 && share_server_add(&keeper->vm->machine.server, next, fds, fd_count, err) < 0)
        return -1;
    return attachment->given < attachment->count
               ? 0
               : connect_container(keeper, attachment, &message->processes, err);
}

static void serve(struct keeper *keeper, struct attachment *attachment)
{
    struct pod_message message;
    int fds[IO_MAX_FDS];
    size_t fd_count = 0;
    struct error err = { 0 };
    int received = pod_receive(attachment->fd, &message, fds, &fd_count);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (received <= 0) {
        drop(keeper, attachment);
        return;
    }
    if (message.type == POD_KILL)
        end_machine(keeper->vm, DISOBEDIENT);
    else if (message.type == POD_ATTACH &&
             attach(keeper, attachment, &message, fds, fd_count, &err) < 0)
        tell(attachment, POD_FAILED, &err);
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]);
}

static struct attachment *find_free(struct keeper *keeper)
{
    for (size_t i = 0; i < POD_MAX_CONTAINERS; i++)
        if (keeper->attachments[i].fd < 0)
            return &keeper->attachments[i];
    return NULL;
}

static void accept_monitor(struct keeper *keeper)
{
    struct ucred peer = { .uid = (uid_t)-1 };
    socklen_t length = sizeof peer;
    struct error full;
    _cleanup_close_ int fd = accept4(keeper->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 ||
        peer.uid != geteuid())
        return;
    struct attachment *attachment = find_free(keeper);
    const struct attachment none = { .fd = fd };
    (void)error_set(&full, EXIT_OURS, "%d containers run in the VM of this pod already",
                    POD_MAX_CONTAINERS);
    if (attachment)
        *attachment = (struct attachment){ .fd = take_fd(&fd),
                                           .monitor = peer.pid,
                                           .start = state_process_start(peer.pid) };
    else
        tell(&none, POD_FAILED, &full);
}

/* --- the machine ---------------------------------------------------------------------------------
 */

static bool is_readable(int fd)
{
    return fd >= 0 && io_is_ready(fd, POLLIN);
}

/* While it boots: nobody wants a machine whose sandbox has ended. */
static size_t watch_fds(void *context, struct pollfd *fds, size_t max)
{
    const struct keeper *keeper = context;
    (void)max;
    fds[0] = (struct pollfd){ .fd = keeper->pod->sandbox, .events = POLLIN };
    return 1;
}

static bool is_wanted(void *context)
{
    const struct keeper *keeper = context;
    return !is_readable(keeper->pod->sandbox);
}

static int enter_cgroup(struct keeper *keeper, const struct workload_spec *spec, struct error *err)
{
    struct workload *vm = keeper->vm;
    if (boot_reserve(vm, spec, err) < 0 || cgroup_add_process(vm->cgroup, getpid(), err) < 0)
        return -1;
    vm->held = true; /* it is removed by who ends the pod, or starts it again */
    return cgroup_settle(vm->cgroup, err);
}

static int enter_network(const struct vm_pod *pod, struct error *err)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pod->sandbox_pid);
    if (network_enter(path, err) < 0)
        return -1;
    /* Until now the number was its own. */
    return is_readable(pod->sandbox) ? error_set(err, EXIT_OURS, "the sandbox of the pod has ended")
                                     : 0;
}

static int set_up_guest(struct keeper *keeper, struct error *err)
{
    struct timespec now;
    struct wire_pod request = { .flags = WIRE_SHARES, .shm_size = keeper->pod->shm_size };
    if (vm_send_network(keeper->vm, err) < 0)
        return -1;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    request.clock_seconds = now.tv_sec;
    request.clock_nanoseconds = (uint32_t)now.tv_nsec;
    if (link_send(keeper->vm, WIRE_POD, WIRE_MAIN_PROCESS, &request, sizeof request, NULL, 0, err) <
        0)
        return -1;
    return link_wait_for(keeper->vm, VM_PREPARED, READY_TIMEOUT, err);
}

static int watch_signals(struct keeper *keeper, struct error *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, POD_END_SIGNAL);
    keeper->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (keeper->signals < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch signals");
    return 0;
}

static int boot(struct keeper *keeper, struct error *err)
{
    const struct vm_pod *pod = keeper->pod;
    const struct workload_watch watch = { watch_fds, is_wanted, keeper };
    struct plan plan = { .resources = pod->resources, .cgroup_path = pod->cgroup };
    const struct workload_spec spec = {
        .id = pod->id,
        .paths = pod->paths,
        .plan = &plan,
        .scope = pod->scope,
        .watch = &watch,
        .stdio = { -1, -1, -1 },
    };
    keeper->vm = vm_new(&spec, VM_POD, err);
    if (!keeper->vm)
        return -1;
    keeper->vm->refused = on_refused;
    keeper->vm->refused_context = keeper;
    if (enter_cgroup(keeper, &spec, err) < 0 || enter_network(pod, err) < 0 ||
        boot_machine(keeper->vm, &spec, err) < 0 || set_up_guest(keeper, err) < 0)
        return -1;
    keeper->vm->watch = NULL;
    if (watch_signals(keeper, err) < 0)
        return -1;
    keeper->listener = local_socket_listen(pod->paths.state_dir, POD_SOCKET, SOCK_NONBLOCK, err);
    return keeper->listener < 0 ? -1 : 0;
}

static void keeper_free(struct keeper *keeper)
{
    for (size_t i = 0; i < POD_MAX_CONTAINERS; i++)
        share_mounts_free(&keeper->attachments[i].mounts);
    if (keeper->vm)
        vm_release(keeper->vm);
    cleanup_close(&keeper->listener);
    cleanup_close(&keeper->signals);
    free(keeper);
}

struct keeper *keeper_create(const struct vm_pod *pod, struct error *err)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    keeper->pod = pod;
    keeper->listener = keeper->signals = -1;
    keeper->next_number = FIRST_NUMBER;
    for (size_t i = 0; i < POD_MAX_CONTAINERS; i++)
        keeper->attachments[i].fd = -1;
    if (boot(keeper, err) == 0)
        return keeper;
    keeper_free(keeper);
    return NULL;
}

/* --- its life ------------------------------------------------------------------------------------
 */

static void wait_for_events(const struct keeper *keeper)
{
    const struct vm_machine *machine = &keeper->vm->machine;
    const int own[OWN_FDS] = {
        keeper->listener,
        keeper->signals,
        keeper->alone ? -1 : keeper->pod->sandbox,
        keeper->vm->wire_fd,
        machine->control_fd,
        machine->console.fd,
        machine->server.process.pidfd,
        machine->names.process.pidfd,
    };
    struct pollfd fds[OWN_FDS + POD_MAX_CONTAINERS];
    size_t count = 0;
    int pause = -1;
    for (size_t i = 0; i < OWN_FDS; i++)
        fds[count++] = (struct pollfd){ .fd = own[i], .events = POLLIN };
    for (size_t i = 0; i < POD_MAX_CONTAINERS; i++) {
        const struct attachment *attachment = &keeper->attachments[i];
        if (attachment->leaving != 0)
            pause = RETRY_PAUSE;
        else
            fds[count++] = (struct pollfd){ .fd = attachment->fd, .events = POLLIN };
    }
    (void)poll(fds, count, pause);
}

/* Tells all of its containers that it is over, and why. */
static void tell_all(struct keeper *keeper, const struct error *why)
{
    cleanup_close(&keeper->listener);
    keeper->listener = -1;
    machine_kill(&keeper->vm->machine);
    for (size_t i = 0; i < POD_MAX_CONTAINERS; i++)
        if (keeper->attachments[i].fd >= 0)
            tell(&keeper->attachments[i], POD_ENDED, why);
}

static void serve_all(struct keeper *keeper)
{
    for (size_t i = 0; i < POD_MAX_CONTAINERS && !keeper->vm->exit.failed; i++) {
        struct attachment *attachment = &keeper->attachments[i];
        if (attachment->leaving != 0)
            drop(keeper, attachment);
        else if (is_readable(attachment->fd))
            serve(keeper, attachment);
    }
}

static void forsake(struct keeper *keeper)
{
    keeper->alone = true;
    cleanup_close(&keeper->listener);
    keeper->listener = -1;
}

/* SIGTERM is systemd's, which stops the scope, perhaps with the host: then the containers have
 * theirs, too, and end as they can. */
static void take_signal(struct keeper *keeper)
{
    struct signalfd_siginfo info;
    if (read(keeper->signals, &info, sizeof info) != sizeof info)
        return;
    keeper->over = keeper->over || info.ssi_signo == POD_END_SIGNAL;
    forsake(keeper);
}

/* Engines end the sandbox beside containers that take their time. */
static bool is_needed(const struct keeper *keeper)
{
    bool needed = !keeper->alone;
    for (size_t i = 0; i < POD_MAX_CONTAINERS && !needed; i++)
        needed = keeper->attachments[i].fd >= 0;
    return needed && !keeper->vm->exit.failed && !keeper->over;
}

void keeper_run(struct keeper *keeper)
{
    struct workload *vm = keeper->vm;
    struct error over = { 0 };
    while (is_needed(keeper)) {
        wait_for_events(keeper);
        while (link_pump(vm) && !vm->exit.failed)
            continue;
        link_check_helpers(vm);
        if (!keeper->alone && !is_wanted(keeper))
            forsake(keeper);
        if (is_readable(keeper->signals))
            take_signal(keeper);
        if (is_readable(keeper->listener))
            accept_monitor(keeper);
        serve_all(keeper);
    }
    if (vm->exit.failed)
        over = vm->exit.error;
    else
        (void)error_set(&over, EXIT_SIGNAL_BASE + SIGKILL,
                        "the VM of the pod was ended with the pod's sandbox");
    tell_all(keeper, &over);
    keeper_free(keeper);
}
