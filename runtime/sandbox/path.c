#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"

static int open_resolved(int directory_fd, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = { .flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
                            .resolve = resolve };
    /* EAGAIN: a rename or mount happened somewhere while `..` was resolved; the kernel could not be
     * sure. */
    for (int attempts = 0; attempts < 128; attempts++) {
        long fd = syscall(SYS_openat2, directory_fd, path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN)
            return (int)fd;
    }
    return -1;
}

int path_open(int root_fd, const char *path, int flags)
{
    return open_resolved(root_fd, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int path_open_real(int root_fd, const char *path, int flags)
{
    return open_resolved(root_fd, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
}

int path_open_straight(const char *path, int flags)
{
    return open_resolved(AT_FDCWD, path, flags, RESOLVE_NO_SYMLINKS);
}

int path_open_beneath(int directory_fd, const char *path, int flags)
{
    return open_resolved(directory_fd, path, flags,
                         RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}

/* Makes one directory below parent_fd, unless it is there, and opens it; a link is not followed. */
static int make_component(int parent_fd, const char *name)
{
    if (strcmp(name, "..") == 0) {
        errno = ENOENT; /* what is made has no `..` in its name */
        return -1;
    }
    if (mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST)
        return -1;
    return open_resolved(parent_fd, name, O_PATH | O_DIRECTORY,
                         RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

/*
 * Walks `path` from the root. As long as directories exist, each prefix is resolved inside the root
 * (links included); from the first that is missing, directories are made below the descriptor held
 * last. Changes path.
 */
static int make_directories(int root_fd, char *path)
{
    _cleanup_close_ int at = path_open(root_fd, "/", O_PATH | O_DIRECTORY);
    bool making = false;
    for (char *name = path; at >= 0;) {
        name += strspn(name, "/");
        if (*name == '\0')
            break;
        char *end = name + strcspn(name, "/");
        char saved = *end;
        *end = '\0';
        int next = -1;
        if (!making)
            next = path_open(root_fd, path, O_PATH | O_DIRECTORY);
        if (next < 0 && (making || errno == ENOENT) && strcmp(name, ".") != 0) {
            next = make_component(at, name);
            making = true;
        } else if (next < 0 && making) {
            next = take_fd(&at); /* "." */
        }
        *end = saved;
        if (at >= 0)
            (void)close(at);
        at = next;
        name = end;
    }
    return take_fd(&at);
}

static int explain(const char *path, const char *what, struct error *err)
{
    const char *hint =
        errno == ELOOP   ? " (it leads through a symbolic link that may not be followed)"
        : errno == EROFS ? " (the root file system is read-only: have it in the image)"
                         : "";
    int cause = errno;
    return error_set(err, EXIT_OURS, "cannot %s %s in the root file system: %s%s", what, path,
                     strerror(cause), hint);
}

int path_make_directory(int root_fd, const char *path, struct error *err)
{
    int fd = path_open(root_fd, path, O_PATH | O_DIRECTORY);
    if (fd >= 0)
        return fd;
    if (errno == ENOENT) {
        _cleanup_free_ char *copy = strdup(path);
        fd = copy ? make_directories(root_fd, copy) : -1;
        if (fd >= 0)
            return fd;
    }
    return explain(path, "make the directory", err);
}

int path_make_real_directory(int root_fd, const char *path, struct error *err)
{
    int fd = path_open_real(root_fd, path, O_PATH | O_DIRECTORY);
    if (fd >= 0)
        return fd;
    if (errno == ENOENT) {
        _cleanup_close_ int made = path_make_directory(root_fd, path, err);
        if (made < 0)
            return -1;
        fd = path_open_real(root_fd, path, O_PATH | O_DIRECTORY);
        if (fd >= 0)
            return fd;
    }
    if (errno == ELOOP || errno == ENOTDIR)
        return error_set(
            err, EXIT_OURS,
            "refusing to mount on %s: the image has something else than a real directory there",
            path);
    return explain(path, "open", err);
}

int path_make_parent(int root_fd, const char *path, const char **leaf, struct error *err)
{
    const char *slash = strrchr(path, '/');
    *leaf = slash ? slash + 1 : path;
    if (**leaf == '\0' || strcmp(*leaf, ".") == 0 || strcmp(*leaf, "..") == 0)
        return error_set(err, EXIT_OURS, "\"%s\" does not name a file", path);
    _cleanup_free_ char *parent = strndup(path, (size_t)(*leaf - path));
    if (!parent)
        return error_set(err, EXIT_OURS, "out of memory");
    return path_make_directory(root_fd, *parent ? parent : "/", err);
}

int path_make_file(int root_fd, const char *path, struct error *err)
{
    int fd = path_open(root_fd, path, O_PATH);
    if (fd < 0 && errno == ENOENT) {
        const char *leaf;
        _cleanup_close_ int parent = path_make_parent(root_fd, path, &leaf, err);
        if (parent < 0)
            return -1;
        int made = openat(parent, leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (made >= 0)
            (void)close(made);
        fd = path_open_beneath(parent, leaf, O_PATH);
    }
    if (fd < 0)
        return explain(path, "make the file", err);
    struct stat status;
    if (fstat(fd, &status) == 0 && !S_ISDIR(status.st_mode))
        return fd;
    (void)close(fd);
    return error_set(err, EXIT_OURS, "cannot mount a file on %s: it is a directory in the image",
                     path);
}

int path_attach(int mount_fd, int target_fd)
{
    return move_mount(mount_fd, "", target_fd, "",
                      MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}
