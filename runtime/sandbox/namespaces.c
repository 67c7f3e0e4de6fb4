#include "namespaces.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "context.h"
#include "io.h"

/* A user namespace first: it gives the right to join what it owns. The mount namespace last. */
static const struct {
    enum plan_namespace index;
    int flag;
    const char *name;
} namespace_table[] = {
    /* Time first: it is made by hybrid, and so belongs to the user namespace of the host. */
    { PLAN_NS_TIME, CLONE_NEWTIME, "time" },      { PLAN_NS_USER, CLONE_NEWUSER, "user" },
    { PLAN_NS_NETWORK, CLONE_NEWNET, "network" }, { PLAN_NS_IPC, CLONE_NEWIPC, "ipc" },
    { PLAN_NS_UTS, CLONE_NEWUTS, "uts" },         { PLAN_NS_CGROUP, CLONE_NEWCGROUP, "cgroup" },
    { PLAN_NS_MOUNT, CLONE_NEWNS, "mount" },
};

enum { NAMESPACE_COUNT = sizeof namespace_table / sizeof *namespace_table };

/*
 * What unshare(2) has to make later: the cgroup namespace after the v1 hierarchies are joined,
 * since its root is the cgroup of that moment.
 */
static int made_later(const struct sandbox_request *request)
{
    const struct plan_namespaces *namespaces = &request->plan->namespaces;
    return request->task_fd_count > 0 ? namespaces->create & CLONE_NEWCGROUP : 0;
}

uint64_t namespaces_at_birth(const struct sandbox_request *request)
{
    if (request->join_pidfd >= 0)
        return 0;
    /* A time namespace is the child's by birth already: namespaces_prepare made it. */
    return (uint64_t)(unsigned int)(request->plan->namespaces.create & ~made_later(request) &
                                    ~CLONE_NEWTIME);
}

bool namespaces_have_user(const struct sandbox_request *request)
{
    const struct plan_namespaces *namespaces = &request->plan->namespaces;
    return (namespaces->create & CLONE_NEWUSER) || namespaces->path[PLAN_NS_USER];
}

bool namespaces_join_early(const struct sandbox_request *request)
{
    const struct plan_namespaces *namespaces = &request->plan->namespaces;
    if (request->join_pidfd >= 0 || !namespaces_have_user(request))
        return false;
    for (int i = 0; i < NAMESPACES_MAX; i++)
        if (namespaces->path[i] && i != PLAN_NS_MOUNT)
            return true;
    return false;
}

/* The enum plan_namespace that a step needs for itself; -1: none. */
static int namespace_of(const struct plan_step *step)
{
    switch (step->kind) {
    case PLAN_HOSTNAME:
    case PLAN_DOMAINNAME:
        return PLAN_NS_UTS;
    case PLAN_SYSCTL:
        if (strncmp(step->sysctl.key, "net.", 4) == 0)
            return PLAN_NS_NETWORK;
        return strcmp(step->sysctl.key, "kernel.domainname") == 0 ? PLAN_NS_UTS : PLAN_NS_IPC;
    case PLAN_MOUNT:
        return strncmp(step->mount.type, "cgroup", 6) == 0 ? PLAN_NS_CGROUP : -1;
    default:
        return -1;
    }
}

/* In /proc/PID/ns. */
static const char *const namespace_files[NAMESPACES_MAX] = {
    [PLAN_NS_PID] = "pid",       [PLAN_NS_NETWORK] = "net", [PLAN_NS_MOUNT] = "mnt",
    [PLAN_NS_IPC] = "ipc",       [PLAN_NS_UTS] = "uts",     [PLAN_NS_USER] = "user",
    [PLAN_NS_CGROUP] = "cgroup", [PLAN_NS_TIME] = "time",
};

static bool is_namespace_of(const char *process, int index, const struct stat *opened)
{
    char name[32];
    struct stat theirs;
    (void)snprintf(name, sizeof name, "/proc/%s/ns/%s", process, namespace_files[index]);
    return stat(name, &theirs) == 0 && theirs.st_ino == opened->st_ino &&
           theirs.st_dev == opened->st_dev;
}

