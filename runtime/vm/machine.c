/* What a machine has of the host, from the first of it to the last. */
#include "parts.h"

#include "cleanup.h"
#include "directory.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void machine_init(struct vm_machine *machine)
{
    *machine = (struct vm_machine){
        .monitor.pidfd = -1,
        .threads_fd = -1,
        .server = { .process.pidfd = -1, .log_fd = -1 },
        .names = { .process.pidfd = -1, .stream_fd = -1 },
        .control_fd = -1,
        .console.fd = -1,
        .network = { .netlink_fd = -1, .lock_fd = -1, .ports.fd = -1 },
    };
    for (size_t i = 0; i < NETWORK_MAX_INTERFACES; i++)
        machine->network.tap_fds[i] = -1;
}

/* The second number of proc(5)'s schedstat: nanoseconds for which the thread was kept waiting. */
static int64_t read_delay(int threads_fd, const char *thread)
{
    char path[32], text[80];
    (void)snprintf(path, sizeof path, "%.16s/schedstat", thread);
    _cleanup_close_ int fd = openat(threads_fd, path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    text[length > 0 ? length : 0] = '\0';
    const char *second = strchr(text, ' ');
    return second ? (int64_t)(strtoull(second, NULL, 10) / 1000000) : 0;
}

void machine_open_threads(struct vm_machine *machine)
{
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)machine->monitor.pid);
    machine->threads_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void machine_close_threads(struct vm_machine *machine)
{
    cleanup_close(&machine->threads_fd);
    machine->threads_fd = -1;
}

int64_t machine_kept_waiting(const struct vm_machine *machine)
{
    int64_t longest = 0;
    _cleanup_closedir_ DIR *threads =
        machine->threads_fd < 0 ? NULL : directory_open(machine->threads_fd, ".");
    for (const struct dirent *entry; threads && (entry = directory_next(threads));) {
        int64_t delay = read_delay(machine->threads_fd, entry->d_name);
        longest = delay > longest ? delay : longest;
    }
    return longest;
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
    machine_close_threads(machine);
    network_detach(&machine->network);
    share_server_stop(&machine->server);
    name_helper_stop(&machine->names);
    cleanup_close(&machine->control_fd);
    cleanup_close(&machine->console.fd);
    machine->control_fd = machine->console.fd = -1;
}
