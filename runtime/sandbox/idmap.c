/*
 * Mounts with ids of their own (mount_setattr(2), MOUNT_ATTR_IDMAP). The child clones them, and the
 * caller maps their ids: only who owns the file system may, which the root of a user namespace of
 * the container's own does not.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context.h"
#include "namespaces.h"

/* A process in a new user namespace, which lives only to carry the mapping. Returns 0 in it. */
static pid_t fork_into_user_namespace(void)
{
    return (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
}

static int open_user_namespace(pid_t pid, struct error *err)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? sandbox_fail(err, "cannot open %s", path) : fd;
}

/* Returns a descriptor of a user namespace with the mount's own mapping, or -1 with *err. */
static int make_user_namespace(const struct plan_mount *mount, struct error *err)
{
    pid_t pid = fork_into_user_namespace();
    if (pid < 0)
        return sandbox_fail(err, "cannot make a user namespace for the mount on %s", mount->target);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        for (;;)
            (void)pause();
    }
    const struct plan mapping = {
        .uid_maps = mount->uid_maps,
        .gid_maps = mount->gid_maps,
        .uid_map_count = mount->uid_map_count,
        .gid_map_count = mount->gid_map_count,
    };
    int fd = namespaces_write_maps(&mapping, pid, err) < 0 ? -1 : open_user_namespace(pid, err);
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return fd;
}

int idmap_set(const struct plan_mount *mount, int tree, pid_t pid, struct error *err)
{
    _cleanup_close_ int user_namespace =
        mount->uid_map_count > 0 ? make_user_namespace(mount, err) : open_user_namespace(pid, err);
    if (user_namespace < 0)
        return -1;
    struct mount_attr attributes = { .attr_set = MOUNT_ATTR_IDMAP,
                                     .userns_fd = (uint64_t)user_namespace };
    int recursive = mount->idmap_recursive ? AT_RECURSIVE : 0;
    if (mount_setattr(tree, "", AT_EMPTY_PATH | recursive, &attributes, sizeof attributes) < 0)
        return sandbox_fail(err,
                            "cannot map the ids of %s (its file system may not know how; see "
                            "mount_setattr(2))",
                            mount->source);
    return 0;
}
