/* The end of a cgroup: killing what is in it, and removing its directories. */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "directory.h"
#include "hierarchy.h"

enum { FIRST_WAIT_US = 200, LONGEST_WAIT_US = 50000, PATIENCE_US = 10 * 1000 * 1000 };

/*
 * v2 kills a whole cgroup at once (from 5.14 on). On v1 the members are frozen first, so that none
 * escapes the list by forking, and die when they are thawed.
 */
void cgroup_kill(struct cgroup *cgroup)
{
    if (cgroup->v2_fd >= 0 && cgroup_write_file(cgroup->v2_fd, "cgroup.kill", "1") == 0)
        return;
    int freezer = cgroup_v1_fd(cgroup, "freezer");
    if (freezer >= 0)
        (void)cgroup_write_file(freezer, "freezer.state", "FROZEN");
    for (size_t i = 0; i < cgroup->v1_count; i++)
        cgroup_signal_tree(cgroup->v1[i].fd, SIGKILL);
    if (cgroup->v2_fd >= 0)
        cgroup_signal_tree(cgroup->v2_fd, SIGKILL);
    if (freezer >= 0)
        (void)cgroup_write_file(freezer, "freezer.state", "THAWED");
}

/*
 * Removes a directory and the cgroups below it, and if told so kills what keeps it from that.
 * Returns 0 also if it is gone; -1 with errno.
 */
static int remove_tree(int parent_fd, const char *name, bool kill)
{
    if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    if (errno != EBUSY && errno != ENOTEMPTY)
        return -1;
    _cleanup_closedir_ DIR *directory = directory_open(parent_fd, name);
    if (!directory)
        return errno == ENOENT ? 0 : -1;
    bool complete = true;
    for (const struct dirent *entry; (entry = directory_next(directory));)
        if (entry->d_type == DT_DIR && remove_tree(dirfd(directory), entry->d_name, kill) < 0)
            complete = false;
    if (!complete) {
        if (kill)
            cgroup_signal_tree(dirfd(directory), SIGKILL);
        errno = EBUSY;
        return -1;
    }
    return unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -1;
}

/*
 * One attempt in all hierarchies. The first comes last: who has claimed the name has locked it
 * there, and marked it. Returns 0, or -1 with errno of the last failure.
 */
static int remove_everywhere(const char *name, bool kill)
{
    int result = 0, cause = 0;
    char options[CGROUP_OPTIONS_SIZE];
    _cleanup_close_ int v2_root = hierarchy_open_any_v2();
    if (v2_root >= 0 && remove_tree(v2_root, name, kill) < 0) {
        result = -1;
        cause = errno;
    }
    for (size_t n = HIERARCHY_V1_COUNT; n-- > 0;) {
        _cleanup_close_ int root_fd = hierarchy_open_v1(n, options);
        if (root_fd >= 0 && remove_tree(root_fd, name, kill) < 0) {
            result = -1;
            cause = errno;
        }
    }
    errno = cause;
    return result;
}

void cgroup_remove_empty(const char *name)
{
    (void)remove_everywhere(name, false);
}

/* Whom a cgroup was last made for, by CGROUP_OWNER. */
struct mark {
    bool known;
    ssize_t length; /* -1: it has no mark */
    char owner[PATH_MAX];
};

static void read_mark(const struct cgroup *cgroup, struct mark *mark)
{
    int fd = cgroup->v1_count > 0 ? cgroup->v1[0].fd : cgroup->v2_fd;
    mark->length = fgetxattr(fd, CGROUP_OWNER, mark->owner, sizeof mark->owner);
    mark->known = true;
}

/* Who claims a name marks it. No mark: the directory that had it has gone before the others. */
static bool is_marked_otherwise(const struct cgroup *cgroup, const struct mark *first)
{
    struct mark mark;
    read_mark(cgroup, &mark);
    return mark.length >= 0 && (mark.length != first->length ||
                                memcmp(mark.owner, first->owner, (size_t)mark.length) != 0);
}

/*
 * Returns whether the cgroup, if there still is one, is the one that was looked at first; and if
 * told so kills what is in it.
 */