/* Whether the namespace belongs to that user namespace (a descriptor; -1: none). */
static bool is_owned_by(int fd, int user)
{
    struct stat opened, wanted;
    _cleanup_close_ int owner = user < 0 ? -1 : ioctl(fd, NS_GET_USERNS);
    return owner >= 0 && fstat(owner, &opened) == 0 && fstat(user, &wanted) == 0 &&
           opened.st_ino == wanted.st_ino && opened.st_dev == wanted.st_dev;
}

int namespaces_join_first(const struct sandbox_request *request,
                          const struct namespaces_joined *joined, struct error *err)
{
    const char *const *paths = request->plan->namespaces.path;
    int user = joined->fds[PLAN_NS_USER];
    if (joined->fds[PLAN_NS_PID] >= 0 && setns(joined->fds[PLAN_NS_PID], CLONE_NEWPID) < 0)
        return sandbox_fail(err, "cannot join the pid namespace %s", paths[PLAN_NS_PID]);
    for (int i = 0; i < NAMESPACE_COUNT; i++) {
        enum plan_namespace index = namespace_table[i].index;
        if (index == PLAN_NS_USER || index == PLAN_NS_MOUNT || joined->fds[index] < 0)
            continue;
        /*
         * With nsdelegate, nobody in it is moved into a cgroup that is not below its root, as the
         * child is at birth: where the child can join it by itself, it does so afterwards.
         */
        if (index == PLAN_NS_CGROUP && is_owned_by(joined->fds[index], user))
            continue;
        /* What is refused here, namespaces_enter tries again with the user namespace's rights. */
        (void)setns(joined->fds[index], namespace_table[i].flag);
    }
    if (user < 0 || setns(user, CLONE_NEWUSER) == 0)
        return 0;
    struct stat opened; /* the own one cannot be joined, and need not */
    int cause = errno;
    if (fstat(user, &opened) == 0 && is_namespace_of("self", PLAN_NS_USER, &opened))
        return 0;
    errno = cause;
    return sandbox_fail(err, "cannot join the user namespace %s", paths[PLAN_NS_USER]);
}

/* Whether it is the caller's own, or that of the first process that the caller sees. */
static bool is_hosts(int fd, int index)
{
    struct stat opened;
    return fstat(fd, &opened) < 0 || is_namespace_of("self", index, &opened) ||
           is_namespace_of("1", index, &opened);
}

/* What the plan would do to the host's namespace of this kind; NULL: nothing. */
static const struct plan_step *step_in(const struct plan *plan, int index)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        int own = namespace_of(&plan->steps[i]); /* -1: of none */
        if (own >= 0 && own == index)
            return &plan->steps[i];
    }
    return NULL;
}

/* What the host's namespace is refused for; where nobody asks, it may be joined. */
static int refuse_hosts(const struct plan *plan, int index, int fd, struct error *err)
{
    const char *path = plan->namespaces.path[index];
    const struct plan_step *step = step_in(plan, index);
    if (!is_hosts(fd, index))
        return 0;
    if (plan->namespaces.not_hosts >> index & 1)
        return error_set(err, EXIT_OURS,
                         "linux.namespaces: %s leads to the host's namespace now, and did not when "
                         "the policy judged it",
                         path);
    /* Its root is exchanged for all that is in it. */
    if (index == PLAN_NS_MOUNT)
        return error_set(err, EXIT_OURS,
                         "refusing the mount namespace %s: it is the host's, whose root would be "
                         "exchanged",
                         path);
    if (!step)
        return 0;
    return error_set(err, EXIT_OURS,
                     "linux.namespaces joins %s, which is the host's: %s would %s it", path,
                     step->kind == PLAN_SYSCTL  ? step->sysctl.key
                     : step->kind == PLAN_MOUNT ? step->mount.target
                                                : "hostname or domainname",
                     step->kind == PLAN_MOUNT ? "show" : "change");
}

/* Only looked at before it is known to be a namespace: opening a named pipe waits for its writer,
 * and opening a device can do anything. */
static int open_namespace(const char *path, struct error *err)
{
    _cleanup_close_ int found = open(path, O_PATH | O_CLOEXEC);
    struct statfs status;
    if (found < 0 || fstatfs(found, &status) < 0)
        return sandbox_fail(err, "cannot open the namespace %s (linux.namespaces)", path);
    if (status.f_type != NSFS_MAGIC)
        return error_set(err, EXIT_OURS,
                         "linux.namespaces: %s is no namespace; give a file of /proc/PID/ns, or "
                         "what ip-netns(8) made of one",
                         path);
    char name[32];
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", found);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd
                   : sandbox_fail(err, "cannot open the namespace %s (linux.namespaces)", path);
}

