#include "self.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"

#define SELF          "/proc/self/exe"
#define DIRECTORY_ENV "HYBRID_EXE_DIR"

static bool is_read_only(void)
{
    struct statvfs mount;
    return statvfs(SELF, &mount) == 0 && (mount.f_flag & ST_RDONLY);
}

char *self_find_directory(struct error *err)
{
    const char *given = getenv(DIRECTORY_ENV);
    if (given && *given == '/' && is_read_only())
        return strdup(given);
    char path[PATH_MAX];
    ssize_t length = readlink(SELF, path, sizeof path - 1);
    if (length < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot find the program: " SELF);
        return NULL;
    }
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    char *directory = NULL;
    if (asprintf(&directory, "%s/hybrid-vmm", path) < 0) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    if (access(directory, F_OK) == 0) {
        directory[strlen(path)] = '\0';
        return directory;
    }
    free(directory);
    if (asprintf(&directory, "%s/../libexec/hybrid", path) < 0) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    return directory;
}

int self_become_read_only(char **argv, const char *exe_dir, struct error *err)
{
    if (is_read_only()) {
        (void)prctl(PR_SET_NAME, "hybrid"); /* executed by descriptor, we are called "3" */
        return 0;
    }
    if (geteuid() != 0) {
        (void)error_set(err, EXIT_OURS,
                        "hybrid makes namespaces and mounts, for which it must be root; use sudo");
        return error_see_doctor(err, "root");
    }
    _cleanup_close_ int fd =
        (int)syscall(SYS_open_tree, AT_FDCWD, SELF, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0) {
        int cause = errno;
        (void)error_set_errno(err, EXIT_OURS, cause,
                              "cannot make a read-only copy of the program: open_tree " SELF);
        /* The copy is in a mount namespace of its own, and there may be as many as are allowed. */
        return error_see_doctor(err, cause == ENOSPC ? "namespaces" : "capabilities");
    }
    struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &read_only, sizeof read_only) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot make a read-only copy of the program: mount_setattr");
    if (setenv(DIRECTORY_ENV, exe_dir, 1) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    (void)syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
    return error_set_errno(err, EXIT_OURS, errno, "cannot execute a read-only copy of the program");
}
