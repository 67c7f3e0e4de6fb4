#include "vmm/jail.h"

#include "include/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
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

int jail_isolate(struct error *err)
{
    const int namespaces =
        CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP;
    bool first = getpid() == 1;
    if (geteuid() != 0)
        return error_set(err, EXIT_OURS,
                         "hybrid-vmm must be started as root, to lock itself into namespaces and "
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

static int jail_drop_capabilities(struct error *err)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    const struct __user_cap_data_struct nothing[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        syscall(__NR_capset, &header, nothing) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot drop the capabilities");
    return 0;
}

/* Ids and capabilities go in the order in which each still has the right to be given up. */
static int jail_drop_privileges(uid_t uid, gid_t gid, struct error *err)
{
    for (int capability = 0; capability <= JAIL_MAX_CAPABILITY; capability++) {
        /* EINVAL: the kernel knows none with this number, nor any higher. */
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL)
            return error_set_errno(err, EXIT_OURS, errno, "cannot drop capability %d", capability);
    }
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot become uid %u, gid %u", (unsigned)uid,
                               (unsigned)gid);
    if (jail_drop_capabilities(err) < 0)
        return -1;
    /* After the change of ids, which resets both: die with the parent, be opaque to others. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot lock the jail");
    return 0;
}

int jail_enter(int *fds, size_t fd_count, uid_t uid, gid_t gid, struct error *err)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null");
    /* From here on null_fd is closed with the others. */
    if (jail_close_others(fds, fd_count, err) < 0 || jail_empty_root(err) < 0 ||
        jail_set_limits(err) < 0)
        return -1;
    return jail_drop_privileges(uid, gid, err);
}
