#include "vmm/jail.h"

#include "cleanup.h"
#include "include/machine.h"
#include "vmm/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    JAIL_MAX_FDS = 2 * MACHINE_MAX_STREAMS + 1024, /* streams, disks, eventfds, vCPUs */
    JAIL_MAX_CAPABILITY = 63,
};

/* The parent of the jailed process holds nothing and does nothing but to pass on how it ended. */
static void jail_wait_for(pid_t child)
{
    int status;
    (void)close_range(0, ~0U, 0);
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            _exit(EXIT_OURS);
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNAL_BASE + WTERMSIG(status));
}

int jail_isolate(const struct jail_network *network, struct error *err)
{
    const int namespaces = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                           (network->kept ? 0 : CLONE_NEWNET);
    bool first = getpid() == 1;
    if (geteuid() != 0)
        return error_set(err, EXIT_OURS,
                         "it must be started as root, to lock itself into namespaces and "
                         "give root up");
    /* Whoever started us takes its VM along when it dies, whichever of us two it knows. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot tie the monitor to its parent");
    if (unshare(namespaces | (first ? 0 : CLONE_NEWPID)) < 0)
        return error_set_errno(
            err, EXIT_OURS, errno,
            "cannot create the monitor's namespaces (is CAP_SYS_ADMIN missing?)");
    if (first)
        return 0;
    pid_t child = fork();
    if (child < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot start the jailed process");
    if (child > 0)
        jail_wait_for(child);
    return 0;
}

/* An empty, read-only file system becomes the root; the old one is gone from this namespace. */
static int jail_empty_root(struct error *err)
{
    /* Any directory serves as the place; it is looked up before a guest exists. */
    static const char PLACE[] = "/proc";
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make the mounts private");
    if (mount("none", PLACE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=2,mode=555") < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot mount an empty root on %s", PLACE);
    if (chdir(PLACE) < 0 || syscall(__NR_pivot_root, ".", ".") < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot enter the empty root");
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot leave the old root");
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              NULL) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make the empty root read-only");
    return 0;
}

static int jail_compare_fds(const void *left, const void *right)
{
    return *(const int *)left - *(const int *)right;
}

/* Closes every descriptor but 0 to 2 and those named. fds is sorted in place. */
static int jail_close_others(int *fds, size_t count, struct error *err)
{
    unsigned next = 3;
    qsort(fds, count, sizeof *fds, jail_compare_fds);
    for (size_t i = 0; i <= count; i++) {
        unsigned last = i < count ? (unsigned)fds[i] - 1 : ~0U;
        if ((i == count || (unsigned)fds[i] >= next) && next <= last &&
            close_range(next, last, 0) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot close inherited descriptors");
        if (i < count && (unsigned)fds[i] >= next)
            next = (unsigned)fds[i] + 1;
    }
    return 0;
}

static int jail_set_limits(struct error *err)
{
    struct rlimit none = { 0, 0 }, files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the limit of descriptors");
    /* Only ever lowered: raising a hard limit takes a capability that root may lack. */
    if (files.rlim_max > JAIL_MAX_FDS)
        files.rlim_max = JAIL_MAX_FDS;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ||
        setrlimit(RLIMIT_MSGQUEUE, &none) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot limit the monitor's resources");
    return 0;
}

static int jail_set_capabilities(uint32_t bits, struct error *err)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
    sets[0].effective = sets[0].permitted = bits;
    if (syscall(__NR_capset, &header, sets) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot drop the capabilities");
    return 0;
}

/* Becomes the user, with nothing left of root but what the next two steps take. */
static int jail_change_ids(uid_t uid, gid_t gid, struct error *err)
{
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
        setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot become uid %u, gid %u", (unsigned)uid,
                               (unsigned)gid);
    return jail_set_capabilities(1U << CAP_SYS_ADMIN | 1U << CAP_SETPCAP, err);
}

static int jail_write_map(int process, const char *file, const char *text, struct error *err)
{
    _cleanup_close_ int fd = openat(process, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return error_set_errno(err, EXIT_OURS, errno, "cannot write %s of the user namespace",
                               file);
    return 0;
}

/*
 * A user namespace whose only ids are these two: even with all capabilities in it, the process
 * could become nobody else, and the other namespaces, made before, would not be its own. process:
 * /proc/self, or -1. Returns 0 with *made, or -1 with err.
 */
static int jail_enter_user_namespace(int process, uid_t uid, gid_t gid, bool *made,
                                     struct error *err)
{
    char users[64], groups[64];
    (void)snprintf(users, sizeof users, "%u %u 1", (unsigned)uid, (unsigned)uid);
    (void)snprintf(groups, sizeof groups, "%u %u 1", (unsigned)gid, (unsigned)gid);
    /* Kernels may be built without, or told to allow none (user.max_user_namespaces). */
    *made = process >= 0 && unshare(CLONE_NEWUSER) == 0;
    if (!*made)
        return 0;
    /* The change of ids gave the files of /proc/self to root; nobody else has this uid. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot describe the user namespace");
    if (jail_write_map(process, "setgroups", "deny", err) < 0 ||
        jail_write_map(process, "uid_map", users, err) < 0 ||
        jail_write_map(process, "gid_map", groups, err) < 0)
        return -1;
    return 0;
}

/* The bounding set too: a new user namespace comes with all of it. */
static int jail_drop_capabilities(struct error *err)
{
    for (int capability = 0; capability <= JAIL_MAX_CAPABILITY; capability++) {
        /* EINVAL: the kernel knows none with this number, nor any higher. */
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL)
            return error_set_errno(err, EXIT_OURS, errno, "cannot drop capability %d", capability);
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot drop the ambient capabilities");
    return jail_set_capabilities(0, err);
}

/* Ids and capabilities go in the order in which each still has the right to be given up. */
static int jail_drop_privileges(int process, uid_t uid, gid_t gid,
                                const struct jail_network *network, struct jail_extras *extras,
                                struct error *err)
{
    if (jail_change_ids(uid, gid, err) < 0 ||
        jail_enter_user_namespace(process, uid, gid, &extras->user_namespace, err) < 0 ||
        jail_drop_capabilities(err) < 0)
        return -1;
    /* After the change of ids, which resets both: die with the parent, be opaque to others. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot lock the jail");
    return landlock_confine(network->connect_port, &extras->landlock, err);
}

/*
 * Descriptor 0, if it is /dev/null already, as who starts us leaves it: the rules of the cgroup
 * that we are in may not let us open it.
 */
static int open_null(void)
{
    struct stat status;
    if (fstat(STDIN_FILENO, &status) == 0 && S_ISCHR(status.st_mode) &&
        status.st_rdev == makedev(1, 3) && (fcntl(STDIN_FILENO, F_GETFL) & O_ACCMODE) == O_RDWR)
        return fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

int jail_enter(int *fds, size_t fd_count, uid_t uid, gid_t gid, const struct jail_network *network,
               struct jail_extras *extras, struct error *err)
{
    *extras = (struct jail_extras){ 0 };
    int null_fd = open_null();
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null");
    /* From here on null_fd is closed with the others. */
    if (jail_close_others(fds, fd_count, err) < 0)
        return -1;
    /* Held open, because the empty root has none; where the host has none, there are no maps. */
    _cleanup_close_ int process = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (jail_empty_root(err) < 0 || jail_set_limits(err) < 0)
        return -1;
    return jail_drop_privileges(process, uid, gid, network, extras, err);
}