static bool look_at(const char *name, struct mark *mark, bool kill)
{
    struct error missing;
    struct cgroup *cgroup = cgroup_open(name, &missing);
    if (cgroup && !mark->known)
        read_mark(cgroup, mark);
    bool same = !cgroup || !is_marked_otherwise(cgroup, mark);
    if (cgroup && same && kill)
        cgroup_kill(cgroup);
    cgroup_close(cgroup);
    return same;
}

/*
 * A scope's processes are killed, and systemd is told: it would notice that the cgroup is empty,
 * but not always that it has been removed. Then it has no business there any more. Returns 0, or -1
 * with *err.
 */
static int stop_scope(const char *name, struct error *err)
{
    struct error missing;
    if (!scope_is_unit_name(scope_unit_of(name), ".scope"))
        return 0;
    struct cgroup *cgroup = cgroup_open(name, &missing);
    int result = 0;
    if (cgroup && *cgroup->unit)
        cgroup_kill(cgroup);
    /* Its maker may have been killed before it could mark it: systemd knows what is its own. */
    if ((cgroup && *cgroup->unit) || scope_is_at(name))
        result = scope_stop(scope_unit_of(name), err);
    cgroup_close(cgroup);
    return result;
}

/*
 * Once the last process has gone, the name may be given to another container between two attempts:
 * what is there is that one's then, and left alone. Within an attempt that is not seen: the other's
 * directories may be removed as long as they are empty, and its creation fails of that.
 */
int cgroup_remove(const char *name, struct error *err)
{
    useconds_t wait = FIRST_WAIT_US;
    struct mark mark = { .known = false };
    while (*name == '/')
        name++;
    if (cgroup_check_name(name, err) < 0 || stop_scope(name, err) < 0)
        return -1;
    for (unsigned int waited = 0; waited == 0 || look_at(name, &mark, false);
         waited += wait, wait *= 2) {
        if (remove_everywhere(name, true) == 0)
            return 0;
        int cause = errno;
        if (cause != EBUSY || waited > PATIENCE_US)
            return error_set_errno(err, EXIT_OURS, cause, "cannot remove the cgroup %s", name);
        if (!look_at(name, &mark, true))
            return 0;
        if (wait > LONGEST_WAIT_US)
            wait = LONGEST_WAIT_US;
        (void)usleep(wait);
    }
    return 0;
}

bool cgroup_tree_is_populated(int directory_fd)
{
    char text[32];
    if (cgroup_read_file(directory_fd, "cgroup.procs", text, sizeof text) > 0)
        return true;
    _cleanup_closedir_ DIR *directory = directory_open(directory_fd, ".");
    for (const struct dirent *entry; directory && (entry = directory_next(directory));) {
        if (entry->d_type != DT_DIR)
            continue;
        _cleanup_close_ int child =
            openat(directory_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (child >= 0 && cgroup_tree_is_populated(child))
            return true;
    }
    return false;
}

/* Whether there is a cgroup of that name below the root, and a process in it or below it. */
static bool is_populated_below(int root_fd, const char *name)
{
    _cleanup_close_ int fd = openat(root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && cgroup_tree_is_populated(fd);
}

bool cgroup_name_is_populated(const char *name)
{
    bool populated = false;
    char options[CGROUP_OPTIONS_SIZE];
    for (size_t n = 0; n < HIERARCHY_V1_COUNT && !populated; n++) {
        _cleanup_close_ int root_fd = hierarchy_open_v1(n, options);
        populated = root_fd >= 0 && is_populated_below(root_fd, name);
    }
    _cleanup_close_ int v2_root = populated ? -1 : hierarchy_open_any_v2();
    return populated || (v2_root >= 0 && is_populated_below(v2_root, name));
}

bool cgroup_belongs_to(const char *name, const char *owner)
{
    struct error missing;
    struct mark mark;
    struct cgroup *cgroup = cgroup_open(name, &missing);
    if (!cgroup) /* systemd may be about to make it for one of us that was killed */
        return scope_is_at(name);
    read_mark(cgroup, &mark);
    /* Without a mark, its maker was killed before anything was in it; or it is a stranger's. */
    bool ours = mark.length < 0 ? !cgroup_name_is_populated(cgroup->name)
                                : (size_t)mark.length == strlen(owner) &&
                                      memcmp(mark.owner, owner, (size_t)mark.length) == 0;
    cgroup_close(cgroup);
    return ours;
}
