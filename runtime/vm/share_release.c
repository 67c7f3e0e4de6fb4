/*
 * When a server has let go of entries that were taken away. Until its guest has forgotten them it
 * holds them open, and with them file systems of the host that somebody is about to unmount.
 */
#include "shares.h"

#include "cleanup.h"
#include "include/wire_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Whether a mount point, as the server sees it, is of one of the entries, or below it. */
static bool is_of(const char *target, uint32_t first, size_t count)
{
    unsigned long number;
    char after;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's text; numbers that we have chosen */
    return sscanf(target, "/%lu%c", &number, &after) == 2 && (after == ' ' || after == '/') &&
           number >= first && number - first < count;
}

int share_mounts_list(const struct share_server *server, uint32_t first, size_t count,
                      struct share_mounts *mounts)
{
    char path[64], line[8192];
    *mounts = (struct share_mounts){ .pid = server->process.pid };
    (void)snprintf(path, sizeof path, "/proc/%d/mountinfo", (int)server->process.pid);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    while (fgets(line, sizeof line, file)) {
        int id, at = 0;
        /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
        if (sscanf(line, "%d %*d %*s %*s %n", &id, &at) != 1 || !is_of(line + at, first, count))
            continue;
        int *grown = reallocarray(mounts->ids, mounts->count + 1, sizeof *grown);
        if (!grown)
            return -1;
        mounts->ids = grown;
        mounts->ids[mounts->count++] = id;
    }
    return 0;
}

void share_mounts_free(struct share_mounts *mounts)
{
    free(mounts->ids);
    *mounts = (struct share_mounts){ 0 };
}

/* What cannot be looked at may be, unless it was closed, or the server has ended, meanwhile. */
static bool is_on(int directory, const char *name, const struct share_mounts *mounts)
{
    char text[256];
    int id = -1;
    _cleanup_close_ int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1); /* the number is among the first */
    if (n < 0)
        return errno != ENOENT && errno != ESRCH;
    text[n] = '\0';
    const char *line = strstr(text, "mnt_id:");
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
    if (!line || sscanf(line, "mnt_id: %d", &id) != 1)
        return true;
    for (size_t i = 0; i < mounts->count; i++)
        if (mounts->ids[i] == id)
            return true;
    return false;
}

/*
 * What was not looked at by the deadline counts as held: the guest has a say in how much there is.
 * So does what could not be looked at, unless the server has ended.
 */
static bool is_held(const struct share_mounts *mounts, int64_t deadline)
{
    char path[64];
    bool held = false;
    (void)snprintf(path, sizeof path, "/proc/%d/fdinfo", (int)mounts->pid);
    DIR *directory = opendir(path);
    if (!directory)
        return errno != ENOENT && errno != ESRCH;
    const struct dirent *entry;
    for (errno = 0; !held && (entry = readdir(directory)); errno = 0)
        held = *entry->d_name != '.' && (wire_clock_milliseconds() >= deadline ||
                                         is_on(dirfd(directory), entry->d_name, mounts));
    held = held || (errno != 0 && errno != ENOENT && errno != ESRCH);
    (void)closedir(directory);
    return held;
}

bool share_mounts_await_release(const struct share_mounts *mounts, int milliseconds)
{
    const struct timespec pause = { .tv_nsec = 5000000 };
    int64_t deadline = wire_clock_milliseconds() + milliseconds;
    while (mounts->count > 0 && is_held(mounts, deadline)) {
        if (wire_clock_milliseconds() >= deadline)
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

/* The child's: its own child is the one that waits, and nobody's. */
static int leave_waiting(const struct share_mounts *mounts, int milliseconds, int fd)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid < 0 ? errno : 0;
    if (dup2(fd, STDIN_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0U, 0) < 0)
        return errno;
    (void)share_mounts_await_release(mounts, milliseconds);
    return 0;
}

int share_mounts_hold_until_release(const struct share_mounts *mounts, int milliseconds, int fd)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(leave_waiting(mounts, milliseconds, fd));
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (child > 0)
        errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    return child > 0 && errno == 0 ? 0 : -1;
}
