/*
 * Devices for a container in a user namespace. Its own root may make none, and none of a file
 * system of its own would work: the caller makes each that is not the host's in a tmpfs of the
 * host's, for the ids that the namespace maps its owner to. Specification: runtime-spec 1.2,
 * config-linux.md, "Devices".
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "context.h"
#include "path.h"

/* The name of the one node that is in each. */
#define NODE "node"

/* What the process's user namespace calls `id`, as it is called here. name: uid_map or gid_map. */
static int find_id(pid_t pid, const char *name, uint32_t id, uint32_t *found, struct error *err)
{
    char path[64];
    unsigned int inside, outside, size;
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    _cleanup_fclose_ FILE *map = fopen(path, "re");
    if (!map)
        return sandbox_fail(err, "cannot read the id mapping (%s)", name);
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers, of 32 bits */
    while (fscanf(map, "%u %u %u", &inside, &outside, &size) == 3)
        if (id >= inside && id - inside < size) {
            *found = outside + (id - inside);
            return 0;
        }
    return error_set(err, EXIT_OURS, "the user namespace has no id %u (%s)", id, name);
}

/*
 * How the host has it: not at all, with another owner or mode, or just as it is listed. An engine
 * that is told to pass on a device of the host's copies what it finds there, ids included, and
 * means that node: to root of the container it is somebody else's.
 */
static enum likeness { OTHER, SAME_DEVICE, SAME_NODE } compare(const struct plan_device *device)
{
    struct stat status;
    if (stat(device->path, &status) < 0 || (status.st_mode & S_IFMT) != (device->mode & S_IFMT) ||
        status.st_rdev != makedev(device->major, device->minor))
        return OTHER;
    return status.st_mode == device->mode && status.st_uid == device->uid &&
                   status.st_gid == device->gid
               ? SAME_NODE
               : SAME_DEVICE;
}

int node_make(const struct plan *plan, const struct plan_device *device, pid_t pid, int *mount_fd,
              struct error *err)
{
    uint32_t uid = 0, gid = 0;
    struct error why;
    const enum likeness host = compare(device);
    *mount_fd = -1;
    if (host == SAME_NODE)
        return 0;
    _cleanup_close_ int made = mount_make("tmpfs", "node", "size=4k,mode=755",
                                          MS_NOSUID | MS_NOEXEC, label_in_use(plan), err);
    if (made < 0)
        return -1;
    if (mknodat(made, NODE, device->mode, makedev(device->major, device->minor)) < 0)
        return errno == EPERM ? 0 : sandbox_fail(err, "cannot make the device %s", device->path);
    if (find_id(pid, "uid_map", device->uid, &uid, &why) < 0 ||
        find_id(pid, "gid_map", device->gid, &gid, &why) < 0)
        return host == SAME_DEVICE
                   ? 0
                   : error_set(err, EXIT_OURS, "cannot set the owner of the device %s: %s",
                               device->path, why.message);
    if (fchownat(made, NODE, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(made, NODE, device->mode & 07777, 0) < 0)
        return sandbox_fail(err, "cannot set the owner of the device %s", device->path);
    *mount_fd = take_fd(&made);
    return 0;
}

/* Of a mount that is nowhere no part can be cloned: it is attached for that, and taken off again.
 */
static int clone_node(const struct sandbox *sandbox, int mount_fd)
{
    static const char name[] = "stage";
    char place[64];
    (void)snprintf(place, sizeof place, "/proc/self/fd/%d/%s", sandbox->workshop_fd, name);
    if (mkdirat(sandbox->workshop_fd, name, 0755) < 0 && errno != EEXIST)
        return -1;
    _cleanup_close_ int target =
        openat(sandbox->workshop_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (target < 0 || path_attach(mount_fd, target) < 0)
        return -1;
    int node = open_tree(mount_fd, NODE, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    int cause = errno;
    (void)umount2(place, MNT_DETACH);
    errno = cause;
    return node;
}

int node_take(struct sandbox *sandbox, const struct plan_step *step, int *node_fd,
              struct error *err)
{
    const uint32_t number = (uint32_t)(step - sandbox->plan->steps);
    _cleanup_close_ int given = -1;
    *node_fd = -1;
    if (child_ask(sandbox, SANDBOX_NODE, number, NULL, &given) < 0)
        return sandbox_fail(err, "cannot ask for the device %s", step->device.path);
    if (given >= 0)
        *node_fd = clone_node(sandbox, given);
    return given < 0 || *node_fd >= 0
               ? 0
               : sandbox_fail(err, "cannot take the device %s over", step->device.path);
}
