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

/* Where the link leads whose name is the first `length` bytes of path, and the rest behind it.
 * malloc'd; NULL with errno. */
static char *replace_link(int link_fd, const char *path, size_t length)
{
    char target[PATH_MAX], *result = NULL;
    ssize_t n = readlinkat(link_fd, "", target, sizeof target - 1);
    if (n <= 0)
        return NULL;
    target[n] = '\0';
    size_t parent = length; /* of what a relative link begins with */
    while (*target != '/' && parent > 0 && path[parent - 1] != '/')
        parent--;
    if (asprintf(&result, "%.*s%s%s", *target == '/' ? 0 : (int)parent, path, target,
                 path + length) < 0)
        return NULL;
    return result;
}

/*
 * Looks for the first symbolic link on the way whose target is missing. Returns path with it
 * replaced, malloc'd; NULL with errno 0: there is none; NULL with another errno.
 */
static char *replace_dangling(int root_fd, const char *path)
{
    for (size_t length = strspn(path, "/"); path[length]; length += strspn(path + length, "/")) {
        length += strcspn(path + length, "/");
        _cleanup_free_ char *prefix = strndup(path, length);
        _cleanup_close_ int fd = prefix ? path_open(root_fd, prefix, O_PATH | O_NOFOLLOW) : -1;
        _cleanup_close_ int target = fd < 0 ? -1 : path_open(root_fd, prefix, O_PATH);
        if (fd < 0 && errno != ENOENT)
            return NULL;
        if (fd < 0)
            break;
        if (target < 0)
            return errno == ENOENT ? replace_link(fd, path, length) : NULL;
    }
    errno = 0;
    return NULL;
}

/*
 * What is to be made at `path` in the end: an image may have /etc/resolv.conf as a link to what is
 * made at run time. Every step is resolved inside the root. malloc'd; NULL with errno.
 */
static char *follow_dangling(int root_fd, const char *path)
{
    enum { MOST_LINKS = 40 }; /* as in the kernel */
    char *current = strdup(path);
    for (int i = 0; current && i < MOST_LINKS; i++) {
        char *next = replace_dangling(root_fd, current);
        if (!next && errno == 0)
            return current;
        free(current);
        current = next;
    }
    if (current)
        errno = ELOOP;
    free(current);
    return NULL;
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

/* What mostly is missing: the last part of the path alone, and no link is called so. -1: it is
 * something else. */
static int make_last(int root_fd, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *leaf = slash ? slash + 1 : path;
    if (*leaf == '\0' || strcmp(leaf, ".") == 0 || strcmp(leaf, "..") == 0)
        return -1;
    _cleanup_free_ char *parent = leaf > path ? strndup(path, (size_t)(leaf - path)) : strdup("/");
    _cleanup_close_ int fd = parent ? path_open(root_fd, parent, O_PATH | O_DIRECTORY) : -1;
    return fd < 0 || mkdirat(fd, leaf, 0755) < 0 ? -1 : make_component(fd, leaf);
}

int path_make_directory(int root_fd, const char *path, struct error *err)
{
    int fd = path_open(root_fd, path, O_PATH | O_DIRECTORY);
    if (fd < 0 && errno == ENOENT) {
        fd = make_last(root_fd, path);
        _cleanup_free_ char *copy = fd < 0 ? follow_dangling(root_fd, path) : NULL;
        if (copy)
            fd = make_directories(root_fd, copy);
    }
    return fd < 0 ? explain(path, "make the directory", err) : fd;
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

/* Makes the file, and its parents if need be. *exists: something of that name is there that could
 * not be opened, such as a link that leads nowhere. Returns an O_PATH descriptor, or -1 with *err.
 */
static int make_file(int root_fd, const char *path, bool *exists, struct error *err)
{
    const char *leaf;
    _cleanup_close_ int parent = path_make_parent(root_fd, path, &leaf, err);
    *exists = false;
    if (parent < 0)
        return -1;
    _cleanup_close_ int made =
        openat(parent, leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    *exists = made < 0 && errno == EEXIST;
    int fd = made < 0 && !*exists ? -1 : path_open_beneath(parent, leaf, O_PATH);
    return fd < 0 ? explain(path, "make the file", err) : fd;
}

int path_make_file(int root_fd, const char *path, struct error *err)
{
    int fd = path_open(root_fd, path, O_PATH);
    bool exists = false;
    if (fd < 0 && errno != ENOENT)
        return explain(path, "make the file", err);
    if (fd < 0)
        fd = make_file(root_fd, path, &exists, err);
    if (fd < 0 && exists) {
        _cleanup_free_ char *real = follow_dangling(root_fd, path);
        if (!real)
            return explain(path, "make the file", err);
        fd = make_file(root_fd, real, &exists, err);
    }
    if (fd < 0)
        return -1;
    struct stat status;
    if (fstat(fd, &status) == 0 && !S_ISDIR(status.st_mode))
        return fd;
    (void)close(fd);
    /* In mount(2)'s own words: dockerd adds advice to them, and takes "is a directory" for what is
     * said of the command. */
    return error_set(err, EXIT_OURS,
                     "cannot mount a file on %s, where the image has a directory: %s", path,
                     strerror(ENOTDIR));
}

int path_attach(int mount_fd, int target_fd)
{
    return move_mount(mount_fd, "", target_fd, "",
                      MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}
