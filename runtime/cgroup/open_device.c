/*
 * Devices that hybrid itself needs, for a machine, for layers and /dev/null for streams, where the
 * rules of the cgroup that it is in deny them: an engine's rules for a workload, which podman 4.3
 * on v2 sets for a whole pod, and conmon and the monitor are in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "hierarchy.h"

/* The `tasks` file of the root of v1's devices, or -1. */
static int open_v1_tasks(void)
{
    char options[CGROUP_OPTIONS_SIZE];
    int root;
    for (size_t n = 0; (root = hierarchy_open_v1(n, options)) != -2; n++) {
        _cleanup_close_ int root_fd = root;
        if (root_fd >= 0 && hierarchy_has(options, "devices"))
            return openat(root_fd, "tasks", O_WRONLY | O_CLOEXEC);
    }
    return -1;
}

/* What a child does there, whose descriptors are the parent's too: only system calls. Returns 0, or
 * an errno. */
struct errand {
    int (*carry_out)(const struct errand *errand);
    const char *path, *target, *type; /* the last two are of a mount */
    unsigned long flags;              /* of open(2), or of mount(2) */
    int number;                       /* at which a descriptor is put */
};

static int open_for_parent(const struct errand *errand)
{
    int fd = open(errand->path, (int)errand->flags | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int placed = dup3(fd, errand->number, O_CLOEXEC);
    int cause = errno;
    (void)close(fd);
    return placed < 0 ? cause : 0;
}

static int mount_for_parent(const struct errand *errand)
{
    return mount(errand->path, errand->target, errand->type, errand->flags, NULL) < 0 ? errno : 0;
}

static int leave_and_carry_out(const struct errand *errand, int tasks)
{
    if (tasks >= 0 && write(tasks, "0", 1) < 0)
        return errno;
    return errand->carry_out(errand);
}

/*
 * An errand of a child that is born in the root of v2, and goes to that of v1's devices. Returns 0,
 * or -1 with errno.
 */
static int send_to_root(const struct errand *errand)
{
    _cleanup_close_ int tasks = open_v1_tasks();
    _cleanup_close_ int v2_root = hierarchy_open_any_v2();
    /* Without a signal at its end, which a caller that ignores SIGCHLD would not let us wait for.
     */
    struct clone_args arguments = { .flags = CLONE_FILES };
    if (v2_root >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (uint64_t)v2_root;
    }
    int status = -1;
    pid_t pid =
        tasks < 0 && v2_root < 0 ? -1 : (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0)
        _exit(leave_and_carry_out(errand, tasks));
    while (pid > 0 && waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
        ;
    errno = pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
    return errno == 0 ? 0 : -1;
}

/* Rules are asked when a device is opened and never again, so the descriptor is all that is needed.
 * Returns it, or -1. */
static int open_in_root(const char *path, int flags)
{
    _cleanup_close_ int fd = open("/", O_PATH | O_CLOEXEC); /* the number at which it is put */
    const struct errand errand = {
        .carry_out = open_for_parent, .path = path, .flags = (unsigned int)flags, .number = fd
    };
    return fd < 0 || send_to_root(&errand) < 0 ? -1 : take_fd(&fd);
}

int cgroup_open_device(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd >= 0 || errno != EPERM)
        return fd;
    fd = open_in_root(path, flags);
    if (fd < 0)
        errno = EPERM;
    return fd;
}

int cgroup_mount_device(const char *device, const char *target, const char *type,
                        unsigned long flags)
{
    const struct errand errand = { .carry_out = mount_for_parent,
                                   .path = device,
                                   .target = target,
                                   .type = type,
                                   .flags = flags };
    if (mount(device, target, type, flags, NULL) == 0)
        return 0;
    return errno == EPERM ? send_to_root(&errand) : -1;
}
