/* Whether images can be mounted: an EROFS file as a layer, and an overlay of it, tried. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "doctor.h"
#include "io.h"
#include "runtime/container/layers.h"

/* A directory that every procfs has, and in which nobody has business. */
#define PLACE "/proc/driver"

static int mount_overlay(struct error *err)
{
    static const char *const made[] = { PLACE "/upper", PLACE "/work", PLACE "/merged" };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (mkdir(made[i], 0700) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot make %s", made[i]);
    if (mount("overlay", PLACE "/merged", "overlay", 0,
              "lowerdir=" PLACE "/layers/doctor,upperdir=" PLACE "/upper,workdir=" PLACE
              "/work") < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot mount an overlay%s",
                               errno == ENODEV ? " (this kernel has none: modprobe overlay)" : "");
    return 0;
}

/* In a mount namespace of its own, which ends with the process: as containers have it, with the
 * guest's root file system for a layer. */
static int try_mounts(const char *file, struct error *err)
{
    static const char *const id = "doctor";
    struct layers layers;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("doctor", PLACE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=1m") < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot mount anything");
    return layers_acquire(PLACE, &file, &id, 1, &layers, err) < 0 ? -1 : mount_overlay(err);
}

/* Tells the parent what failed, and by the exit status that something did. */
static _Noreturn void try_and_exit(const char *file, int writer)
{
    struct error err = { 0 };
    int result = try_mounts(file, &err);
    if (result < 0)
        (void)io_write_all(writer, err.message, strlen(err.message));
    _exit(result < 0);
}

/* What the child told, and else how it ended: it is good only if it says so by its status. */
static int judge(int status, ssize_t told, struct error *err)
{
    err->message[told > 0 ? told : 0] = '\0';
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (told > 0)
        return -1;
    return WIFSIGNALED(status)
               ? error_set(err, EXIT_OURS,
                           "the process that tried to mount was killed by signal %d",
                           WTERMSIG(status))
               : error_set(err, EXIT_OURS, "the process that tried to mount said nothing");
}

/* Returns 0, or -1 with *err: what failed. */
static int try_in_child(const char *file, struct error *err)
{
    int ends[2], status;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot try it: cannot make a pipe");
    _cleanup_close_ int reader = ends[0], writer = ends[1];
    pid_t child = fork();
    if (child == 0)
        try_and_exit(file, writer);
    if (child < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot try it: cannot make a process");
    cleanup_close(&writer);
    writer = -1;
    ssize_t length = io_read_all(reader, err->message, sizeof err->message - 1);
    if (waitpid(child, &status, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot try it: cannot wait for the process");
    return judge(status, length, err);
}

void doctor_look_file_systems(const struct runtime *runtime, struct finding *finding)
{
    char path[4096];
    struct error err = { 0 };
    (void)snprintf(path, sizeof path, "%s/guest-root.erofs", runtime->exe_dir);
    if (access(path, R_OK) < 0)
        finding_set(finding, FINDING_NOTE, "install hybrid completely: make install",
                    "no image to try it with: %s", path);
    else if (try_in_child(path, &err) == 0)
        finding_set(finding, FINDING_GOOD, NULL, "overlay and erofs: an image could be mounted");
    else
        finding_set(finding, FINDING_MISSING,
                    geteuid() == 0 ? "modprobe erofs overlay loop, as root of the machine itself"
                                   : "run hybrid as root",
                    "%s", doctor_plain(&err));
}
