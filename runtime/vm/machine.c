/* What a machine has of the host, from the first of it to the last. */
#include "parts.h"

#include "cleanup.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

void machine_init(struct vm_machine *machine)
{
    *machine = (struct vm_machine){
        .monitor.pidfd = -1,
        .server = { .process.pidfd = -1, .log_fd = -1 },
        .names = { .process.pidfd = -1, .stream_fd = -1 },
        .control_fd = -1,
        .console.fd = -1,
        .network = { .netlink_fd = -1, .lock_fd = -1, .ports.fd = -1 },
    };
    for (size_t i = 0; i < NETWORK_MAX_INTERFACES; i++)
        machine->network.tap_fds[i] = -1;
}

void machine_kill(const struct vm_machine *machine)
{
    if (machine->monitor.pid > 0)
        (void)syscall(SYS_pidfd_send_signal, machine->monitor.pidfd, SIGKILL, NULL, 0);
}

void machine_end(struct vm_machine *machine)
{
    machine_kill(machine);
    (void)spawn_wait(&machine->monitor);
    network_detach(&machine->network);
    share_server_stop(&machine->server);
    name_helper_stop(&machine->names);
    cleanup_close(&machine->control_fd);
    cleanup_close(&machine->console.fd);
    machine->control_fd = machine->console.fd = -1;
}
