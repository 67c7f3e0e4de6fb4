/*
 * Hidden and read-only paths. What hides them is prepared before the root is entered: the host's
 * /dev/null, checked to be the null device (CVE-2025-31133: the image's own may be a link to
 * anything), and an empty read-only directory.
 *
 * A node of the host's comes in by read-only mounts alone: reading and writing the device is the
 * same by these, but its mode, owner and times, which everybody on the host would have then, cannot
 * be changed by who is root in the container.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "context.h"
#include "path.h"

enum { CLONE_FLAGS = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH };

/* What is left of path at the root of a mount on `mounted`: "." for that itself; NULL: it is not
 * below. */
static const char *below(const char *path, const char *mounted)
{
    size_t length = strlen(mounted);
    if (strncmp(path, mounted, length) != 0 || (path[length] && path[length] != '/'))
        return NULL;
    path += length;
    path += strspn(path, "/");
    return *path ? path : ".";
}

/*
 * Resolves a path of the plan. /proc and /sys, and what is in them, are entered through the
 * descriptors of our own mounts: their names could have been exchanged by another workload that
 * shares the root. Returns -1 with errno.
 */
static int open_target(const struct sandbox *sandbox, const char *path)
{
    const struct {
        int fd;
        const char *mounted;
    } own[] = { { sandbox->proc_fd, "/proc" }, { sandbox->sys_fd, "/sys" } };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        const char *rest = below(path, own[i].mounted);
        if (own[i].fd >= 0 && rest)
            return path_open_real(own[i].fd, rest, O_PATH);
    }
    return path_open(sandbox->root_fd, path, O_PATH);
}

static bool is_null(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
}

static int clone_null(struct error *err)
{
    _cleanup_close_ int fd = open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0)
        return sandbox_fail(err, "cannot open the host's /dev/null");
    if (!is_null(fd))
        return error_set(err, EXIT_OURS, "the host's /dev/null is not the null device (1:3)");
    if (mount_set_attributes(fd, MOUNT_ATTR_RDONLY, 0, false) < 0)
        return sandbox_fail(err, "cannot make a mount of /dev/null read-only");
    return take_fd(&fd);
}

void sandbox_guard_null(int fd)
{
    struct error ignored;
    char path[32];
    int flags = is_null(fd) ? fcntl(fd, F_GETFL) : -1, kept = fcntl(fd, F_GETFD);
    _cleanup_close_ int mount = flags < 0 ? -1 : clone_null(&ignored);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", mount);
    _cleanup_close_ int guarded = mount < 0 ? -1 : open(path, (flags & O_ACCMODE) | O_CLOEXEC);
    if (guarded >= 0)
        (void)dup3(guarded, fd, kept & FD_CLOEXEC ? O_CLOEXEC : 0);
}

/* One that is exchanged meanwhile is not waited for, and not taken. */
static int open_own_null(const struct sandbox *sandbox, int flags)
{
    static const char path[] = "/dev/null";
    _cleanup_close_ int found = path_open(sandbox->root_fd, path, O_PATH);
    _cleanup_close_ int fd =
        found < 0 || !is_null(found) ? -1 : path_open(sandbox->root_fd, path, flags | O_NONBLOCK);
    return fd >= 0 && is_null(fd) && fcntl(fd, F_SETFL, flags) == 0 ? take_fd(&fd) : -1;
}

void null_settle(const struct sandbox *sandbox)
{
    for (int stream = 0; stream < 3; stream++) {
        int flags = is_null(stream) ? fcntl(stream, F_GETFL) : -1;
        _cleanup_close_ int own = flags < 0 ? -1 : open_own_null(sandbox, flags & O_ACCMODE);
        if (own >= 0)
            (void)dup2(own, stream); /* it has a right one in any case */
    }
}

static int open_empty(const struct sandbox *sandbox, struct error *err)
{
    _cleanup_close_ int fd =
        open_tree(sandbox->workshop_fd, "empty", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0 || mount_set_attributes(fd, MOUNT_ATTR_RDONLY, 0, false) < 0)
        return sandbox_fail(err, "cannot make an empty read-only directory");
    return take_fd(&fd);
}

int mask_prepare(struct sandbox *sandbox, struct error *err)
{
    sandbox->null_fd = clone_null(err);
    if (sandbox->null_fd < 0)
        return -1;
    sandbox->empty_fd = open_empty(sandbox, err);
    return sandbox->empty_fd < 0 ? -1 : 0;
}

/*
 * Mounts `cover` the first time, and clones of it later: a detached mount can be cloned only from
 * Linux 6.15 on, an attached one always.
 */
static int attach_cover(int cover, bool *used, int target)
{
    if (!*used) {
        *used = true;
        return path_attach(cover, target);
    }
    _cleanup_close_ int clone = open_tree(cover, "", CLONE_FLAGS);
    return clone < 0 ? -1 : path_attach(clone, target);
}

int mask_path(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    _cleanup_close_ int target = open_target(sandbox, step->path);
    if (target < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0; /* nothing to hide: lists name what some kernels have */
    struct stat status;
    if (target < 0 || fstat(target, &status) < 0)
        return sandbox_fail(err, "cannot hide %s", step->path);
    int result = S_ISDIR(status.st_mode)
                     ? attach_cover(sandbox->empty_fd, &sandbox->empty_used, target)
                     : attach_cover(sandbox->null_fd, &sandbox->null_used, target);
    return result < 0 ? sandbox_fail(err, "cannot hide %s", step->path) : 0;
}

int path_make_readonly(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    _cleanup_close_ int target = open_target(sandbox, step->path);
    if (target < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    _cleanup_close_ int tree = target < 0 ? -1 : open_tree(target, "", CLONE_FLAGS | AT_RECURSIVE);
    if (tree < 0 || mount_set_attributes(tree, MOUNT_ATTR_RDONLY, 0, true) < 0 ||
        path_attach(tree, target) < 0)
        return sandbox_fail(err, "cannot make %s read-only", step->path);
    return 0;
}
