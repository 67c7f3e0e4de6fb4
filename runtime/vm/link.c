/*
 * Messages from and to hybrid-vmm and hybrid-init. Every frame of the guest is hostile: type and
 * length are checked by wire_read, whether it makes sense now is checked here, and a violation ends
 * the machine.
 */
#include "parts.h"

#include "cleanup.h"
#include "io.h"
#include "shown_text.h"
#include "stamp.h"

#include <signal.h>
#include <sys/random.h>
#include <sys/syscall.h>

enum {
    SEND_TIMEOUT = 10 * 1000, /* milliseconds for the guest to take a frame */
    LAST_WORDS = 2 * 1000,    /* for hybrid-vmm to say how a guest ended that hung up */
    CONTROL_BATCH = 64,       /* messages of hybrid-vmm, which may flood us, in one turn */
    OWN_FDS = 5,              /* that are watched while the machine starts */
};

/* The stages of a start that compare tells apart, as they end on this side of the wire. */
static const char *const STAMPS[VM_STAGES] = {
    [VM_RUNNING] = "monitor",
    [VM_READY] = "kernel",
    [VM_PREPARED] = "init",
};

static void reach(struct workload *vm, enum vm_stage stage)
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
    /* Nothing that it still does would be of use. */
    if (vm->monitor.pid > 0)
        (void)syscall(SYS_pidfd_send_signal, vm->monitor.pidfd, SIGKILL, NULL, 0);
}

struct vm_session *link_find_session(struct workload *vm, uint32_t number)
{
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++) {
        if (vm->sessions[i].used && vm->sessions[i].number == number)
            return &vm->sessions[i];
    }
    return NULL;
}

static bool on_ready(struct workload *vm, const void *payload, uint32_t length)
{
    (void)length;
    struct wire_ready ready;
    memcpy(&ready, payload, sizeof ready);
    if (vm->stage >= VM_READY || ready.version != WIRE_VERSION)
        return false;
    reach(vm, VM_READY);
    return true;
}

static bool on_prepared(struct workload *vm, const void *payload, uint32_t length)
{
    (void)payload;
    (void)length;
    if (vm->stage != VM_READY)
        return false;
    reach(vm, VM_PREPARED);
    return true;
}

static bool on_started(struct workload *vm, const void *payload, uint32_t length)
{
    (void)payload;
    (void)length;
    if (vm->reader.head.process != WIRE_MAIN_PROCESS) {
        struct vm_session *session = link_find_session(vm, vm->reader.head.process);
        if (!session || session->started)
            return false;
        session->started = true;
        return true;
    }
    if (vm->stage != VM_PREPARED)
        return false;
    reach(vm, VM_STARTED);
    return true;
}

/* An exec session is over: its number is free before the monitor hears of it. */
static bool end_session(struct workload *vm, int status, const struct error *error)
{
    uint32_t number = vm->reader.head.process;
    struct vm_session *session = link_find_session(vm, number);
    if (!session || (error && session->started))
        return false;
    /* It may have failed before its streams were connected: nobody must wait for their end. */
    if (!session->started)
        link_withdraw(vm, session->ports);
    session->used = false;
    if (vm->exec_ended)
        vm->exec_ended(vm->exec_context, number, status, error);
    return true;
}

/* The text of the guest, which may hold anything, as one for a terminal and for a document: as many
 * whole characters as there is room for. */
static void copy_text(char *copy, size_t size, const char *text, size_t length)
{
    size_t n = 0;
    while (n < length) {
        size_t shown = shown_character(text + n, length - n);
        size_t taken = shown > 0 ? shown : 1;
        if (n + taken > size - 1)
            break;
        if (shown > 0)
            memcpy(copy + n, text + n, shown);
        else
            copy[n] = '?';
        n += taken;
    }
    copy[n] = '\0';
}

static bool on_error(struct workload *vm, const void *payload, uint32_t length)
{
    struct wire_error head;
    struct error error = { 0 };
    memcpy(&head, payload, sizeof head);
    if (head.exit_code < EXIT_OURS || head.exit_code > EXIT_NOT_FOUND)
        return false;
    error.exit_code = (int)head.exit_code;
    copy_text(error.message, sizeof error.message, (const char *)payload + sizeof head,
              length - sizeof head);
    if (vm->reader.head.process != WIRE_MAIN_PROCESS)
        return end_session(vm, error.exit_code, &error);
    if (vm->stage != VM_READY && vm->stage != VM_PREPARED)
        return false;
    vm->command_failed = true;
    vm->command_error = error;
    return true;
}

