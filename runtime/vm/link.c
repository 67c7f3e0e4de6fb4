/*
 * Messages from and to hybrid-vmm and hybrid-init, and what becomes of the machine by them. Every
 * frame of the guest is hostile: type and length are checked by wire_read, whether it makes sense
 * now in frames.c, and a violation ends the machine.
 */
#include "parts.h"

#include "cleanup.h"
#include "io.h"
#include "pod.h"
#include "stamp.h"
#include "vm.h"

enum {
    SEND_TIMEOUT = 10 * 1000,    /* milliseconds for the guest to take a frame */
    REQUEST_TIMEOUT = 10 * 1000, /* for it to freeze or limit a container */
    LAST_WORDS = 2 * 1000,       /* for hybrid-vmm to say how a guest ended that hung up */
    CONTROL_BATCH = 64,          /* messages of hybrid-vmm, which may flood us, in one turn */
    OWN_FDS = 5,                 /* that are watched while the machine starts */
    LONGEST_WAIT = VM_STEP_LONGEST - 1, /* times its patience: what one without processor gets */
};

/* The stages of a start that compare tells apart, as they end on this side of the wire. */
static const char *const STAMPS[VM_STAGES] = {
    [VM_RUNNING] = "monitor",
    [VM_READY] = "kernel",
    [VM_PREPARED] = "init",
};

void link_reach(struct workload *vm, enum vm_stage stage)
{
    if (vm->stage >= stage)
        return;
    vm->stage = stage;
    if (STAMPS[stage])
        stamp(STAMPS[stage]);
}

/* what: NULL: the machine has ended by itself. */
static void lose(struct workload *vm, const char *what)
{
    if (vm->exit.failed)
        return;
    vm->exit = (struct workload_exit){ .status = EXIT_OURS, .failed = true };
    if (what)
        diagnose(vm, what, &vm->exit.error);
    else
        diagnose_end(vm, &vm->exit.error);
    if (!what && vm->kind == VM_CONTAINER)
        vm->exit.status = vm->exit.error.exit_code;
    link_close_streams(vm, vm->ports); /* a pod's machine may go on, and its guest hold them */
}

void link_end_machine(struct workload *vm)
{
    const struct pod_message kill = { .type = POD_KILL };
    machine_kill(&vm->machine);
    if (vm->keeper_fd >= 0 && vm->kind == VM_CONTAINER)
        (void)pod_send(vm->keeper_fd, &kill, NULL, 0);
}

static void fail(struct workload *vm, const char *what)
{
    if (vm->exit.failed)
        return;
    lose(vm, what);
    link_end_machine(vm); /* nothing that it still does would be of use */
}

int link_news_fd(const struct workload *vm)
{
    return vm->kind == VM_CONTAINER ? vm->keeper_fd : vm->machine.control_fd;
}

static void violated(struct workload *vm)
{
    char what[160];
    (void)snprintf(what, sizeof what,
                   "the guest broke the protocol (frame of type %u, process %u, %u bytes)",
                   vm->reader.head.type, vm->reader.head.process, vm->reader.head.length);
    fail(vm, what);
}

/* One message of hybrid-vmm, or of the keeper. Returns whether there was one. */
static bool read_control(struct workload *vm)
{
    if (vm->kind == VM_CONTAINER)
        return claim_read(vm);
    char packet[MACHINE_MAX_MESSAGE];
    struct machine_message message;
    int fds[IO_MAX_FDS];
    size_t fd_count;
    struct pollfd readable = { .fd = vm->machine.control_fd, .events = POLLIN };
    if (vm->machine.control_fd < 0 || poll(&readable, 1, 0) <= 0)
        return false;
    ssize_t n = io_receive_fds(vm->machine.control_fd, packet, sizeof packet, fds, &fd_count);
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]); /* it has none to give */
    if (n < (ssize_t)sizeof message) {
        cleanup_close(&vm->machine.control_fd);
        vm->machine.control_fd = -1;
        return false;
    }
    memcpy(&message, packet, sizeof message);
    const char *text = packet + sizeof message;
    size_t length = (size_t)n - sizeof message;
    if (message.type == MACHINE_RUNNING) {
        if (vm->stage < VM_RUNNING) /* what it says later may be the guest's words */
            vm->machine.landlock = (int)(message.flags >> MACHINE_JAIL_LANDLOCK_SHIFT & 0xff);
        link_reach(vm, VM_RUNNING);
    } else if (message.type == MACHINE_WARNING && !*vm->machine.warning) {
        link_copy_text(vm->machine.warning, sizeof vm->machine.warning, text, length);
    } else if (message.type == MACHINE_ENDED ||
               (message.type == MACHINE_FAILED && vm->stage < VM_READY)) {
        /* Later, a refused offer shows as a refused connection, which hybrid-init reports; and
         * nothing is to be withdrawn once it was taken up. */
        vm->machine.ended = true;
        vm->machine.end = message.type == MACHINE_ENDED ? message.end : MACHINE_END_MONITOR;
        link_copy_text(vm->machine.text, sizeof vm->machine.text, text, length);
    }
    return true;
}

