#include "share_jail.h"

#include "cleanup.h"
#include "error.h"
#include "runtime/sandbox/sandbox.h"
#include "vmm/landlock.h"
#include "vmm/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LAST_CAPABILITY = 63,
    /* It holds one descriptor for each file that the guest's kernel remembers. */
    WANTED_FILES = 1 << 20,
};

/* Half of what a program has; more than any guest's memory. share_rules.h says what for. */
#define ADDRESS_SPACE (1ULL << 46)
#define STACK         (8ULL << 20)

static const unsigned long MOUNT_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC;

int share_jail_add(int made_in, int seen_in, size_t number, int mount_fd)
{
    char name[24];
    struct stat status;
    (void)snprintf(name, sizeof name, "%zu", number);
    if (fstat(mount_fd, &status) < 0)
        return -1;
    int made = S_ISDIR(status.st_mode) ? mkdirat(made_in, name, 0700)
                                       : mknodat(made_in, name, S_IFREG | 0600, 0);
    return made < 0 ? -1 : move_mount(mount_fd, "", seen_in, name, MOVE_MOUNT_F_EMPTY_PATH);
}

static int make_entries(int directory, const struct share_jail *jail)
{
    for (size_t i = 0; i < jail->count; i++)
        if (share_jail_add(directory, directory, i, jail->mounts[i]) < 0)
            return -1;
    return 0;
}

/* An empty file system on the place. Returns a descriptor of it, or -1. */
static int make_place(const struct share_jail *jail)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("shares", jail->place, "tmpfs", MOUNT_FLAGS, "mode=0755,size=1m") < 0)
        return -1;
    return open(jail->place, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int make_read_only(const char *path)
{
    return mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MOUNT_FLAGS, NULL);
}

/* The program and what it is linked with: its loader looks here without being told where. */
static const char *const LIBRARIES[] = { "usr/lib", "usr/lib64", "lib", "lib64" };

