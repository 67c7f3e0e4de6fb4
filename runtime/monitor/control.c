#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"

enum { BACKLOG = 16 };

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

/* sockaddr_un holds 108 bytes and root directories may be deeper: go through the directory. */
static int address_of(const char *state_dir, struct sockaddr_un *address)
{
    int directory = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -1;
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    (void)snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/" CONTROL_SOCKET,
                   directory);
    return directory;
}

int control_listen(const char *state_dir, struct error *err)
{
    struct sockaddr_un address;
    _cleanup_close_ int directory = address_of(state_dir, &address);
    if (directory < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s", state_dir);
    _cleanup_close_ int listener =
        socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a socket");
    (void)unlinkat(directory, CONTROL_SOCKET, 0); /* of a monitor that was killed */
    mode_t saved = umask(0177);
    int bound = bind(listener, (struct sockaddr *)&address, sizeof address);
    int cause = errno;
    (void)umask(saved);
    if (bound < 0 || listen(listener, BACKLOG) < 0)
        return error_set_errno(err, EXIT_OURS, bound < 0 ? cause : errno,
                               "cannot listen on %s/" CONTROL_SOCKET, state_dir);
    return take_fd(&listener);
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
    struct sockaddr_un address;
    _cleanup_close_ int directory = address_of(state_dir, &address);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (directory < 0 || fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int cause = errno;
        (void)error_set_errno(err, EXIT_OURS, cause,
                              "cannot reach the monitor at %s/" CONTROL_SOCKET, state_dir);
        errno = cause;
        return -1;
    }
    return take_fd(&fd);
}
