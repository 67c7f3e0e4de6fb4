/*
 * tmpcopyup: a new file system begins with what it covers. The source belongs to the image: every
 * name is opened by itself, below a descriptor, and no link is followed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "context.h"
#include "directory.h"
#include "path.h"

enum { MAX_DEPTH = 128, XATTRS_SIZE = 4096, CHUNK = 1 << 30 };

static int copy_directory(int from, int to, unsigned int depth);

/* Owner, mode, extended attributes and times of what both descriptors refer to. */
static int copy_attributes(int from, int to, const struct stat *status)
{
    char names[XATTRS_SIZE], value[XATTRS_SIZE];
    const struct timespec times[2] = { status->st_atim, status->st_mtim };
    ssize_t length = flistxattr(from, names, sizeof names);
    for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t size = fgetxattr(from, names + at, value, sizeof value);
        if (size >= 0 && fsetxattr(to, names + at, value, (size_t)size, 0) < 0 &&
            errno != EOPNOTSUPP && errno != EPERM)
            return -1;
    }
    if (fchown(to, status->st_uid, status->st_gid) < 0 || fchmod(to, status->st_mode & 07777) < 0)
        return -1;
    return futimens(to, times);
}

static int copy_file(int from_directory, int to_directory, const char *name,
                     const struct stat *status)
{
    _cleanup_close_ int from =
        openat(from_directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    _cleanup_close_ int to =
        openat(to_directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (from < 0 || to < 0)
        return -1;
    ssize_t n;
    while ((n = sendfile(to, from, NULL, CHUNK)) > 0)
        ;
    return n < 0 ? -1 : copy_attributes(from, to, status);
}

static int copy_link(int from_directory, int to_directory, const char *name,
                     const struct stat *status)
{
    char target[PATH_MAX];
    ssize_t length = readlinkat(from_directory, name, target, sizeof target - 1);
    if (length < 0)
        return -1;
    target[length] = '\0';
    if (symlinkat(target, to_directory, name) < 0)
        return -1;
    return fchownat(to_directory, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW);
}

static int copy_subdirectory(int from_directory, int to_directory, const char *name,
                             unsigned int depth)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if (mkdirat(to_directory, name, 0700) < 0)
        return -1;
    _cleanup_close_ int from = openat(from_directory, name, flags);
    _cleanup_close_ int to = openat(to_directory, name, flags);
    return from < 0 || to < 0 ? -1 : copy_directory(from, to, depth + 1);
}

static int copy_entry(int from, int to, const char *name, unsigned int depth)
{
    struct stat status;
    if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    switch (status.st_mode & S_IFMT) {
    case S_IFREG:
        return copy_file(from, to, name, &status);
    case S_IFLNK:
        return copy_link(from, to, name, &status);
    case S_IFDIR:
        return copy_subdirectory(from, to, name, depth);
    case S_IFIFO:
        if (mkfifoat(to, name, status.st_mode & 07777) < 0)
            return -1;
        return fchownat(to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW);
    default:
        return 0; /* devices are the plan's to make, and a socket nobody listens on is nothing */
    }
}

static int copy_directory(int from, int to, unsigned int depth)
{
    if (depth > MAX_DEPTH) {
        errno = ELOOP;
        return -1;
    }
    _cleanup_closedir_ DIR *directory = directory_open(from, ".");
    struct stat status;
    if (!directory || fstat(from, &status) < 0)
        return -1;
    for (const struct dirent *entry; (entry = directory_next(directory));)
        if (copy_entry(from, to, entry->d_name, depth) < 0)
            return -1;
    return errno == 0 ? copy_attributes(from, to, &status) : -1;
}

int directory_copy_up(int target_fd, int mount_fd)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    _cleanup_close_ int from = openat(target_fd, ".", flags);
    _cleanup_close_ int to = openat(mount_fd, ".", flags);
    return from < 0 || to < 0 ? -1 : copy_directory(from, to, 0);
}