int namespaces_open(const struct sandbox_request *request, struct namespaces_joined *joined,
                    struct error *err)
{
    const struct plan *plan = request->plan;
    for (int i = 0; i < NAMESPACES_MAX; i++)
        joined->fds[i] = -1;
    for (int i = 0; request->join_pidfd < 0 && i < NAMESPACES_MAX; i++) {
        const char *path = plan->namespaces.path[i];
        if (!path)
            continue;
        joined->fds[i] = open_namespace(path, err);
        if (joined->fds[i] < 0)
            return -1;
        if (refuse_hosts(plan, i, joined->fds[i], err) < 0)
            return -1;
    }
    return 0;
}

void namespaces_close(struct namespaces_joined *joined)
{
    for (int i = 0; i < NAMESPACES_MAX; i++)
        cleanup_close(&joined->fds[i]);
}

static int write_time_offsets(const struct plan_namespaces *namespaces, struct error *err)
{
    for (size_t i = 0; i < namespaces->time_offset_count; i++) {
        const struct plan_time_offset *offset = &namespaces->time_offsets[i];
        char text[64];
        int length = snprintf(text, sizeof text, "%s %lld %u\n", offset->clock,
                              (long long)offset->seconds, offset->nanoseconds);
        _cleanup_close_ int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, text, (size_t)length) != length)
            return sandbox_fail(err, "cannot set the offset of the clock %s (linux.timeOffsets)",
                                offset->clock);
    }
    return 0;
}

/*
 * A time namespace is made for the children of its maker, and its offsets can be set only as long
 * as no process is in it: before the child is born.
 */
static int prepare_time(const struct plan_namespaces *namespaces, int *restore_fd,
                        struct error *err)
{
    if (!(namespaces->create & CLONE_NEWTIME))
        return 0;
    _cleanup_close_ int own = open("/proc/self/ns/time", O_RDONLY | O_CLOEXEC);
    if (own < 0 || unshare(CLONE_NEWTIME) < 0)
        return sandbox_fail(err, "cannot make a time namespace");
    *restore_fd = take_fd(&own);
    return write_time_offsets(namespaces, err);
}

/* setns(2) for a pid namespace concerns children only, so the caller can come back afterwards. */
static int prepare_pid(const struct sandbox_request *request, int opened, int *restore_fd,
                       struct error *err)
{
    if (namespaces_join_early(request))
        return 0; /* namespaces_join_first does, for the child alone */
    int joined = request->join_pidfd >= 0 ? request->join_pidfd : opened;
    if (joined < 0)
        return 0;
    _cleanup_close_ int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return sandbox_fail(err, "cannot open /proc/self/ns/pid");
    if (setns(joined, CLONE_NEWPID) < 0)
        return sandbox_fail(err, "cannot join the pid namespace %s",
                            opened >= 0 ? request->plan->namespaces.path[PLAN_NS_PID]
                                        : "of the workload");
    *restore_fd = take_fd(&own);
    return 0;
}

int namespaces_prepare(const struct sandbox_request *request,
                       const struct namespaces_joined *joined, struct namespaces_restore *restore,
                       struct error *err)
{
    if (request->join_pidfd < 0 &&
        prepare_time(&request->plan->namespaces, &restore->time_fd, err) < 0)
        return -1;
    return prepare_pid(request, joined->fds[PLAN_NS_PID], &restore->pid_fd, err);
}

int namespaces_restore(struct namespaces_restore *restore, struct error *err)
{
    int result = 0;
    if (restore->pid_fd >= 0 && setns(restore->pid_fd, CLONE_NEWPID) < 0)
        result = sandbox_fail(err, "cannot return to hybrid's own pid namespace");
    if (restore->time_fd >= 0 && setns(restore->time_fd, CLONE_NEWTIME) < 0)
        result = sandbox_fail(err, "cannot return to hybrid's own time namespace");
    cleanup_close(&restore->pid_fd);
    cleanup_close(&restore->time_fd);
    *restore = (struct namespaces_restore){ -1, -1 };
    return result;
}