void link_drain_control(struct workload *vm)
{
    for (int i = 0; i < CONTROL_BATCH && read_control(vm); i++)
        continue;
}

bool link_wait_for_end(struct workload *vm, int milliseconds)
{
    int64_t deadline = wire_clock_milliseconds() + milliseconds;
    while (link_news_fd(vm) >= 0 && !vm->machine.ended) {
        struct pollfd fds[] = { { .fd = link_news_fd(vm), .events = POLLIN },
                                { .fd = vm->machine.console.fd, .events = POLLIN } };
        int64_t left = deadline - wire_clock_milliseconds();
        if (left <= 0 || (poll(fds, 2, (int)left) < 0 && errno != EINTR))
            return false;
        console_read(&vm->machine.console);
        (void)read_control(vm);
    }
    return true;
}

void link_shut_down(struct workload *vm, int milliseconds)
{
    struct error ignored;
    /* A writable layer in memory needs no farewell. */
    bool needed = vm->keep_writable && !vm->told_to_end && !vm->exit.failed && vm->wire_fd >= 0;
    vm->told_to_end = true;
    if (needed && link_send(vm, WIRE_SHUTDOWN, WIRE_MAIN_PROCESS, NULL, 0, NULL, 0, &ignored) == 0)
        vm->cut_off = !link_wait_for_end(vm, milliseconds);
}

static void hang_up(struct workload *vm)
{
    wire_next(&vm->reader);
    cleanup_close(&vm->wire_fd);
    vm->wire_fd = -1;
}

static void wire_lost(struct workload *vm)
{
    hang_up(vm);
    if (vm->stage >= VM_EXITED)
        return;
    (void)link_wait_for_end(vm, LAST_WORDS);
    bool ended = vm->machine.ended || link_news_fd(vm) < 0;
    const char *what = vm->kind == VM_CONTAINER ? "its init in the VM of its pod has ended"
                                                : "hybrid-init closed its control connection";
    /* The others of a pod go on. */
    (vm->kind == VM_CONTAINER ? lose : fail)(vm, ended ? NULL : what);
}

bool link_pump(struct workload *vm)
{
    bool frame = false;
    console_read(&vm->machine.console);
    if (vm->machine.console.total > 0 && vm->stage == VM_RUNNING)
        link_reach(vm, VM_SPEAKING);
    /* Frames first: the guest's last ones count more than the news that the machine has ended. */
    switch (vm->wire_fd >= 0 ? wire_read(&vm->reader) : WIRE_AGAIN) {
    case WIRE_FRAME:
        frame = true;
        if (!link_handle_frame(vm))
            violated(vm);
        wire_next(&vm->reader);
        break;
    case WIRE_BROKEN:
        violated(vm);
        break;
    case WIRE_CLOSED:
        wire_lost(vm);
        break;
    case WIRE_AGAIN:
        link_drain_control(vm);
        if ((vm->machine.ended || link_news_fd(vm) < 0) && vm->stage < VM_EXITED)
            (vm->kind == VM_CONTAINER ? lose : fail)(vm, NULL);
        break;
    }
    return frame;
}

/* A container that has not begun may be all that hangs, by a volume whose server does not answer:
 * the others of its pod go on, and its init ends by this when it can. */
static void abandon(struct workload *vm, const char *what)
{
    if (vm->kind != VM_CONTAINER || vm->stage >= VM_STARTED) {
        fail(vm, what);
        return;
    }
    lose(vm, what);
    hang_up(vm);
}

/* What is left of the time in which something must come from the guest. */
struct patience {
    int milliseconds;
    int64_t begun;
    int64_t allowed; /* milliseconds more, in which it had no processor */
};

static struct patience patience_begin(int milliseconds)
{
    return (struct patience){ .milliseconds = milliseconds, .begun = wire_clock_milliseconds() };
}

/* Many machines that start at a time on few processors are slow, and none of them hangs. Asked only
 * when it is needed; what was before this wait counts as well then. */
static int64_t patience_left(const struct workload *vm, struct patience *patience)
{
    int64_t over = wire_clock_milliseconds() - patience->begun - patience->milliseconds;
    const int64_t most = (int64_t)LONGEST_WAIT * patience->milliseconds;
    if (over >= patience->allowed) {
        int64_t waited = machine_kept_waiting(&vm->machine) - vm->machine.kept_before;
        patience->allowed = waited < most ? waited : most;
    }
    return patience->allowed - over;
}

/* hybrid-vmm knows where the guest stands, if it is not stuck itself; in a pod, it would end. */
static void give_up(struct workload *vm, const struct patience *patience)
{
    char what[1200], more[96] = "";
    struct machine_message stalled = { .type = MACHINE_STALLED };
    if (vm->kind != VM_CONTAINER && vm->machine.control_fd >= 0 &&
        io_send_fds(vm->machine.control_fd, &stalled, sizeof stalled, NULL, 0) == 0)
        (void)link_wait_for_end(vm, LAST_WORDS);
    bool told = vm->machine.ended && vm->machine.end == MACHINE_END_STALLED;
    if (patience->allowed >= 1000)
        (void)snprintf(more, sizeof more,
                       ", and in %lld more the host had no processor for it: it does too much at "
                       "a time",
                       (long long)(patience->allowed / 1000));
    (void)snprintf(what, sizeof what, "no progress for %d seconds%s%s%s%s",
                   patience->milliseconds / 1000, told ? " (" : "", told ? vm->machine.text : "",
                   told ? ")" : "", more);
    abandon(vm, what);
}

