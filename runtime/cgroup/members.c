/* The processes of a cgroup: listed, signalled, stopped and let go on. */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "directory.h"
#include "hierarchy.h"

enum { FREEZE_TRIES = 2000, FREEZE_PAUSE_US = 1000, SIGNAL_BATCH = 64, GATHER_PASSES = 1000 };

struct pid_list {
    pid_t *pids;
    size_t count;
};

static int append(struct pid_list *list, pid_t pid)
{
    if ((list->count & (list->count - 1)) == 0) { /* full whenever it is a power of two */
        size_t room = list->count ? list->count * 2 : 1;
        pid_t *grown = realloc(list->pids, room * sizeof *grown);
        if (!grown)
            return -1;
        list->pids = grown;
    }
    list->pids[list->count++] = pid;
    return 0;
}

static int read_members(int directory_fd, struct pid_list *list)
{
    int fd = openat(directory_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    _cleanup_fclose_ FILE *file = fd < 0 ? NULL : fdopen(fd, "re");
    char line[32];
    while (file && fgets(line, sizeof line, file)) {
        pid_t pid = (pid_t)strtol(line, NULL, 10);
        /* 0: outside of our pid namespace. To kill(2) it would be our own process group. */
        if (pid > 0 && append(list, pid) < 0)
            return -1;
    }
    return 0;
}

/* The cgroup's own and those of the cgroups below it. */
static int read_tree(int directory_fd, struct pid_list *list)
{
    if (read_members(directory_fd, list) < 0)
        return -1;
    _cleanup_closedir_ DIR *directory = directory_open(directory_fd, ".");
    for (const struct dirent *entry; directory && (entry = directory_next(directory));) {
        if (entry->d_type != DT_DIR)
            continue;
        _cleanup_close_ int child =
            openat(directory_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (child >= 0 && read_tree(child, list) < 0)
            return -1;
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const pid_t left = *(const pid_t *)a, right = *(const pid_t *)b;
    return (left > right) - (left < right);
}

static int read_sorted(int directory_fd, struct pid_list *list, struct error *err)
{
    if (read_tree(directory_fd, list) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    if (list->count > 0)
        qsort(list->pids, list->count, sizeof *list->pids, by_number);
    return 0;
}

int cgroup_list_processes(const struct cgroup *cgroup, pid_t **pids, size_t *count,
                          struct error *err)
{
    struct pid_list list = { 0 };
    int fd = cgroup->v2_fd >= 0 ? cgroup->v2_fd : cgroup->v1[0].fd;
    if (read_sorted(fd, &list, err) < 0) {
        free(list.pids);
        return -1;
    }
    *pids = list.pids;
    *count = list.count;
    return 0;
}

/* Moves the listed processes that are not there. Returns how many, or -1 with *err. */
static int move_missing(const struct cgroup *cgroup, const struct pid_list *list, int directory_fd,
                        struct error *err)
{
    struct pid_list there = { 0 };
    int moved = read_sorted(directory_fd, &there, err);
    for (size_t i = 0; i < list->count && moved >= 0; i++) {
        char text[16];
        if (there.count > 0 &&
            bsearch(&list->pids[i], there.pids, there.count, sizeof *there.pids, by_number))
            continue;
        (void)snprintf(text, sizeof text, "%d", (int)list->pids[i]);
        if (cgroup_write_file(directory_fd, "cgroup.procs", text) == 0)
            moved++;
        else if (errno != ESRCH) /* it has ended */
            moved = error_set_errno(err, EXIT_OURS, errno, "cannot move process %s into cgroup %s",
                                    text, cgroup->name);
    }
    free(there.pids);
    return moved;
}

/* One that forks meanwhile may leave a child where it was itself: until nothing is to be moved. */
int cgroup_gather(const struct cgroup *cgroup, struct error *err)
{
    const int first_fd = cgroup->v1_count > 0 ? cgroup->v1[0].fd : cgroup->v2_fd;
    for (size_t pass = 0; pass < GATHER_PASSES; pass++) {
        struct pid_list list = { 0 };
        int result = read_sorted(first_fd, &list, err);
        int moved = 0;
        for (size_t i = 1; i <= cgroup->v1_count && result >= 0; i++) {
            int fd = i < cgroup->v1_count ? cgroup->v1[i].fd : cgroup->v2_fd;
            if (fd < 0 || fd == first_fd)
                continue;
            result = move_missing(cgroup, &list, fd, err);
            moved += result > 0 ? result : 0;
        }
        free(list.pids);
        if (result < 0 || moved == 0)
            return result < 0 ? -1 : 0;
    }
    return error_set(err, EXIT_OURS,
                     "the processes in %s fork faster than they can be moved into a cgroup with "
                     "the new limits; pause it first (hybrid pause)",
                     cgroup->name);
}

/* Sends the signal to those of the processes that are members still, by descriptors opened before.
 */
static void signal_members(int directory_fd, const pid_t *pids, const int *pidfds, size_t count,
                           int signal)
{
    struct pid_list now = { 0 };
    if (read_tree(directory_fd, &now) == 0 && now.count > 0)
        qsort(now.pids, now.count, sizeof *now.pids, by_number);
    for (size_t i = 0; i < count; i++)
        if (pidfds[i] >= 0 && now.count > 0 &&
            bsearch(&pids[i], now.pids, now.count, sizeof *now.pids, by_number))
            (void)syscall(SYS_pidfd_send_signal, pidfds[i], signal, NULL, 0);
    free(now.pids);
}

/*
 * A number in the list may be another process's by the time it is used. So each is opened first and
 * looked for again: one that is still listed was a member when its descriptor already meant it, or
 * the descriptor means a process that has ended, which takes no signal.
 */
void cgroup_signal_tree(int directory_fd, int signal)
{
    struct pid_list list = { 0 };
    int pidfds[SIGNAL_BATCH];
    (void)read_tree(directory_fd, &list); /* without memory: those that were read */
    for (size_t at = 0; at < list.count; at += SIGNAL_BATCH) {
        size_t count = list.count - at < SIGNAL_BATCH ? list.count - at : SIGNAL_BATCH;
        for (size_t i = 0; i < count; i++)
            pidfds[i] = (int)syscall(SYS_pidfd_open, list.pids[at + i], 0);
        signal_members(directory_fd, list.pids + at, pidfds, count, signal);
        for (size_t i = 0; i < count; i++)
            cleanup_close(&pidfds[i]);
    }
    free(list.pids);
}

void cgroup_signal(const struct cgroup *cgroup, int signal)
{
    cgroup_signal_tree(cgroup->v2_fd >= 0 ? cgroup->v2_fd : cgroup->v1[0].fd, signal);
}

/* Whether all members have stopped (or go on). */
static bool has_settled(const struct cgroup *cgroup, int v1_fd, bool frozen)
{
    if (v1_fd < 0)
        return cgroup_read_key(cgroup->v2_fd, "cgroup.events", "frozen") == (frozen ? 1U : 0U);
    char text[32];
    return cgroup_read_file(v1_fd, "freezer.state", text, sizeof text) > 0 &&
           strncmp(text, frozen ? "FROZEN" : "THAWED", 6) == 0;
}

bool cgroup_is_frozen(const struct cgroup *cgroup)
{
    int v1_fd = cgroup_v1_fd(cgroup, "freezer");
    /* On v2 `frozen` comes a moment after the wish for it. */
    char wish[8] = "";
    return v1_fd >= 0
               ? !has_settled(cgroup, v1_fd, false)
               : cgroup->v2_fd >= 0 &&
                     (has_settled(cgroup, -1, true) ||
                      (cgroup_read_file(cgroup->v2_fd, "cgroup.freeze", wish, sizeof wish) > 0 &&
                       *wish == '1'));
}

bool cgroup_name_is_frozen(const char *name, int fd, bool made)
{
    struct stat ours;
    struct stat found;
    struct error absent;
    _cleanup_close_ int root = hierarchy_open_freezer();
    if (root < 0 || fstatat(root, name, &found, AT_SYMLINK_NOFOLLOW) < 0 || fstat(fd, &ours) < 0 ||
        (made && ours.st_dev == found.st_dev && ours.st_ino == found.st_ino))
        return false;
    struct cgroup *cgroup = cgroup_open(name, &absent);
    const bool frozen = cgroup && cgroup_is_frozen(cgroup);
    cgroup_close(cgroup);
    return frozen;
}

int cgroup_open_nested(const struct cgroup *cgroup, pid_t pid)
{
    char path[64], line[PATH_MAX + 64], enabled[CONTROL_VALUE_SIZE];
    /* "No Internal Process Constraint" of the kernel's cgroup-v2.rst */
    if (cgroup->v2_fd < 0 ||
        cgroup_read_file(cgroup->v2_fd, "cgroup.subtree_control", enabled, sizeof enabled) <= 1)
        return -1;
    const size_t length = strlen(cgroup->name);
    (void)snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        const char *name = line + strlen("0::/");
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::/", strlen("0::/")) == 0 &&
            strncmp(name, cgroup->name, length) == 0 && name[length] == '/')
            return openat(cgroup->v2_fd, name + length + 1,
                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    return -1;
}

int cgroup_freeze(struct cgroup *cgroup, bool frozen, struct error *err)
{
    int v1_fd = cgroup_v1_fd(cgroup, "freezer");
    int written = -1;
    if (v1_fd >= 0)
        written = cgroup_write_file(v1_fd, "freezer.state", frozen ? "FROZEN" : "THAWED");
    else if (cgroup->v2_fd >= 0)
        written = cgroup_write_file(cgroup->v2_fd, "cgroup.freeze", frozen ? "1" : "0");
    else
        errno = ENOENT;
    if (written < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot %s the cgroup %s",
                               frozen ? "freeze" : "thaw", cgroup->name);
    for (int i = 0; !has_settled(cgroup, v1_fd, frozen); i++) {
        if (i == FREEZE_TRIES) {
            if (frozen)
                (void)(v1_fd >= 0 ? cgroup_write_file(v1_fd, "freezer.state", "THAWED")
                                  : cgroup_write_file(cgroup->v2_fd, "cgroup.freeze", "0"));
            return error_set(err, EXIT_OURS, "the processes of %s do not %s", cgroup->name,
                             frozen ? "stop" : "go on");
        }
        /* v1: a process that forked meanwhile is only caught by another attempt. */
        if (v1_fd >= 0 && frozen && i % 50 == 49)
            (void)cgroup_write_file(v1_fd, "freezer.state", "FROZEN");
        (void)usleep(FREEZE_PAUSE_US);
    }
    return 0;
}
