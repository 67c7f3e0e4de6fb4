/*
 * Everything that is written to procfs goes through a procfs of our own, checked to be one: a /proc
 * that the image or another workload arranged never sees a byte (CVE-2019-16884, CVE-2025-52881).
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "context.h"
#include "io.h"
#include "path.h"

/* Keeps the descriptor of a procfs that we mounted; takes it over also on failure. */
int proc_adopt(struct sandbox *sandbox, int mount_fd, struct error *err)
{
    _cleanup_close_ int fd = mount_fd;
    struct statfs status;
    if (fstatfs(fd, &status) < 0 || status.f_type != PROC_SUPER_MAGIC)
        return error_set(err, EXIT_OURS, "what was mounted as procfs is not procfs");
    _cleanup_close_ int sys = path_open_beneath(fd, "sys", O_PATH | O_DIRECTORY);
    if (sys < 0)
        return sandbox_fail(err, "cannot open sys in procfs");
    cleanup_close(&sandbox->proc_fd);
    cleanup_close(&sandbox->proc_sys_fd);
    sandbox->proc_fd = take_fd(&fd);
    sandbox->proc_sys_fd = take_fd(&sys);
    return 0;
}

/* Makes sure that there is a procfs of our own, if only a detached one. */
int proc_open(struct sandbox *sandbox, struct error *err)
{
    if (sandbox->proc_fd >= 0)
        return 0;
    int fd = mount_make("proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err);
    return fd < 0 ? -1 : proc_adopt(sandbox, fd, err);
}

/* oom_score_adj: unchanged values are not written, since lowering needs CAP_SYS_RESOURCE. */
static int write_oom_score(int fd, int score)
{
    char text[16] = "";
    if (io_read_all(fd, text, sizeof text - 1) > 0 && strtol(text, NULL, 10) == score)
        return 0;
    int length = snprintf(text, sizeof text, "%d", score);
    return pwrite(fd, text, (size_t)length, 0) == length ? 0 : -1;
}

/*
 * The files of a process that is not dumpable belong to the real root, which it is no more in a
 * user namespace; and dumpable it must never be there: what runs in the workload already could take
 * it over, with all its descriptors, before it has given up anything (CVE-2016-9962). So the file
 * is opened before, in the host's procfs.
 */
int oom_score_open(struct sandbox *sandbox, struct error *err)
{
    sandbox->oom_score_fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    return sandbox->oom_score_fd < 0 ? sandbox_fail(err, "cannot open /proc/self/oom_score_adj")
                                     : 0;
}

int oom_score_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    int written = write_oom_score(sandbox->oom_score_fd, step->oom_score.score);
    int cause = errno;
    cleanup_close(&sandbox->oom_score_fd);
    sandbox->oom_score_fd = -1;
    if (written < 0 && cause == EACCES && step->oom_score.at_least)
        return 0;
    if (written < 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot set the OOM score to %d%s",
                               step->oom_score.score,
                               cause == EACCES ? " (lowering it needs CAP_SYS_RESOURCE)" : "");
    return 0;
}

int sysctl_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const struct plan_sysctl *sysctl = &step->sysctl;
    if (proc_open(sandbox, err) < 0)
        return -1;
    _cleanup_free_ char *path = strdup(sysctl->key);
    if (!path)
        return error_set(err, EXIT_OURS, "out of memory");
    /* As sysctl(8): dots separate, and a slash in the key stands for a dot (net/ipv4/conf/eth0.1).
     */
    bool slashes = strchr(path, '/') != NULL;
    for (char *at = path; !slashes && *at; at++)
        if (*at == '.')
            *at = '/';
    _cleanup_close_ int fd = path_open_beneath(sandbox->proc_sys_fd, path, O_WRONLY);
    if (fd < 0 || io_write_all(fd, sysctl->value, strlen(sysctl->value)) < 0)
        return sandbox_fail(err, "cannot set the sysctl %s to \"%s\"", sysctl->key, sysctl->value);
    return 0;
}