/* Waits for the machine and for whoever may end it. Returns whether it is still wanted. */
static bool wait_for_events(const struct workload *vm, int milliseconds, bool watched_too)
{
    struct pollfd fds[OWN_FDS + WORKLOAD_WATCHED_FDS] = {
        { .fd = vm->wire_fd, .events = POLLIN },
        { .fd = link_news_fd(vm), .events = POLLIN },
        { .fd = vm->machine.console.fd, .events = POLLIN },
        { .fd = vm->machine.server.process.pidfd, .events = POLLIN },
        { .fd = vm->machine.names.process.pidfd, .events = POLLIN },
    };
    const struct workload_watch *watch = watched_too ? vm->watch : NULL;
    size_t watched =
        watch ? watch->poll_fds(watch->context, fds + OWN_FDS, WORKLOAD_WATCHED_FDS) : 0;
    (void)poll(fds, OWN_FDS + watched, milliseconds);
    return !watch || watch->serve(watch->context);
}

void link_check_helpers(struct workload *vm)
{
    char what[512];
    struct pollfd monitor = { .fd = vm->machine.monitor.pidfd };
    if (vm->exit.failed || vm->machine.ended || vm->stage >= VM_EXITED ||
        (!share_server_failed(&vm->machine.server, what, sizeof what) &&
         !name_helper_failed(&vm->machine.names, what, sizeof what)))
        return;
    /* It ends with hybrid-vmm, whose own end says more. */
    monitor.events = POLLIN;
    if (poll(&monitor, 1, 0) == 0)
        fail(vm, what);
}

int link_wait_for(struct workload *vm, enum vm_stage stage, int milliseconds, struct error *err)
{
    struct patience patience = patience_begin(milliseconds);
    for (;;) {
        if (link_pump(vm))
            patience = patience_begin(milliseconds);
        link_check_helpers(vm);
        if (vm->command_failed) {
            *err = vm->command_error;
            return -1;
        }
        if (vm->exit.failed) {
            *err = vm->exit.error;
            return -1;
        }
        if (vm->stage >= stage)
            return 0;
        int64_t left = patience_left(vm, &patience);
        if (left <= 0) {
            give_up(vm, &patience);
            continue;
        }
        if (!wait_for_events(vm, (int)left, true))
            return error_set(err, EXIT_OURS, "%s was killed while it was being started", vm->id);
    }
}

int link_send(struct workload *vm, uint32_t type, uint32_t process, const void *fixed,
              size_t fixed_length, const void *text, size_t text_length, struct error *err)
{
    if (vm->wire_fd < 0)
        return error_set(err, EXIT_OURS, "the VM of %s has ended", vm->id);
    if (fixed_length + text_length > WIRE_MAX_TO_GUEST)
        return error_set(err, EXIT_OURS,
                         "the configuration of %s is too large for a VM: %zu bytes, at most %d; "
                         "shorten arguments, environment or labels",
                         vm->id, text_length, WIRE_MAX_TO_GUEST);
    if (wire_send(vm->wire_fd, type, process, fixed, fixed_length, text, text_length,
                  SEND_TIMEOUT) == 0)
        return 0;
    char what[160];
    (void)snprintf(what, sizeof what, "the guest does not take our messages (%s)", strerror(errno));
    if (errno == EPIPE || errno == ECONNRESET)
        wire_lost(vm);
    else
        abandon(vm, what);
    *err = vm->exit.error;
    if (!vm->exit.failed)
        (void)error_set(err, EXIT_OURS, "the workload %s has ended", vm->id);
    return -1;
}

int link_request(struct workload *vm, uint32_t type, const void *payload, size_t length,
                 struct error *err)
{
    int64_t deadline = wire_clock_milliseconds() + REQUEST_TIMEOUT;
    if (link_send(vm, type, WIRE_REQUEST_PROCESS, payload, length, NULL, 0, err) < 0)
        return -1;
    vm->requests++; /* of one that was given up, the answer comes first */
    while (vm->requests > 0) {
        int64_t left = deadline - wire_clock_milliseconds();
        (void)link_pump(vm);
        if (vm->exit.failed || vm->stage >= VM_EXITED)
            return error_set(err, EXIT_OURS, "the workload has just ended");
        if (vm->requests > 0 && left <= 0)
            return error_set(err, EXIT_OURS, "the guest of %s does not answer", vm->id);
        if (vm->requests > 0)
            (void)wait_for_events(vm, (int)left, false);
    }
    *err = vm->request_error;
    return *err->message ? -1 : 0;
}
