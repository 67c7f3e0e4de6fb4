/* What the guest is offered: streams and connections, each under a port of its own. */
#include "parts.h"

#include "cleanup.h"
#include "io.h"

#include <sys/random.h>

int link_offer(const struct workload *vm, uint32_t port, uint32_t flags, int fd, struct error *err)
{
    struct machine_message message = { .type = MACHINE_OFFER, .port = port, .flags = flags };
    _cleanup_close_ int ours = fd;
    if (vm->machine.control_fd < 0 ||
        io_send_fds(vm->machine.control_fd, &message, sizeof message, &ours, 1) < 0)
        return error_set(err, EXIT_OURS, "hybrid-vmm of %s is gone", vm->id);
    return 0;
}

static int end_offer(const struct workload *vm, uint32_t type, uint32_t port)
{
    struct machine_message message = { .type = type, .port = port };
    return port == 0 || vm->machine.control_fd < 0
               ? 0
               : io_send_fds(vm->machine.control_fd, &message, sizeof message, NULL, 0);
}

void link_withdraw(const struct workload *vm, uint32_t port)
{
    (void)end_offer(vm, MACHINE_WITHDRAW, port);
}

/* A hybrid-vmm that does not even take a message is waited for once. */
void link_close_streams(const struct workload *vm, const uint32_t ports[WIRE_STREAMS])
{
    for (int i = 0; i < WIRE_STREAMS && end_offer(vm, MACHINE_CLOSE, ports[i]) == 0; i++)
        continue;
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

int link_offer_connection(const struct workload *vm, uint32_t *port, struct error *err)
{
    int pair[2];
    if (random_port(port, err) < 0)
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a socket pair");
    _cleanup_close_ int ours = pair[0];
    if (link_offer(vm, *port, 0, pair[1], err) < 0)
        return -1;
    return take_fd(&ours);
}

int link_offer_names(struct workload *vm, uint32_t *port, struct error *err)
{
    if (random_port(port, err) < 0)
        return -1;
    return link_offer(vm, *port, 0, take_fd(&vm->machine.names.stream_fd), err);
}
