/* Connections to the host, joined to a process's standard streams. */
#include "guest.h"

#include "cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

/* Gives the child one end of a pipe and a relay the other, with the connection behind it. */
static int open_stream(struct process *process, int stream, uint32_t port, int *child_end,
                       struct error *err)
{
    int ends[2];
    if (port == 0) {
        *child_end = open("/dev/null", (stream == STDIN_FILENO ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
        if (*child_end < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null in the guest");
        return 0;
    }
    int connection = stream_connect(port, err);
    if (connection < 0)
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe in the guest");
        (void)close(connection);
        return -1;
    }
    if (stream == STDIN_FILENO) {
        *child_end = ends[0];
        relay_open(&process->relays[stream], connection, ends[1]);
    } else {
        *child_end = ends[1];
        relay_open(&process->relays[stream], ends[0], connection);
    }
    return 0;
}

int stream_open(struct process *process, const struct wire_process *request,
                struct stream_set *streams, struct error *err)
{
    *streams = (struct stream_set){ .stdio = { -1, -1, -1 }, .terminal_socket = -1 };
    if (request->flags & WIRE_TERMINAL) {
        process->terminal = true;
        streams->terminal_socket = stream_connect(request->ports[0], err);
        return streams->terminal_socket < 0 ? -1 : 0;
    }
    for (int i = 0; i < WIRE_STREAMS; i++) {
        if (open_stream(process, i, request->ports[i], &streams->stdio[i], err) < 0)
            return -1;
    }
    return 0;
}

void stream_set_close(struct stream_set *streams)
{
    for (int i = 0; i < WIRE_STREAMS; i++) {
        cleanup_close(&streams->stdio[i]);
        streams->stdio[i] = -1;
    }
    cleanup_close(&streams->terminal_socket);
    streams->terminal_socket = -1;
}

/* A relay wants a pipe at one side, and neither a socket nor a terminal is one: two relays with a
 * pipe between them. Takes over both descriptors. */
static int join_by_pipe(struct relay *first, struct relay *second, int from, int to,
                        struct error *err)
{
    int ends[2];
    if (from < 0 || to < 0 || pipe2(ends, O_CLOEXEC) < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot join a terminal in the guest");
        cleanup_close(&from);
        cleanup_close(&to);
        return -1;
    }
    relay_open(first, from, ends[1]);
    relay_open(second, ends[0], to);
    return 0;
}

int stream_join_terminal(struct process *process, struct stream_set *streams, struct error *err)
{
    int connection = streams->terminal_socket, terminal = process->child.terminal_fd;
    if (join_by_pipe(&process->relays[0], &process->relays[1],
                     fcntl(connection, F_DUPFD_CLOEXEC, 0), fcntl(terminal, F_DUPFD_CLOEXEC, 0),
                     err) < 0)
        return -1;
    return join_by_pipe(&process->relays[2], &process->relays[3],
                        fcntl(terminal, F_DUPFD_CLOEXEC, 0), fcntl(connection, F_DUPFD_CLOEXEC, 0),
                        err);
}
