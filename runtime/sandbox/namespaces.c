#include "namespaces.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"
#include "io.h"

/* A user namespace first: it gives the right to join what it owns. The mount namespace last. */
static const struct {
    enum plan_namespace index;
    int flag;
    const char *name;
} namespace_table[] = {
    { PLAN_NS_USER, CLONE_NEWUSER, "user" },       { PLAN_NS_NETWORK, CLONE_NEWNET, "network" },
    { PLAN_NS_IPC, CLONE_NEWIPC, "ipc" },          { PLAN_NS_UTS, CLONE_NEWUTS, "uts" },
    { PLAN_NS_CGROUP, CLONE_NEWCGROUP, "cgroup" }, { PLAN_NS_TIME, CLONE_NEWTIME, "time" },
    { PLAN_NS_MOUNT, CLONE_NEWNS, "mount" },
};

enum { NAMESPACE_COUNT = sizeof namespace_table / sizeof *namespace_table };

/*
 * What unshare(2) has to make later: the cgroup namespace after the v1 hierarchies are joined,
 * since its root is the cgroup of that moment; everything if the user namespace that shall own it
 * is joined by path.
 */
static int made_later(const struct sandbox_request *request)
{
    const struct plan_namespaces *namespaces = &request->plan->namespaces;
    int later = 0;
    if (request->task_fd_count > 0)
        later |= namespaces->create & CLONE_NEWCGROUP;
    if (namespaces->path[PLAN_NS_USER])
        later |= namespaces->create & ~(CLONE_NEWPID | CLONE_NEWTIME);
    return later;
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

static bool is_hosts(int index, const char *path)
{
    static const char *const files[] = {
        [PLAN_NS_UTS] = "uts",
        [PLAN_NS_NETWORK] = "net",
        [PLAN_NS_IPC] = "ipc",
        [PLAN_NS_CGROUP] = "cgroup",
    };
    static const char *const processes[] = { "self", "1" };
    struct stat joined, host;
    if (stat(path, &joined) < 0)
        return false; /* told when it is to be joined */
    for (size_t i = 0; i < sizeof processes / sizeof *processes; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "/proc/%s/ns/%s", processes[i], files[index]);
        if (stat(name, &host) == 0 && host.st_ino == joined.st_ino && host.st_dev == joined.st_dev)
            return true;
    }
    return false;
}

int namespaces_check(const struct plan *plan, struct error *err)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct plan_step *step = &plan->steps[i];
        int index = namespace_of(step);
        const char *path = index < 0 ? NULL : plan->namespaces.path[index];
        if (!path || !is_hosts(index, path))
            continue;
        return error_set(err, EXIT_OURS,
                         "linux.namespaces joins %s, which is the host's: %s would %s it", path,
                         step->kind == PLAN_SYSCTL  ? step->sysctl.key
                         : step->kind == PLAN_MOUNT ? step->mount.target
                                                    : "hostname or domainname",
                         step->kind == PLAN_MOUNT ? "show" : "change");
    }
    return 0;
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
static int prepare_pid(const struct sandbox_request *request, int *restore_fd, struct error *err)
{
    const struct plan_namespaces *namespaces = &request->plan->namespaces;
    const char *path = namespaces->path[PLAN_NS_PID];
    if (namespaces->path[PLAN_NS_USER] && (namespaces->create & CLONE_NEWPID))
        return error_set(err, EXIT_OURS,
                         "cannot make a pid namespace owned by the user namespace %s: join both, "
                         "or make both",
                         namespaces->path[PLAN_NS_USER]);
    if (request->join_pidfd < 0 && !path)
        return 0;
    _cleanup_close_ int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return sandbox_fail(err, "cannot open /proc/self/ns/pid");
    _cleanup_close_ int opened = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    int joined = request->join_pidfd >= 0 ? request->join_pidfd : opened;
    if (joined < 0 || setns(joined, CLONE_NEWPID) < 0)
        return sandbox_fail(err, "cannot join the pid namespace %s",
                            path ? path : "of the workload");
    *restore_fd = take_fd(&own);
    return 0;
}

int namespaces_prepare(const struct sandbox_request *request, struct namespaces_restore *restore,
                       struct error *err)
{
    if (request->join_pidfd < 0 &&
        prepare_time(&request->plan->namespaces, &restore->time_fd, err) < 0)
        return -1;
    return prepare_pid(request, &restore->pid_fd, err);
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

/*
 * The root of a joined mount namespace is exchanged for all that is in it: it must be neither the
 * caller's own (whose copy this process may already have left) nor that of the host's init.
 */
static int refuse_hosts_mounts(int fd, const char *path, struct error *err)
{
    static const char *const hosts[] = { "/proc/self/ns/mnt", "/proc/1/ns/mnt" };
    struct stat wanted, host;
    if (fstat(fd, &wanted) < 0)
        return sandbox_fail(err, "cannot look at the mount namespace %s", path);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (stat(hosts[i], &host) == 0 && host.st_ino == wanted.st_ino &&
            host.st_dev == wanted.st_dev)
            return error_set(
                err, EXIT_OURS,
                "refusing the mount namespace %s: it is the host's, whose root would be "
                "exchanged",
                path);
    return 0;
}

int namespaces_enter(const struct sandbox_request *request, struct error *err)
{
    if (request->join_pidfd >= 0)
        return join_workload(request, err);
    int fds[NAMESPACE_COUNT];
    int result = 0;
    char directory[PATH_MAX];
    if (!getcwd(directory, sizeof directory))
        return sandbox_fail(err, "cannot read the working directory");
    /* All are opened before one is entered: the paths are the caller's. */
    for (int i = 0; i < NAMESPACE_COUNT; i++) {
        const char *path = request->plan->namespaces.path[namespace_table[i].index];
        fds[i] = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (path && fds[i] < 0 && result == 0)
            result =
                sandbox_fail(err, "cannot open the %s namespace %s", namespace_table[i].name, path);
        if (result == 0 && fds[i] >= 0 && namespace_table[i].index == PLAN_NS_MOUNT)
            result = refuse_hosts_mounts(fds[i], path, err);
    }
    for (int i = 0; i < NAMESPACE_COUNT; i++) {
        if (result == 0 && fds[i] >= 0 && setns(fds[i], namespace_table[i].flag) < 0)
            result = sandbox_fail(err, "cannot join the %s namespace", namespace_table[i].name);
        cleanup_close(&fds[i]);
    }
    /* Joining a mount namespace leads to its root; relative paths of a bundle begin where we were.
     */
    if (result == 0 && request->plan->namespaces.path[PLAN_NS_MOUNT] && chdir(directory) < 0)
        result = sandbox_fail(err, "cannot enter %s in the mount namespace", directory);
    int later = made_later(request);
    if (result == 0 && later && unshare(later) < 0)
        result = sandbox_fail(err, "cannot make the remaining namespaces");
    return result;
}