/* As the host has it: the same link, or the same directory, read-only. */
static int make_library(int root, const char *path)
{
    char target[PATH_MAX];
    struct stat status;
    _cleanup_close_ int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fstatat(host, path, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -1;
    if (S_ISLNK(status.st_mode)) {
        ssize_t n = readlinkat(host, path, target, sizeof target - 1);
        if (n < 0)
            return -1;
        target[n] = '\0';
        return symlinkat(target, root, path);
    }
    struct mount_attr attributes = {
        .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
    };
    _cleanup_close_ int tree = open_tree(host, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0 ||
        mkdirat(root, path, 0755) < 0)
        return -1;
    return move_mount(tree, "", root, path, MOVE_MOUNT_F_EMPTY_PATH);
}

/* A number that it reads at its start, and does nothing with when told to keep its limits. */
static int make_file_max(int root)
{
    _cleanup_close_ int fd =
        openat(root, "proc/sys/fs/file-max", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    return fd < 0 || dprintf(fd, "%d\n", WANTED_FILES) < 0 ? -1 : 0;
}

/*
 * Of /proc, only the process's own descriptors, through which it opens files that it knows; nothing
 * lies above them but this root directory. "task" it only wants to be there.
 */
static int make_proc(int root)
{
    static const char *const DIRECTORIES[] = { "proc",         "proc/self", "proc/self/task",
                                               "proc/self/fd", "proc/sys",  "proc/sys/fs" };
    for (size_t i = 0; i < sizeof DIRECTORIES / sizeof DIRECTORIES[0]; i++)
        if (mkdirat(root, DIRECTORIES[i], 0755) < 0)
            return -1;
    _cleanup_close_ int tree =
        open_tree(AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0 || move_mount(tree, "", root, "proc/self/fd", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return -1;
    return make_file_max(root);
}

/* Makes the place what it is to be, and the root directory; the host's is gone then. */
static int make_root(const struct share_jail *jail)
{
    _cleanup_close_ int root = make_place(jail);
    if (root < 0 || mkdirat(root, "usr", 0755) < 0 || make_proc(root) < 0 ||
        mkdirat(root, SHARE_JAIL_NAME, 0755) < 0)
        return -1;
    for (size_t i = 0; i < sizeof LIBRARIES / sizeof LIBRARIES[0]; i++)
        if (make_library(root, LIBRARIES[i]) < 0)
            return -1;
    _cleanup_close_ int directory = openat(root, SHARE_JAIL_NAME, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || make_entries(directory, jail) < 0 || fchdir(root) < 0 ||
        syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -1;
    return make_read_only("/");
}

/* As many as can be had without CAP_SYS_RESOURCE. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit = { WANTED_FILES, WANTED_FILES };
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max < WANTED_FILES ? limit.rlim_max : WANTED_FILES;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* No dump of the guest's memory: 1 is less than any, and also keeps it from a program that collects
 * them, as 0 does not (core(5)). */
static int limit_resources(void)
{
    static const struct {
        __rlimit_resource_t resource;
        rlim_t most;
    } LIMITS[] = { { RLIMIT_CORE, 1 },
                   { RLIMIT_MSGQUEUE, 0 },
                   { RLIMIT_AS, ADDRESS_SPACE },
                   { RLIMIT_STACK, STACK } };
    raise_descriptor_limit();
    for (size_t i = 0; i < sizeof LIMITS / sizeof LIMITS[0]; i++) {
        struct rlimit limit;
        if (getrlimit(LIMITS[i].resource, &limit) < 0)
            return -1;
        if (limit.rlim_max > LIMITS[i].most)
            limit.rlim_max = LIMITS[i].most;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(LIMITS[i].resource, &limit) < 0)
            return -1;
    }
    return 0;
}

#define CAPABILITY(number) (1ULL << (number))

/* What it serves files with. */
static const uint64_t SERVING = CAPABILITY(CAP_CHOWN) | CAPABILITY(CAP_DAC_OVERRIDE) |
                                CAPABILITY(CAP_FOWNER) | CAPABILITY(CAP_FSETID) |
                                CAPABILITY(CAP_SETGID) | CAPABILITY(CAP_SETUID) |
                                CAPABILITY(CAP_SETFCAP);

/* execve gives a root what is left in the bounding set, and what is inheritable: nothing. */
static int bound_capabilities(uint64_t kept)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, sets) < 0)
        return -1;
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        sets[i].inheritable = 0;
    if (syscall(SYS_capset, &header, sets) < 0)
        return -1;
    for (int capability = 0; capability <= LAST_CAPABILITY; capability++)
        if (!(kept & CAPABILITY(capability)) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 &&
            errno != EINVAL) /* EINVAL: the kernel knows none with this number */
            return -1;
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static int confine_files(void)
{
    static const char *const READ_ONLY[] = { "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/proc" };
    struct landlock_tree trees[sizeof READ_ONLY / sizeof READ_ONLY[0] + 1];
    struct error err;
    size_t count = 0;
    int version;
    for (size_t i = 0; i < sizeof READ_ONLY / sizeof READ_ONLY[0]; i++) {
        /* A link, or not there: nothing to allow. execve closes what is opened here. */
        int fd = open(READ_ONLY[i], O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            trees[count++] = (struct landlock_tree){ .fd = fd, .read_only = true };
    }
    int shared = open(SHARE_JAIL_DIRECTORY, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (shared < 0)
        return -1;
    trees[count++] = (struct landlock_tree){ .fd = shared };
    return landlock_confine_to(trees, count, &version, &err);
}

/*
 * Root as it is, and owner of all files: it is to reach none by what it begins with, either. The
 * virtiofsd written in Rust ends by a SIGTERM that it was made to ignore, since it installs a
 * handler; what is blocked stays so in its threads, too.
 */
static void begin(void)
{
    sigset_t blocked;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &blocked, NULL);
    (void)umask(0);
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++)
        sandbox_guard_null(stream);
}

int share_jail_close(void *context)
{
    struct error err;
    begin();
    if (make_root(context) < 0 || limit_resources() < 0 || setgroups(0, NULL) < 0 ||
        bound_capabilities(SERVING | CAPABILITY(CAP_SETPCAP) | CAPABILITY(CAP_SYS_CHROOT)) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || confine_files() < 0)
        return -1;
    return seccomp_enter(SECCOMP_STARTUP, &err);
}

int share_jail_open(void *context)
{
    /* The last three build its own jail, in which it gives them up. */
    const uint64_t kept =
        SERVING | CAPABILITY(CAP_SETPCAP) | CAPABILITY(CAP_SYS_ADMIN) | CAPABILITY(CAP_SYS_CHROOT);
    const struct share_jail *jail = context;
    begin();
    _cleanup_close_ int directory = make_place(jail);
    if (directory < 0 || make_entries(directory, jail) < 0 || make_read_only(jail->place) < 0 ||
        limit_resources() < 0 || setgroups(0, NULL) < 0 || bound_capabilities(kept) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
