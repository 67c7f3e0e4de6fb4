/* link: vm network state sandbox cgroup program */
/* wrap: poll clock_gettime */
/*
 * What the guest and the monitor say to hybrid: frames, control messages, console. Of a pod's
 * machine to its keeper, and of one of its containers to that one's monitor, with the keeper's
 * messages in the place of hybrid-vmm's.
 */
#include "input.h"

#include "cleanup.h"
#include "io.h"
#include "runtime/vm/parts.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

enum { TURNS = 32, KINDS = VM_CONTAINER + 1 };

/* Nobody waits: a second goes by with each look at the clock.
 * NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    static time_t seconds;
    (void)clock;
    *now = (struct timespec){ .tv_sec = ++seconds };
    return 0;
}

int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    (void)timeout;
    return __real_poll(fds, count, 0);
}
/* NOLINTEND(bugprone-reserved-identifier) */

static void note_refused(void *context, uint32_t number, const struct error *error)
{
    uint32_t *seen = context;
    *seen += number + (uint32_t)strlen(error->message);
}

static void note_ended(void *context, uint32_t number, int status, const struct error *error)
{
    uint32_t *seen = context;
    *seen += number + (uint32_t)status + (error ? (uint32_t)strlen(error->message) : 0);
}

/* Below VM_STAGES it is the stage of a machine with one workload, which the kept inputs are of. */
static void choose(struct workload *vm, uint8_t choice)
{
    vm->stage = (enum vm_stage)(choice % VM_STAGES);
    vm->kind = (enum vm_kind)(choice / VM_STAGES % KINDS);
    vm->requests = choice / (VM_STAGES * KINDS) % 3;
    vm->refusable = vm->requests;
}

/* Where the other sides are. */
struct ends {
    int guest, monitor, console;
    int given; /* what the keeper of a container has to give it; -1 */
};

static struct workload *make(struct input *input, struct ends *ends)
{
    static uint32_t seen;
    int wire[2], control[2], pipe_ends[2];
    struct workload *vm = calloc(1, sizeof *vm);
    assert(vm && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wire) == 0 &&
           socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == 0 &&
           pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) == 0);
    choose(vm, input_8(input));
    bool container = vm->kind == VM_CONTAINER, attached = vm->stage > VM_SPAWNED;
    *ends = (struct ends){ .guest = wire[1],
                           .monitor = control[1],
                           .console = pipe_ends[1],
                           .given = container ? wire[0] : -1 };
    vm->id = (char *)"fuzz";
    vm->machine.monitor.pidfd = vm->machine.threads_fd = -1;
    vm->machine.console.fd = pipe_ends[0];
    vm->wire_fd = !container ? wire[0] : attached ? fcntl(wire[0], F_DUPFD_CLOEXEC, 0) : -1;
    vm->reader.fd = vm->wire_fd;
    vm->machine.control_fd = container ? -1 : control[0];
    vm->keeper_fd = container ? control[0] : -1;
    vm->refused = note_refused;
    vm->refused_context = vm->exec_context = &seen;
    for (uint32_t i = 1; i < 4; i++)
        vm->sessions[i] = (struct vm_session){ .used = true, .number = i, .ports = { i, 0, 9 } };
    return vm;
}

/* What a keeper says, with up to three descriptors. */
static void say_as_keeper(const struct ends *ends, uint8_t fd_count, const void *bytes, size_t size)
{
    const int fds[] = { ends->given, ends->given, ends->given };
    if (size > 0)
        (void)io_send_fds(ends->monitor, bytes, size, fds,
                          fd_count % (sizeof fds / sizeof *fds + 1));
}

/* Each piece goes to one of the three, with one turn behind it. */
static void play(struct workload *vm, struct input *input, const struct ends *ends)
{
    uint8_t bytes[512];
    for (int i = 0; i < TURNS && input->left > 0 && !vm->exit.failed; i++) {
        uint8_t where = input_8(input);
        size_t size = (size_t)input_8(input) * (where & 4 ? 2 : 1);
        size = size < input->left ? size : input->left;
        input_take(input, bytes, size);
        if (where % 4 == 3 && vm->kind == VM_CONTAINER)
            say_as_keeper(ends, where / 8, bytes, size);
        else if (where % 4 == 3)
            (void)send(ends->monitor, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (where % 4 == 2)
            (void)!write(ends->console, bytes, size);
        else
            (void)send(ends->guest, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        for (int turn = 0; turn < 16 && link_pump(vm); turn++)
            continue;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    struct ends ends;
    struct workload *vm = make(&input, &ends);
    play(vm, &input, &ends);
    (void)close(ends.guest);
    (void)close(ends.monitor); /* so that nobody waits for its last words */
    (void)link_pump(vm);
    (void)link_pump(vm);
    assert(strnlen(vm->exit.error.message, sizeof vm->exit.error.message) <
           sizeof vm->exit.error.message);
    wire_next(&vm->reader);
    vm->exec_ended = note_ended; /* as when the monitor looks: until then it is kept */
    link_tell_ended(vm);
    cleanup_close(&vm->wire_fd);
    cleanup_close(&vm->keeper_fd);
    cleanup_close(&vm->machine.control_fd);
    cleanup_close(&vm->machine.console.fd);
    cleanup_close(&ends.given);
    (void)close(ends.console);
    free(vm);
    return 0;
}
