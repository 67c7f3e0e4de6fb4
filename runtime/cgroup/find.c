/* The cgroup of somebody who does not know its name any more, by the mark that it bears. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "cleanup.h"
#include "directory.h"
#include "hierarchy.h"

static bool is_marked(int fd, const char *owner)
{
    char mark[PATH_MAX];
    ssize_t length = fgetxattr(fd, CGROUP_OWNER, mark, sizeof mark);
    return length >= 0 && (size_t)length == strlen(owner) &&
           memcmp(mark, owner, (size_t)length) == 0;
}

/*
 * Looks at a directory and those below it. name: its path below the root, of that length, with room
 * for more; of the one that was found, where it is. 1: found, 0: none, -1: errno.
 */
static int look_below(int parent_fd, const char *entry, const char *owner, char name[PATH_MAX],
                      size_t length)
{
    _cleanup_closedir_ DIR *directory = directory_open(parent_fd, entry);
    if (!directory) /* it may have been removed meanwhile */
        return errno == ENOENT || errno == ENODEV ? 0 : -1;
    if (is_marked(dirfd(directory), owner))
        return 1;
    for (const struct dirent *child; (child = directory_next(directory));) {
        size_t more = strlen(child->d_name) + (length > 0);
        if (child->d_type != DT_DIR || length + more >= PATH_MAX)
            continue;
        (void)snprintf(name + length, PATH_MAX - length, "%s%s", length > 0 ? "/" : "",
                       child->d_name);
        int found = look_below(dirfd(directory), child->d_name, owner, name, length + more);
        if (found != 0)
            return found;
        name[length] = '\0';
    }
    return errno == 0 || errno == ENODEV ? 0 : -1;
}

int cgroup_find(const char *owner, char name[PATH_MAX], struct error *err)
{
    char options[CGROUP_OPTIONS_SIZE];
    int found = 0;
    int root;
    name[0] = '\0';
    for (size_t n = 0; found == 0 && (root = hierarchy_open_v1(n, options)) != -2; n++) {
        _cleanup_close_ int root_fd = root;
        found = root_fd < 0 ? 0 : look_below(root_fd, ".", owner, name, 0);
    }
    _cleanup_close_ int v2_fd = found == 0 ? hierarchy_open_any_v2() : -1;
    if (v2_fd >= 0)
        found = look_below(v2_fd, ".", owner, name, 0);
    return found >= 0 ? found
                      : error_set_errno(err, EXIT_OURS, errno,
                                        "cannot look for the cgroup of %s among all", owner);
}

int cgroup_check_below(const char *name, const char *below, struct error *err)
{
    struct cgroup *own = cgroup_open(name, err);
    struct cgroup *other = own ? cgroup_open(below, err) : NULL;
    int result = other ? 0 : -1;
    /* What is missing in one hierarchy would not be joined there: its limits would not hold. */
    if (other && (own->v1_count != other->v1_count || (own->v2_fd >= 0) != (other->v2_fd >= 0)))
        result = error_set(err, EXIT_OURS,
                           "the cgroup %s is not in every hierarchy that %s is in: make it there",
                           below, name);
    cgroup_close(own);
    cgroup_close(other);
    return result;
}
