/* Resource limits, umask and the working directory. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "context.h"
#include "path.h"

/* As far as the hard limit that we have ourselves. */
static int set_what_there_is(const struct plan_rlimit *limit, struct error *err)
{
    struct rlimit have;
    if (getrlimit((__rlimit_resource_t)limit->resource, &have) < 0)
        return sandbox_fail(err, "cannot read the limit %s", limit->name);
    if (limit->hard < have.rlim_max)
        have.rlim_max = limit->hard;
    have.rlim_cur = limit->soft < have.rlim_max ? limit->soft : have.rlim_max;
    return setrlimit((__rlimit_resource_t)limit->resource, &have) < 0
               ? sandbox_fail(err, "cannot set the limit %s", limit->name)
               : 0;
}

int rlimit_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)sandbox;
    const struct plan_rlimit *limit = &step->rlimit;
    struct rlimit wanted = { .rlim_cur = limit->soft, .rlim_max = limit->hard };
    if (setrlimit((__rlimit_resource_t)limit->resource, &wanted) == 0)
        return 0;
    int cause = errno;
    struct rlimit have;
    if (cause == EPERM && limit->at_most)
        return set_what_there_is(limit, err);
    if (cause != EPERM || getrlimit((__rlimit_resource_t)limit->resource, &have) < 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot set the limit %s", limit->name);
    return error_set(err, EXIT_OURS,
                     "cannot set the limit %s to %llu:%llu: hybrid's own hard limit is %llu and "
                     "raising it needs CAP_SYS_RESOURCE",
                     limit->name, (unsigned long long)limit->soft, (unsigned long long)limit->hard,
                     (unsigned long long)have.rlim_max);
}

int umask_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)sandbox;
    (void)err;
    (void)umask(step->umask);
    return 0;
}

int cwd_make(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    _cleanup_close_ int fd = path_make_directory(sandbox->root_fd, step->path, err);
    return fd < 0 ? -1 : 0;
}

/*
 * Enters it by descriptor. The raw system call tells
 * whether it lies inside the root: it gives "(unreachable)..." for a directory outside, as a leaked
 * descriptor would name (CVE-2024-21626).
 */
int cwd_enter(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    _cleanup_close_ int fd = path_open(sandbox->root_fd, step->path, O_PATH | O_DIRECTORY);
    if (fd < 0 || fchdir(fd) < 0)
        return sandbox_fail(err, "cannot enter the working directory %s", step->path);
    char path[PATH_MAX];
    long length = syscall(SYS_getcwd, path, sizeof path);
    if (length < 0 || path[0] != '/')
        return error_set(
            err, EXIT_OURS,
            "refusing the working directory %s: it lies outside of the root file system",
            step->path);
    return 0;
}
