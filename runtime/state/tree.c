#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "directory.h"

enum scan_result { SCAN_FAILED = -1, SCAN_EMPTY, SCAN_ENTER };

/*
 * Removes what can be removed from a directory. Stops at the first subdirectory that is not empty:
 * *next is its descriptor then.
 */
static enum scan_result scan(int directory, dev_t device, int *next)
{
    _cleanup_closedir_ DIR *entries = directory_open(directory, ".");
    if (!entries)
        return SCAN_FAILED;
    const struct dirent *entry;
    while ((entry = directory_next(entries))) {
        const char *name = entry->d_name;
        if (unlinkat(directory, name, 0) == 0 || unlinkat(directory, name, AT_REMOVEDIR) == 0)
            continue;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return SCAN_FAILED;
        *next = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;
        if (*next < 0 || fstat(*next, &status) < 0)
            return SCAN_FAILED;
        if (status.st_dev != device) {
            errno = EXDEV;
            return SCAN_FAILED;
        }
        return SCAN_ENTER;
    }
    return errno == 0 ? SCAN_EMPTY : SCAN_FAILED;
}

/*
 * A workload may have made its tree as deep as it liked: no recursion, no stack of descriptors. An
 * emptied directory is left by ".." and removed when the one above is scanned again.
 */
static int empty(int *directory)
{
    struct stat root;
    if (fstat(*directory, &root) < 0)
        return -1;
    size_t depth = 0;
    for (;;) {
        int next = -1;
        enum scan_result result = scan(*directory, root.st_dev, &next);
        if (result == SCAN_EMPTY && depth == 0)
            return 0;
        if (result == SCAN_EMPTY)
            next = openat(*directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (result == SCAN_FAILED || next < 0) {
            cleanup_close(&next);
            return -1;
        }
        depth = result == SCAN_ENTER ? depth + 1 : depth - 1;
        (void)close(*directory);
        *directory = next;
    }
}

int tree_remove(const char *path, struct error *err)
{
    _cleanup_close_ int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0 && errno == ENOENT)
        return 0;
    if (directory < 0 || empty(&directory) < 0 || (rmdir(path) < 0 && errno != ENOENT))
        return error_set_errno(err, EXIT_OURS, errno, "cannot remove %s", path);
    return 0;
}