static int write_map(pid_t pid, const char *name, const struct plan_id_map *maps, size_t count,
                     struct error *err)
{
    char path[64], text[4096];
    size_t length = 0;
    for (size_t i = 0; i < count && length < sizeof text; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%u %u %u\n",
                                   maps[i].container, maps[i].host, maps[i].size);
    if (count == 0 || length >= sizeof text)
        return error_set(err, EXIT_OURS, "a user namespace needs 1 to about 100 id mappings");
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    /* The kernel takes a map in one write only. */
    if (fd < 0 || write(fd, text, length) != (ssize_t)length)
        return sandbox_fail(err, "cannot set the id mapping (%s)", name);
    return 0;
}

int namespaces_write_maps(const struct plan *plan, pid_t pid, struct error *err)
{
    if (write_map(pid, "uid_map", plan->uid_maps, plan->uid_map_count, err) < 0)
        return -1;
    return write_map(pid, "gid_map", plan->gid_maps, plan->gid_map_count, err);
}

/* Whether a map of the process's, as this process sees it, is the one that is expected. */
static int check_map(pid_t pid, const char *name, const char *key, const struct plan_id_map *maps,
                     size_t count, const char *path, struct error *err)
{
    char file[64];
    (void)snprintf(file, sizeof file, "/proc/%d/%s", (int)pid, name);
    FILE *map = fopen(file, "re");
    if (!map)
        return sandbox_fail(err, "cannot read the id mapping (%s)", name);
    size_t same = 0, lines = 0;
    unsigned int container, host, size;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers, of 32 bits */
    while (fscanf(map, "%u %u %u", &container, &host, &size) == 3) {
        lines++;
        for (size_t i = 0; i < count; i++)
            same += maps[i].container == container && maps[i].host == host && maps[i].size == size;
    }
    (void)fclose(map);
    return lines == count && same == count
               ? 0
               : error_set(err, EXIT_OURS,
                           "linux.%s is not the mapping of the user namespace %s, which is joined: "
                           "leave it out",
                           key, path);
}

int namespaces_check_maps(const struct plan *plan, pid_t pid, struct error *err)
{
    const char *path = plan->namespaces.path[PLAN_NS_USER];
    if (plan->uid_map_count > 0 && check_map(pid, "uid_map", "uidMappings", plan->uid_maps,
                                             plan->uid_map_count, path, err) < 0)
        return -1;
    return plan->gid_map_count > 0 ? check_map(pid, "gid_map", "gidMappings", plan->gid_maps,
                                               plan->gid_map_count, path, err)
                                   : 0;
}

/* exec: all namespaces of the workload in one call; the pid namespace is the child's by birth. */
static int join_workload(const struct sandbox_request *request, struct error *err)
{
    int flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNS;
    if (namespaces_have_user(request))
        flags |= CLONE_NEWUSER; /* joining the own one is an error */
    if (request->plan->namespaces.create & CLONE_NEWTIME)
        flags |= CLONE_NEWTIME;
    if (setns(request->join_pidfd, flags) < 0)
        return sandbox_fail(err, "cannot join the workload's namespaces");
    return 0;
}

int namespaces_enter(const struct sandbox_request *request, const struct namespaces_joined *joined,
                     struct error *err)
{
    if (request->join_pidfd >= 0)
        return join_workload(request, err);
    char directory[PATH_MAX];
    if (!getcwd(directory, sizeof directory))
        return sandbox_fail(err, "cannot read the working directory");
    for (int i = 0; i < NAMESPACE_COUNT; i++) {
        int fd = joined->fds[namespace_table[i].index];
        if (fd < 0 || setns(fd, namespace_table[i].flag) == 0)
            continue;
        /* After a user namespace, that of the host needs rights that are gone; but it is ours. */
        int cause = errno;
        struct stat opened;
        if (fstat(fd, &opened) == 0 && is_namespace_of("self", namespace_table[i].index, &opened))
            continue;
        errno = cause;
        return sandbox_fail(err, "cannot join the %s namespace", namespace_table[i].name);
    }
    /* Joining a mount namespace leads to its root; relative paths of a bundle begin where we were.
     */
    if (joined->fds[PLAN_NS_MOUNT] >= 0 && chdir(directory) < 0)
        return sandbox_fail(err, "cannot enter %s in the mount namespace", directory);
    int later = made_later(request);
    if (later && unshare(later) < 0)
        return sandbox_fail(err, "cannot make the remaining namespaces");
    return 0;
}
