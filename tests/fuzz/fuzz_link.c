/* link: vm sandbox cgroup program */
/* wrap: poll clock_gettime */
/* What the guest and the monitor say to hybrid: frames, control messages, console. */
#include "input.h"

#include "cleanup.h"
#include "runtime/vm/parts.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

enum { TURNS = 32 };

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

static struct workload *make(struct input *input, int *guest, int *monitor, int *console)
{
    int wire[2], control[2], pipe_ends[2];
    struct workload *vm = calloc(1, sizeof *vm);
    assert(vm && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wire) == 0 &&
           socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == 0 &&
           pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) == 0);
    vm->id = (char *)"fuzz";
    vm->machine.monitor.pidfd = -1;
    vm->machine.console.fd = pipe_ends[0];
    vm->wire_fd = vm->reader.fd = wire[0];
    vm->machine.control_fd = control[0];
    vm->stage = (enum vm_stage)(input_8(input) % VM_STAGES);
    for (uint32_t i = 1; i < 4; i++)
        vm->sessions[i] = (struct vm_session){ .used = true, .number = i, .ports = { i, 0, 9 } };
    *guest = wire[1];
    *monitor = control[1];
    *console = pipe_ends[1];
    return vm;
}

/* Each piece goes to one of the three, with one turn behind it. */
static void play(struct workload *vm, struct input *input, int guest, int monitor, int console)
{
    uint8_t bytes[512];
    for (int i = 0; i < TURNS && input->left > 0 && !vm->exit.failed; i++) {
        uint8_t where = input_8(input);
        size_t size = (size_t)input_8(input) * (where & 4 ? 2 : 1);
        size = size < input->left ? size : input->left;
        input_take(input, bytes, size);
        if (where % 4 == 3)
            (void)send(monitor, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (where % 4 == 2)
            (void)!write(console, bytes, size);
        else
            (void)send(guest, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        for (int turn = 0; turn < 16 && link_pump(vm); turn++)
            continue;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    int guest, monitor, console;
    struct workload *vm = make(&input, &guest, &monitor, &console);
    play(vm, &input, guest, monitor, console);
    (void)close(guest);
    (void)close(monitor); /* so that nobody waits for its last words */
    (void)link_pump(vm);
    (void)link_pump(vm);
    assert(strnlen(vm->exit.error.message, sizeof vm->exit.error.message) <
           sizeof vm->exit.error.message);
    wire_next(&vm->reader);
    cleanup_close(&vm->wire_fd);
    cleanup_close(&vm->machine.control_fd);
    cleanup_close(&vm->machine.console.fd);
    (void)close(console);
    free(vm);
    return 0;
}
