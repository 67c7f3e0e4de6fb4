/*
 * Messages from and to hybrid-vmm and hybrid-init, and what becomes of the machine by them. Every
 * frame of the guest is hostile: type and length are checked by wire_read, whether it makes sense
 * now in frames.c, and a violation ends the machine.
 */
#include "parts.h"

#include "cleanup.h"
#include "io.h"
#include "stamp.h"
#include "vm.h"

enum {
    SEND_TIMEOUT = 10 * 1000, /* milliseconds for the guest to take a frame */
    LAST_WORDS = 2 * 1000,    /* for hybrid-vmm to say how a guest ended that hung up */
    CONTROL_BATCH = 64,       /* messages of hybrid-vmm, which may flood us, in one turn */
    OWN_FDS = 5,              /* that are watched while the machine starts */
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

static void fail(struct workload *vm, const char *what)
{
    if (vm->exit.failed)
        return;
    vm->exit = (struct workload_exit){ .status = EXIT_OURS, .failed = true };
    if (what)
        diagnose(vm, what, &vm->exit.error);
    else
        diagnose_end(vm, &vm->exit.error);
    machine_kill(&vm->machine); /* nothing that it still does would be of use */
}

static void violated(struct workload *vm)
{
    char what[160];
    (void)snprintf(what, sizeof what,
                   "the guest broke the protocol (frame of type %u, process %u, %u bytes)",
                   vm->reader.head.type, vm->reader.head.process, vm->reader.head.length);
    fail(vm, what);
}

/* One message of hybrid-vmm. Returns whether there was one. */
static bool read_control(struct workload *vm)
{
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
    while (vm->machine.control_fd >= 0 && !vm->machine.ended) {
        struct pollfd fds[] = { { .fd = vm->machine.control_fd, .events = POLLIN },
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

static void wire_lost(struct workload *vm)
{
    wire_next(&vm->reader);
    cleanup_close(&vm->wire_fd);
    vm->wire_fd = -1;
    if (vm->stage >= VM_EXITED)
        return;
    (void)link_wait_for_end(vm, LAST_WORDS);
    bool ended = vm->machine.ended || vm->machine.control_fd < 0;
    fail(vm, ended ? NULL : "hybrid-init closed its control connection");
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
        if ((vm->machine.ended || vm->machine.control_fd < 0) && vm->stage < VM_EXITED)
            fail(vm, NULL);
        break;
    }
    return frame;
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
        int64_t waited = machine_kept_waiting(&vm->machine);
        patience->allowed = waited < most ? waited : most;
    }
    return patience->allowed - over;
}

/* hybrid-vmm knows where the guest stands, if it is not stuck itself. */
static void give_up(struct workload *vm, const struct patience *patience)
{
    char what[1200], more[96] = "";
    struct machine_message stalled = { .type = MACHINE_STALLED };
    if (vm->machine.control_fd >= 0 &&
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
    fail(vm, what);
}

/* Waits for the machine and for whoever may end it. Returns whether it is still wanted. */
static bool wait_for_events(const struct workload *vm, int milliseconds)
{
    struct pollfd fds[OWN_FDS + WORKLOAD_WATCHED_FDS] = {
        { .fd = vm->wire_fd, .events = POLLIN },
        { .fd = vm->machine.control_fd, .events = POLLIN },
        { .fd = vm->machine.console.fd, .events = POLLIN },
        { .fd = vm->machine.server.process.pidfd, .events = POLLIN },
        { .fd = vm->machine.names.process.pidfd, .events = POLLIN },
    };
    const struct workload_watch *watch = vm->watch;
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
        if (!wait_for_events(vm, (int)left))
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
        fail(vm, what);
    *err = vm->exit.error;
    if (!vm->exit.failed)
        (void)error_set(err, EXIT_OURS, "the workload %s has ended", vm->id);
    return -1;
}
