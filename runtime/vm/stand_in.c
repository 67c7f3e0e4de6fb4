/*
 * The monitor of a bundle as others see it. Engines take its process for the container's first one:
 * they look for its cgroup, and some join its mount namespace to copy files in and out. What they
 * find there must be the workload's, not the host's.
 */
#include "parts.h"

#include "cleanup.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

/* The workload's root directory, without its volumes, becomes the root of a new mount namespace. */
static int enter_root(const struct workload_spec *spec, struct error *err)
{
    _cleanup_free_ char *path = NULL;
    const char *root = spec->plan->root_path;
    if (asprintf(&path, "%s%s%s", *root == '/' ? "" : spec->bundle, *root == '/' ? "" : "/", root) <
        0)
        return error_set(err, EXIT_OURS, "out of memory");
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a mount namespace");
    _cleanup_close_ int tree =
        open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    struct mount_attr attributes = { .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID,
                                     .propagation = MS_PRIVATE };
    if (tree < 0 ||
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) < 0 ||
        move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(tree) < 0 ||
        syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot enter the root directory %s", path);
    return 0;
}

int stand_in(struct workload *vm, const struct workload_spec *spec, struct error *err)
{
    if (cgroup_add_process(vm->cgroup, getpid(), err) < 0)
        return -1;
    vm->held = true;
    return enter_root(spec, err);
}
