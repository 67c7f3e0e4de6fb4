/* Device nodes and symbolic links, mostly of /dev. */
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "context.h"
#include "path.h"

static bool is_device(int fd, const struct plan_device *device)
{
    struct stat status;
    return fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == (device->mode & S_IFMT) &&
           (S_ISFIFO(status.st_mode) || status.st_rdev == makedev(device->major, device->minor));
}

static int attach_node(struct sandbox *sandbox, const struct plan_device *device, int mount_fd,
                       struct error *err)
{
    _cleanup_close_ int target = path_make_file(sandbox->root_fd, device->path, err);
    if (target < 0)
        return -1;
    return path_attach(mount_fd, target) < 0
               ? sandbox_fail(err, "cannot mount the device %s", device->path)
               : 0;
}

/* Where mknod(2) is not allowed: the host's node of the same name is bound instead. */
static int bind_device(struct sandbox *sandbox, const struct plan_device *device, struct error *err)
{
    _cleanup_close_ int source =
        open_tree(AT_FDCWD, device->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (source < 0)
        return sandbox_fail(err, "cannot bind the host's %s", device->path);
    if (!is_device(source, device))
        return error_set(err, EXIT_OURS, "the host's %s is not device %u:%u", device->path,
                         device->major, device->minor);
    /* The node is the host's: what it is, and whose, is not for root in here to change. */
    if (mount_set_attributes(source, MOUNT_ATTR_RDONLY, 0, false) < 0)
        return sandbox_fail(err, "cannot bind the host's %s", device->path);
    return attach_node(sandbox, device, source, err);
}

static bool is_on_host(const struct plan_device *device)
{
    _cleanup_close_ int node = open(device->path, O_PATH | O_CLOEXEC);
    return node >= 0 && is_device(node, device);
}

/*
 * In a user namespace: what every container has is the host's, and so is what the configuration
 * lists just as the host has it; all else is as it says, unless the caller itself may not make it.
 */
static int make_for_user_namespace(struct sandbox *sandbox, const struct plan_step *step,
                                   struct error *err)
{
    const struct plan_device *device = &step->device;
    _cleanup_close_ int node = -1;
    if ((!device->standard || !is_on_host(device)) && node_take(sandbox, step, &node, err) < 0)
        return -1;
    return node < 0 ? bind_device(sandbox, device, err) : attach_node(sandbox, device, node, err);
}

/*
 * The parent directory of a path. Devices and links come in a row below /dev: the descriptor of the
 * last parent is kept as long as the plan stays there. It is the sandbox's.
 */
static int open_parent(struct sandbox *sandbox, const char *path, const char **leaf,
                       struct error *err)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (sandbox->parent_fd >= 0 && length > 0 && strlen(sandbox->parent) == length &&
        strncmp(sandbox->parent, path, length) == 0) {
        *leaf = slash + 1;
        return sandbox->parent_fd;
    }
    cleanup_close(&sandbox->parent_fd);
    sandbox->parent_fd = path_make_parent(sandbox->root_fd, path, leaf, err);
    (void)snprintf(sandbox->parent, sizeof sandbox->parent, "%.*s", (int)length, path);
    return sandbox->parent_fd;
}

/* What the image has under the name of a device: acceptable only if it is that device. */
static int accept_existing(int parent_fd, const char *leaf, const struct plan_device *device,
                           struct error *err)
{
    _cleanup_close_ int node = path_open_beneath(parent_fd, leaf, O_PATH);
    if (node >= 0 && is_device(node, device))
        return 0;
    return error_set(err, EXIT_OURS,
                     "cannot make the device %s: the image has something else there", device->path);
}

int device_make(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const struct plan_device *device = &step->device;
    if (sandbox->user_namespace && !S_ISFIFO(device->mode))
        return make_for_user_namespace(sandbox, step, err);
    const char *leaf;
    int parent = open_parent(sandbox, device->path, &leaf, err);
    if (parent < 0)
        return -1;
    if (mknodat(parent, leaf, device->mode, makedev(device->major, device->minor)) < 0) {
        if (errno == EEXIST)
            return accept_existing(parent, leaf, device, err);
        /* The rules of a cgroup above ours (podman 4.3 denies all devices to pods): the node is
         * there, whoever opens it is asked by the same rules. */
        return errno == EPERM ? bind_device(sandbox, device, err)
                              : sandbox_fail(err, "cannot make the device %s", device->path);
    }
    if ((device->uid != 0 || device->gid != 0) &&
        fchownat(parent, leaf, device->uid, device->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return sandbox_fail(err, "cannot set the owner of the device %s", device->path);
    return 0;
}

int symlink_make(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const struct plan_symlink *link = &step->symlink;
    const char *leaf;
    int parent = open_parent(sandbox, link->path, &leaf, err);
    if (parent < 0)
        return -1;
    if (symlinkat(link->target, parent, leaf) == 0 || errno == EEXIST)
        return 0; /* what the image has under that name is its own affair */
    return sandbox_fail(err, "cannot make the symbolic link %s", link->path);
}
