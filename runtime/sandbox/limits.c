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

static int explain(const struct plan_rlimit *limit, const struct rlimit *wanted, struct error *err)
{
    int cause = errno;
    struct rlimit have;
    if (cause != EPERM || getrlimit((__rlimit_resource_t)limit->resource, &have) < 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot set the limit %s", limit->name);
    return error_set(err, EXIT_OURS,
                     "cannot set the limit %s to %llu:%llu: hybrid's own hard limit is %llu and "
                     "raising it needs CAP_SYS_RESOURCE",
                     limit->name, (unsigned long long)wanted->rlim_cur,
                     (unsigned long long)wanted->rlim_max, (unsigned long long)have.rlim_max);
}

/* As far as the hard limit that we have ourselves. */
static struct rlimit what_there_is(const struct rlimit *wanted, const struct rlimit *have)
{
    rlim_t hard = wanted->rlim_max < have->rlim_max ? wanted->rlim_max : have->rlim_max;
    return (struct rlimit){ .rlim_cur = wanted->rlim_cur < hard ? wanted->rlim_cur : hard,
                            .rlim_max = hard };
}

/*
 * What is done before the command needs more descriptors than it may be given, so that their limit
 * is only raised here, for which the right may be gone later, and lowered at the very end.
 */
static struct rlimit keep_room(const struct rlimit *wanted, const struct rlimit *have)
{
    return (struct rlimit){
        .rlim_cur = wanted->rlim_cur > have->rlim_cur ? wanted->rlim_cur : have->rlim_cur,
        .rlim_max = wanted->rlim_max > have->rlim_max ? wanted->rlim_max : have->rlim_max,
    };
}

int rlimit_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const struct plan_rlimit *limit = &step->rlimit;
    struct rlimit wanted = { .rlim_cur = limit->soft, .rlim_max = limit->hard };
    struct rlimit have;
    bool late = limit->resource == RLIMIT_NOFILE;
    if (getrlimit((__rlimit_resource_t)limit->resource, &have) < 0)
        return sandbox_fail(err, "cannot read the limit %s", limit->name);
    struct rlimit now = late ? keep_room(&wanted, &have) : wanted;
    int result = setrlimit((__rlimit_resource_t)limit->resource, &now);
    if (result < 0 && errno == EPERM && limit->at_most) {
        wanted = what_there_is(&wanted, &have);
        result = late ? 0 : setrlimit((__rlimit_resource_t)limit->resource, &wanted);
    }
    if (result < 0)
        return explain(limit, &wanted, err);
    if (late) {
        sandbox->descriptors = wanted;
        sandbox->descriptors_limited = true;
    }
    return 0;
}

int descriptors_limit(struct sandbox *sandbox, struct error *err)
{
    if (!sandbox->descriptors_limited)
        return 0;
    sandbox->descriptors_limited = false;
    return setrlimit(RLIMIT_NOFILE, &sandbox->descriptors) < 0
               ? sandbox_fail(err, "cannot set the limit of open files")
               : 0;
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