static bool on_exited(struct workload *vm, const void *payload, uint32_t length)
{
    (void)length;
    struct wire_exited exited;
    memcpy(&exited, payload, sizeof exited);
    if (exited.status > 255 || exited.flags & ~(uint32_t)WIRE_EXITED_OOM)
        return false;
    if (vm->reader.head.process != WIRE_MAIN_PROCESS)
        return end_session(vm, (int)exited.status, NULL);
    if (vm->stage != VM_STARTED && vm->stage != VM_PREPARED)
        return false;
    reach(vm, VM_EXITED);
    vm->exit = (struct workload_exit){ .status = (int)exited.status,
                                       .oom = (exited.flags & WIRE_EXITED_OOM) != 0 };
    return true;
}

struct frame_handler {
    uint32_t type;
    bool (*handle)(struct workload *vm, const void *payload, uint32_t length);
};

static const struct frame_handler HANDLERS[] = {
    { WIRE_READY, on_ready }, { WIRE_PREPARED, on_prepared }, { WIRE_STARTED, on_started },
    { WIRE_ERROR, on_error }, { WIRE_EXITED, on_exited },
};

static bool handle_frame(struct workload *vm)
{
    for (size_t i = 0; i < sizeof HANDLERS / sizeof HANDLERS[0]; i++) {
        if (HANDLERS[i].type == vm->reader.head.type)
            return HANDLERS[i].handle(vm, vm->reader.payload, vm->reader.head.length);
    }
    return false; /* nothing else was asked for */
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
    struct pollfd readable = { .fd = vm->control_fd, .events = POLLIN };
    if (vm->control_fd < 0 || poll(&readable, 1, 0) <= 0)
        return false;
    ssize_t n = io_receive_fds(vm->control_fd, packet, sizeof packet, fds, &fd_count);
    for (size_t i = 0; i < fd_count; i++)
        (void)close(fds[i]); /* it has none to give */
    if (n < (ssize_t)sizeof message) {
        cleanup_close(&vm->control_fd);
        vm->control_fd = -1;
        return false;
    }
    memcpy(&message, packet, sizeof message);
    const char *text = packet + sizeof message;
    size_t length = (size_t)n - sizeof message;
    if (message.type == MACHINE_RUNNING) {
        if (vm->stage < VM_RUNNING) /* what it says later may be the guest's words */
            vm->landlock = (int)(message.flags >> MACHINE_JAIL_LANDLOCK_SHIFT & 0xff);
        reach(vm, VM_RUNNING);
    } else if (message.type == MACHINE_WARNING && !*vm->warning) {
        copy_text(vm->warning, sizeof vm->warning, text, length);
    } else if (message.type == MACHINE_ENDED ||
               (message.type == MACHINE_FAILED && vm->stage < VM_READY)) {
        /* Later, a refused offer shows as a refused connection, which hybrid-init reports; and
         * nothing is to be withdrawn once it was taken up. */
        vm->machine_ended = true;
        vm->machine_end = message.type == MACHINE_ENDED ? message.end : MACHINE_END_MONITOR;
        copy_text(vm->machine_text, sizeof vm->machine_text, text, length);
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
    while (vm->control_fd >= 0 && !vm->machine_ended) {
        struct pollfd fds[] = { { .fd = vm->control_fd, .events = POLLIN },
                                { .fd = vm->console.fd, .events = POLLIN } };
        int64_t left = deadline - wire_clock_milliseconds();
        if (left <= 0 || (poll(fds, 2, (int)left) < 0 && errno != EINTR))
            return false;
        console_read(&vm->console);
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
    fail(vm, vm->machine_ended || vm->control_fd < 0 ? NULL
                                                     : "hybrid-init closed its control connection");
}

bool link_pump(struct workload *vm)
{
    bool frame = false;
    console_read(&vm->console);
    if (vm->console.total > 0 && vm->stage == VM_RUNNING)
        reach(vm, VM_SPEAKING);
    /* Frames first: the guest's last ones count more than the news that the machine has ended. */
    switch (vm->wire_fd >= 0 ? wire_read(&vm->reader) : WIRE_AGAIN) {
    case WIRE_FRAME:
        frame = true;
        if (!handle_frame(vm))
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
        if ((vm->machine_ended || vm->control_fd < 0) && vm->stage < VM_EXITED)
            fail(vm, NULL);
        break;
    }
    return frame;
}

/* hybrid-vmm knows where the guest stands, if it is not stuck itself. */
static void give_up(struct workload *vm, int milliseconds)
{
    char what[1200];
    struct machine_message stalled = { .type = MACHINE_STALLED };
    if (vm->control_fd >= 0 && io_send_fds(vm->control_fd, &stalled, sizeof stalled, NULL, 0) == 0)
        (void)link_wait_for_end(vm, LAST_WORDS);
    bool told = vm->machine_ended && vm->machine_end == MACHINE_END_STALLED;
    (void)snprintf(what, sizeof what, "no progress for %d seconds%s%s%s", milliseconds / 1000,
                   told ? " (" : "", told ? vm->machine_text : "", told ? ")" : "");
    fail(vm, what);
}

/* Waits for the machine and for whoever may end it. Returns whether it is still wanted. */
static bool wait_for_events(const struct workload *vm, int milliseconds)
{
    struct pollfd fds[OWN_FDS + WORKLOAD_WATCHED_FDS] = {
        { .fd = vm->wire_fd, .events = POLLIN },
        { .fd = vm->control_fd, .events = POLLIN },
        { .fd = vm->console.fd, .events = POLLIN },
        { .fd = vm->server.process.pidfd, .events = POLLIN },
        { .fd = vm->names.process.pidfd, .events = POLLIN },
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
    struct pollfd monitor = { .fd = vm->monitor.pidfd };
    if (vm->exit.failed || vm->machine_ended || vm->stage >= VM_EXITED ||
        (!share_server_failed(&vm->server, what, sizeof what) &&
         !name_helper_failed(&vm->names, what, sizeof what)))
        return;
    /* It ends with hybrid-vmm, whose own end says more. */
    monitor.events = POLLIN;
    if (poll(&monitor, 1, 0) == 0)
        fail(vm, what);
}

int link_wait_for(struct workload *vm, enum vm_stage stage, int milliseconds, struct error *err)
{
    int64_t deadline = wire_clock_milliseconds() + milliseconds;
    for (;;) {
        if (link_pump(vm))
            deadline = wire_clock_milliseconds() + milliseconds;
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
        int64_t left = deadline - wire_clock_milliseconds();
        if (left <= 0) {
            give_up(vm, milliseconds);
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

int link_offer(const struct workload *vm, uint32_t port, uint32_t flags, int fd, struct error *err)
{
    struct machine_message message = { .type = MACHINE_OFFER, .port = port, .flags = flags };
    _cleanup_close_ int ours = fd;
    if (vm->control_fd < 0 || io_send_fds(vm->control_fd, &message, sizeof message, &ours, 1) < 0)
        return error_set(err, EXIT_OURS, "hybrid-vmm of %s is gone", vm->id);
    return 0;
}

void link_withdraw(const struct workload *vm, const uint32_t ports[WIRE_STREAMS])
{
    for (int i = 0; i < WIRE_STREAMS; i++) {
        struct machine_message message = { .type = MACHINE_WITHDRAW, .port = ports[i] };
        if (ports[i] != 0 && vm->control_fd >= 0)
            (void)io_send_fds(vm->control_fd, &message, sizeof message, NULL, 0);
    }
}

/* A port that a workload cannot guess; never the control port, 0 or VMADDR_PORT_ANY. */
static int random_port(uint32_t *port, struct error *err)
{
    do {
        if (getrandom(port, sizeof *port, 0) != (ssize_t)sizeof *port)
            return error_set_errno(err, EXIT_OURS, errno, "cannot get random numbers");
    } while (*port <= WIRE_CONTROL_PORT || *port == UINT32_MAX);
    return 0;
}

static int offer_terminal(const struct workload *vm, int *terminal_fd, struct wire_process *request,
                          struct error *err)
{
    int pair[2];
    request->flags |= WIRE_TERMINAL;
    if (random_port(&request->ports[0], err) < 0)
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a socket pair");
    _cleanup_close_ int ours = pair[0];
    if (link_offer(vm, request->ports[0], 0, pair[1], err) < 0)
        return -1;
    *terminal_fd = take_fd(&ours);
    return 0;
}

int link_offer_streams(const struct workload *vm, const int stdio[WIRE_STREAMS], bool terminal,
                       int *terminal_fd, struct wire_process *request, struct error *err)
{
    *terminal_fd = -1;
    if (terminal)
        return offer_terminal(vm, terminal_fd, request, err);
    int result = 0;
    for (int i = 0; i < WIRE_STREAMS; i++) {
        int fd = stdio[i];
        if (fd < 0)
            continue; /* port 0: /dev/null in the guest */
        if (result == 0)
            result = random_port(&request->ports[i], err);
        if (result == 0)
            result = link_offer(
                vm, request->ports[i],
                i == STDIN_FILENO ? MACHINE_OFFER_NO_OUTPUT : MACHINE_OFFER_NO_INPUT, fd, err);
        else
            (void)close(fd);
    }
    return result;
}

int link_offer_names(struct workload *vm, uint32_t *port, struct error *err)
{
    if (random_port(port, err) < 0)
        return -1;
    return link_offer(vm, *port, 0, take_fd(&vm->names.stream_fd), err);
}
