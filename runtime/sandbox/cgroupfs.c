/*
 * /sys/fs/cgroup as the workload sees it. On cgroup v2: one mount, whose root is the workload's own
 * cgroup (its cgroup namespace). On v1: a tmpfs with one mount for each hierarchy, as Docker does,
 * but only those in which the workload has a cgroup of its own: the others would show the host's.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "context.h"
#include "path.h"

static bool host_is_unified(void)
{
    struct statfs status;
    return statfs("/sys/fs/cgroup", &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC;
}

/* Co-mounted controllers ("cpu,cpuacct") are known by each one's own name too. */
static int link_controllers(int tmpfs_fd, const char *controllers, struct error *err)
{
    char names[128];
    (void)snprintf(names, sizeof names, "%s", controllers);
    char *rest = NULL;
    for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        if (symlinkat(controllers, tmpfs_fd, name) < 0)
            return sandbox_fail(err, "cannot link the cgroup controller %s", name);
    return 0;
}

/* In the working directory, a tmpfs of our own: mount(2) by a relative name is the shortest way
 * there. */
static int mount_hierarchy(int tmpfs_fd, const char *controllers, unsigned long flags,
                           struct error *err)
{
    bool named = strncmp(controllers, "name=", 5) == 0;
    const char *directory = named ? controllers + 5 : controllers;
    char options[128];
    (void)snprintf(options, sizeof options, "%s%s", named ? "none," : "", controllers);
    if (mkdir(directory, 0755) < 0 || mount("cgroup", directory, "cgroup", flags, options) < 0)
        return sandbox_fail(err, "cannot mount the cgroup hierarchy %s", controllers);
    return strchr(controllers, ',') ? link_controllers(tmpfs_fd, controllers, err) : 0;
}

static int mount_hierarchies(struct sandbox *sandbox, int target_fd, unsigned long flags,
                             struct error *err)
{
    const struct sandbox_request *request = sandbox->request;
    _cleanup_close_ int tmpfs =
        mount_make("tmpfs", "tmpfs", "mode=0755,size=64k", flags & ~(unsigned long)MS_RDONLY, err);
    if (tmpfs < 0)
        return -1;
    if (path_attach(tmpfs, target_fd) < 0 || fchdir(tmpfs) < 0)
        return sandbox_fail(err, "cannot mount a tmpfs for the cgroup hierarchies");
    for (size_t i = 0; i < request->task_fd_count; i++)
        if (mount_hierarchy(tmpfs, request->task_hierarchies[i], flags, err) < 0)
            return -1;
    if (chdir("/") < 0 ||
        ((flags & MS_RDONLY) && mount_set_attributes(tmpfs, MOUNT_ATTR_RDONLY, 0, false) < 0))
        return sandbox_fail(err, "cannot make the cgroup mount read-only");
    return 0;
}

int cgroupfs_mount(struct sandbox *sandbox, const struct plan_mount *mount, struct error *err)
{
    _cleanup_close_ int target = path_make_real_directory(sandbox->root_fd, mount->target, err);
    if (target < 0)
        return -1;
    if (!host_is_unified())
        return mount_hierarchies(sandbox, target, mount->flags, err);
    /* Options such as "memory_recursiveprot" belong to the one file system all share: none is
     * given. */
    _cleanup_close_ int mount_fd = mount_make("cgroup2", "cgroup", NULL, mount->flags, err);
    if (mount_fd < 0)
        return -1;
    if (path_attach(mount_fd, target) < 0)
        return sandbox_fail(err, "cannot mount on %s in the root file system", mount->target);
    return 0;
}
