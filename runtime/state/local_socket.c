#include "local_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"

enum { BACKLOG = 16 };

/*
 * sockaddr_un holds 108 bytes and root directories may be deeper: go through the directory. Returns
 * its descriptor, which the address needs, or -1 with errno.
 */
static int address_of(const char *path, const char *name, struct sockaddr_un *address)
{
    int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -1;
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    (void)snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", directory,
                   name);
    return directory;
}

int local_socket_listen(const char *directory, const char *name, int flags, struct error *err)
{
    struct sockaddr_un address;
    _cleanup_close_ int directory_fd = address_of(directory, name, &address);
    if (directory_fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s", directory);
    _cleanup_close_ int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
    if (listener < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a socket");
    (void)unlinkat(directory_fd, name, 0); /* of a process that was killed */
    mode_t saved = umask(0177);
    int bound = bind(listener, (struct sockaddr *)&address, sizeof address);
    int cause = errno;
    (void)umask(saved);
    if (bound < 0 || listen(listener, BACKLOG) < 0)
        return error_set_errno(err, EXIT_OURS, bound < 0 ? cause : errno, "cannot listen on %s/%s",
                               directory, name);
    return take_fd(&listener);
}

int local_socket_connect(const char *directory, const char *name)
{
    struct sockaddr_un address;
    _cleanup_close_ int directory_fd = address_of(directory, name, &address);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (directory_fd < 0 || fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -1;
    return take_fd(&fd);
}
