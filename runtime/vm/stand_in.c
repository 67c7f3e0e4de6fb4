/*
 * The monitor of a bundle as others see it. Engines take its process for the container's first one:
 * they look for its cgroup, they configure the network that it is in, and some join its mount
 * namespace to copy files in and out. What they find there must be the workload's, not the host's.
 */
#include "parts.h"

#include "cleanup.h"
#include "runtime/sandbox/sandbox.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* The one that the bundle names, or a new one. */
static int enter_network(const struct plan *plan, struct error *err)
{
    const char *path = plan->namespaces.path[PLAN_NS_NETWORK];
    if (path)
        return network_enter(path, err);
    if (unshare(CLONE_NEWNET) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a network namespace");
    return 0;
}

/* Not the root of its mount namespace, where we were started with another one; that is where setns
 * leads to. */
static int open_root(void)
{
    return open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Makes a mount namespace, and keeps the way out of it and back. */
static int leave_mounts(struct stand_in *stand_in, struct error *err)
{
    static const char MOUNTS[] = "/proc/self/ns/mnt";
    stand_in->host_mounts = open(MOUNTS, O_RDONLY | O_CLOEXEC);
    stand_in->host_root = open_root();
    if (stand_in->host_mounts < 0 || stand_in->host_root < 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a mount namespace");
    stand_in->own_mounts = open(MOUNTS, O_RDONLY | O_CLOEXEC);
    if (stand_in->own_mounts < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s", MOUNTS);
    return 0;
}

/* The workload's root directory, without its volumes, becomes the root of the mount namespace. */
static int enter_root(struct stand_in *stand_in, const struct workload_spec *spec,
                      struct error *err)
{
    _cleanup_free_ char *path = NULL;
    const char *root = spec->plan->root_path;
    if (asprintf(&path, "%s%s%s", *root == '/' ? "" : spec->bundle, *root == '/' ? "" : "/", root) <
        0)
        return error_set(err, EXIT_OURS, "out of memory");
    _cleanup_close_ int tree = sandbox_clone_tree(path, spec->plan->root_resolved, true);
    struct mount_attr attributes = { .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID,
                                     .propagation = MS_PRIVATE };
    if (tree < 0 ||
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) < 0 ||
        move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(tree) < 0 ||
        syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0 ||
        (stand_in->own_root = open_root()) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot enter the root directory %s", path);
    return 0;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Whether no program is looked for in the file's directory: engines mount their files there. */
static bool is_no_program(const char *path)
{
    static const char *const directories[] = { "/etc/", "/run/", "/run/secrets/" };
    size_t length = (size_t)(last_part(path) - path);
    for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++)
        if (strlen(directories[i]) == length && strncmp(directories[i], path, length) == 0)
            return true;
    return false;
}

/*
 * Whether a mount can bring the command: under its own name, or what a symbolic link of that name
 * leads to. To be called on the host's files.
 */
static bool brings_command(const struct plan_mount *mount, const char *command)
{
    static const char *const empty[] = { "proc",   "sysfs",   "devpts", "mqueue",
                                         "cgroup", "cgroup2", "tmpfs" };
    struct stat status;
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++)
        if (strcmp(mount->type, empty[i]) == 0)
            return false;
    if (strncmp(mount->target, "/dev/", 5) == 0) /* /dev/shm of podman */
        return strncmp(command, "/dev/", 5) == 0;
    bool file = mount->source && *mount->source == '/' && stat(mount->source, &status) == 0 &&
                S_ISREG(status.st_mode);
    return !file || !is_no_program(mount->target) ||
           strcmp(last_part(mount->target), last_part(command)) == 0;
}

/* The command as the root directory alone can have it; NULL: mounts, or the guest, may know one. */
static const char *command_of_root(const struct plan *plan)
{
    const struct plan_step *last = plan->step_count ? &plan->steps[plan->step_count - 1] : NULL;
    if (!last || last->kind != PLAN_EXEC || !last->exec.argv || !last->exec.argv[0])
        return NULL;
    const char *command = last->exec.argv[0];
    if (*command != '/' && strchr(command, '/')) /* relative to a directory that may be mounted */
        return NULL;
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind == PLAN_MOUNT && brings_command(&plan->steps[i].mount, command))
            return NULL;
    return command;
}

/* Some engines know a command that does not exist by what create says of it, not by start. */
static int check_command(const struct plan *plan, struct error *err)
{
    struct error why = { 0 };
    if (sandbox_check_command(plan, &why) == 0 || why.exit_code != EXIT_NOT_FOUND)
        return 0;
    *err = why;
    return -1;
}

int stand_in_begin(struct workload *vm, const struct workload_spec *spec, struct error *err)
{
    const char *command = command_of_root(spec->plan);
    if (cgroup_add_process(vm->cgroup, getpid(), err) < 0)
        return -1;
    vm->held = true;
    if (cgroup_settle(vm->cgroup, err) < 0 || enter_network(spec->plan, err) < 0 ||
        leave_mounts(&vm->stand_in, err) < 0 || enter_root(&vm->stand_in, spec, err) < 0)
        return -1;
    return command ? check_command(spec->plan, err) : 0;
}

static int move_to(int mounts, int root)
{
    return setns(mounts, CLONE_NEWNS) < 0 || fchdir(root) < 0 || chroot(".") < 0 ? -1 : 0;
}

int stand_in_leave(struct workload *vm, struct error *err)
{
    if (move_to(vm->stand_in.host_mounts, vm->stand_in.host_root) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot leave the root directory of %s",
                               vm->id);
    return 0;
}

int stand_in_return(struct workload *vm, struct error *err)
{
    int result = move_to(vm->stand_in.own_mounts, vm->stand_in.own_root);
    if (result < 0)
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot enter the root directory of %s",
                              vm->id);
    stand_in_close(&vm->stand_in); /* there is no way out any more */
    return result;
}

void stand_in_close(struct stand_in *stand_in)
{
    cleanup_close(&stand_in->host_mounts);
    cleanup_close(&stand_in->host_root);
    cleanup_close(&stand_in->own_mounts);
    cleanup_close(&stand_in->own_root);
    *stand_in = (struct stand_in){ -1, -1, -1, -1 };
}
