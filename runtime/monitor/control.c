#include "control.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/state/local_socket.h"

int control_send(int socket, const struct control_message *message, const int *fds, size_t fd_count)
{
    size_t text = strnlen(message->text, sizeof message->text - 1);
    return io_send_fds(socket, message, offsetof(struct control_message, text) + text, fds,
                       fd_count);
}

int control_send_simple(int socket, uint32_t type, int32_t value)
{
    struct control_message message = { .type = type, .value = value };
    return control_send(socket, &message, NULL, 0);
}

int control_receive(int socket, struct control_message *message, int *fds, size_t *fd_count)
{
    int received[IO_MAX_FDS];
    size_t count = 0;
    ssize_t length = io_receive_fds(socket, message, sizeof *message - 1, received, &count);
    if (length <= 0)
        return (int)length;
    if ((size_t)length < offsetof(struct control_message, text)) {
        errno = EBADMSG;
        length = -1;
    }
    if (length < 0 || !fds) {
        for (size_t i = 0; i < count; i++)
            (void)close(received[i]);
        count = 0;
    }
    if (fds) {
        memcpy(fds, received, count * sizeof *fds);
        *fd_count = count;
    }
    if (length < 0)
        return -1;
    ((char *)message)[length] = '\0';
    return 1;
}

int control_listen(const char *state_dir, struct error *err)
{
    return local_socket_listen(state_dir, CONTROL_SOCKET, SOCK_NONBLOCK, err);
}

int control_accept(int listener)
{
    _cleanup_close_ int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return -1;
    if (peer.uid != 0 && peer.uid != geteuid()) {
        errno = EPERM;
        return -1;
    }
    return take_fd(&fd);
}

int control_connect(const char *state_dir, struct error *err)
{
    int fd = local_socket_connect(state_dir, CONTROL_SOCKET);
    if (fd >= 0)
        return fd;
    int cause = errno;
    (void)error_set_errno(err, EXIT_OURS, cause, "cannot reach the monitor at %s/" CONTROL_SOCKET,
                          state_dir);
    errno = cause;
    return -1;
}
