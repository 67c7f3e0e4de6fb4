#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"

int console_check(const char *socket_path, bool terminal, struct error *err)
{
    if (terminal && !socket_path)
        return error_set(
            err, EXIT_OURS,
            "process.terminal is true: say with --console-socket who gets the terminal");
    if (!terminal && socket_path)
        return error_set(
            err, EXIT_OURS,
            "--console-socket: process.terminal is false, there is no terminal to send");
    return 0;
}

int console_send(const char *socket_path, int terminal_fd, struct error *err)
{
    static const char name[] = "/dev/pts/ptmx"; /* the receivers want a name, and do not use it */
    _cleanup_close_ int terminal = terminal_fd;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(socket_path) >= sizeof address.sun_path)
        return error_set(err, EXIT_OURS, "--console-socket: %s is longer than %zu bytes",
                         socket_path, sizeof address.sun_path - 1);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        io_send_fds(fd, name, sizeof name, &terminal, 1) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot send the terminal to --console-socket %s", socket_path);
    return 0;
}

int pid_file_write(const char *path, pid_t pid, struct error *err)
{
    _cleanup_free_ char *temporary = NULL;
    const char *slash = strrchr(path, '/');
    int directory = slash ? (int)(slash - path) + 1 : 0;
    if (asprintf(&temporary, "%.*s.%s.%d", directory, path, path + directory, (int)getpid()) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    char text[16];
    int length = snprintf(text, sizeof text, "%d", (int)pid);
    _cleanup_close_ int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 || io_write_all(fd, text, (size_t)length) < 0 || rename(temporary, path) < 0) {
        int cause = errno;
        if (fd >= 0)
            (void)unlink(temporary);
        return error_set_errno(err, EXIT_OURS, cause, "cannot write --pid-file %s", path);
    }
    return 0;
}

int path_make_absolute(const char *path, char **absolute, struct error *err)
{
    *absolute = NULL;
    if (!path || *path == '/') {
        *absolute = path ? strdup(path) : NULL;
        return path && !*absolute ? error_set(err, EXIT_OURS, "out of memory") : 0;
    }
    char here[PATH_MAX];
    if (!getcwd(here, sizeof here))
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the working directory");
    if (asprintf(absolute, "%s/%s", here, path) < 0) {
        *absolute = NULL;
        return error_set(err, EXIT_OURS, "out of memory");
    }
    return 0;
}
