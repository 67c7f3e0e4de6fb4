/*
 * /sys/fs/cgroup as the workload sees it. On cgroup v2: one mount, whose root is the workload's own
 * cgroup (its cgroup namespace). On v1: a tmpfs with one mount for each hierarchy, as Docker does,
 * but only those in which the workload has a cgroup of its own: the others would show the host's.
 *
 * Without a cgroup namespace a mount would show the host's whole hierarchy: the workload's own
 * directory is bound instead.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sched.h>
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

static bool has_namespace(const struct sandbox *sandbox)
{
    const struct plan_namespaces *namespaces = &sandbox->plan->namespaces;
    return (namespaces->create & CLONE_NEWCGROUP) || namespaces->path[PLAN_NS_CGROUP];
}

/* Binds the workload's own directory of a hierarchy ("" on v2) onto target_fd. */
static int bind_own(const struct sandbox *sandbox, const char *hierarchy, int target_fd,
                    unsigned long flags)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", hierarchy,
                          sandbox->request->cgroup_name);
    if (length < 0 || (size_t)length >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    _cleanup_close_ int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0 || mount_set_attributes(tree, mount_attributes(flags), 0, false) < 0)
        return -1;
    return path_attach(tree, target_fd);
}

/* In the working directory, a tmpfs of our own: mount(2) by a relative name is the shortest way
 * there. */
static int mount_hierarchy(const struct sandbox *sandbox, int tmpfs_fd, const char *controllers,
                           unsigned long flags, struct error *err)
{
    bool named = strncmp(controllers, "name=", 5) == 0;
    const char *directory = named ? controllers + 5 : controllers;
    char options[128];
    (void)snprintf(options, sizeof options, "%s%s", named ? "none," : "", controllers);
    int result = mkdir(directory, 0755);
    if (result == 0 && has_namespace(sandbox)) {
        result = mount("cgroup", directory, "cgroup", flags, options);
    } else if (result == 0) {
        _cleanup_close_ int target = openat(tmpfs_fd, directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        result = target < 0 ? -1 : bind_own(sandbox, directory, target, flags);
    }
    if (result < 0)
        return sandbox_fail(err, "cannot mount the cgroup hierarchy %s", controllers);
    return strchr(controllers, ',') ? link_controllers(tmpfs_fd, controllers, err) : 0;
}

static int mount_hierarchies(const struct sandbox *sandbox, int target_fd, unsigned long flags,
                             struct error *err)
{
    const struct sandbox_request *request = sandbox->request;
    _cleanup_close_ int tmpfs =
        mount_make("tmpfs", "tmpfs", "mode=0755,size=64k", flags & ~(unsigned long)MS_RDONLY,
                   label_option(sandbox, "tmpfs"), err);
    if (tmpfs < 0)
        return -1;
    /* Relative sources of the mounts that follow begin there. */
    _cleanup_close_ int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (back < 0 || path_attach(tmpfs, target_fd) < 0 || fchdir(tmpfs) < 0)
        return sandbox_fail(err, "cannot mount a tmpfs for the cgroup hierarchies");
    for (size_t i = 0; i < request->task_fd_count; i++)
        if (mount_hierarchy(sandbox, tmpfs, request->task_hierarchies[i], flags, err) < 0)
            return -1;
    if (fchdir(back) < 0 ||
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
    const struct sandbox_request *request = sandbox->request;
    if (request->cgroup_fd < 0 && !request->cgroup_name)
        return error_set(
            err, EXIT_OURS,
            "cannot mount cgroups on %s: without a cgroup of its own the container would "
            "see the host's",
            mount->target);
    if (!has_namespace(sandbox))
        return bind_own(sandbox, "", target, mount->flags) < 0
                   ? sandbox_fail(err, "cannot bind the cgroup %s on %s", request->cgroup_name,
                                  mount->target)
                   : 0;
    /* Options such as "memory_recursiveprot" belong to the one file system all share: none is
     * given. */
    _cleanup_close_ int mount_fd = mount_make("cgroup2", "cgroup", NULL, mount->flags, NULL, err);
    if (mount_fd < 0)
        return -1;
    if (path_attach(mount_fd, target) < 0)
        return sandbox_fail(err, "cannot mount on %s in the root file system", mount->target);
    return 0;
}
