/*
 * The virtiofsd of a VM and its jail. What it can reach: the shares, each a private, non-recursive
 * or recursive bind with devices disabled, read-only where that was asked for; they are entries of
 * a tmpfs that is mounted nowhere else and becomes its root directory (its own sandbox=namespace:
 * pivot_root, a seccomp filter, the capabilities that a file server needs). Around it are
 * namespaces of its own, of which it is process 1, and the workload's cgroup.
 */
#include "shares.h"

#include "cleanup.h"
#include "runtime/sandbox/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define SOCKET_NAME "share"

enum {
    SERVER_NAMESPACES =
        CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP,
    LAST_CAPABILITY = 63,
    MAX_ARGUMENTS = 16,
    /* It holds one descriptor for each file that the guest's kernel remembers. */
    WANTED_FILES = 1 << 20,
    LAST_BREATH = 1000, /* milliseconds until a process is gone whose sockets are closed */
};

/*
 * Both are told the same: be root of nothing but the shares, no device nodes, tell mounts apart,
 * remember no attributes (the C one), so that what the host changes is seen at once.
 */
static const struct server_program {
    const char *path, *package;
    const char *arguments[MAX_ARGUMENTS]; /* without the shared directory, which comes last */
    const char *directory;                /* how that is given */
} PROGRAMS[] = {
    { "/usr/libexec/virtiofsd",
      "virtiofsd",
      { "virtiofsd", "--fd=3", "--sandbox=namespace", "--cache=auto", "--xattr",
        "--announce-submounts", "--modcaps=-mknod", "--rlimit-nofile=0", "--log-level=error" },
      "--shared-dir=%s" },
    { "/usr/lib/qemu/virtiofsd",
      "qemu-system-common",
      { "virtiofsd", "--fd=3", "-o", "sandbox=namespace,cache=auto,timeout=0,xattr", "-o",
        "announce_submounts,modcaps=-mknod,log_level=err", "--rlimit-nofile=0", "-o" },
      "source=%s" },
};

enum { PROGRAM_COUNT = sizeof PROGRAMS / sizeof PROGRAMS[0] };

static const struct server_program *find_program(void)
{
    for (size_t i = 0; i < PROGRAM_COUNT; i++)
        if (access(PROGRAMS[i].path, X_OK) == 0)
            return &PROGRAMS[i];
    return NULL;
}

const char *share_server_program(const char **package)
{
    const struct server_program *program = find_program();
    *package = "virtiofsd (Debian 13 and later), qemu-system-common (Debian 12)";
    return program ? program->path : NULL;
}

/* --- in the child, between clone3 and execve ----------------------------------------------------
 */

struct jail {
    const char *place; /* an existing directory: becomes the shared one, for this process alone */
    int *mounts;       /* detached; entry n of the shared directory */
    size_t count;
};

static int make_entry(int directory, size_t number, int mount_fd)
{
    char name[24];
    struct stat status;
    (void)snprintf(name, sizeof name, "%zu", number);
    if (fstat(mount_fd, &status) < 0)
        return -1;
    int made = S_ISDIR(status.st_mode) ? mkdirat(directory, name, 0700)
                                       : mknodat(directory, name, S_IFREG | 0600, 0);
    return made < 0 ? -1 : move_mount(mount_fd, "", directory, name, MOVE_MOUNT_F_EMPTY_PATH);
}

static int make_shared_directory(const struct jail *jail)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("shares", jail->place, "tmpfs", flags, "mode=0755,size=1m") < 0)
        return -1;
    _cleanup_close_ int directory = open(jail->place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; directory >= 0 && i < jail->count; i++)
        if (make_entry(directory, i, jail->mounts[i]) < 0)
            return -1;
    if (directory < 0)
        return -1;
    return mount(NULL, jail->place, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL);
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

/* What it serves files with; the last three build its own jail, in which it gives them up. */
static const int KEPT_CAPABILITIES[] = {
    CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,  CAP_FSETID,    CAP_SETGID,
    CAP_SETUID, CAP_SETFCAP,      CAP_SETPCAP, CAP_SYS_ADMIN, CAP_SYS_CHROOT,
};

static bool is_kept(int capability)
{
    for (size_t i = 0; i < sizeof KEPT_CAPABILITIES / sizeof KEPT_CAPABILITIES[0]; i++)
        if (KEPT_CAPABILITIES[i] == capability)
            return true;
    return false;
}

static int bound_capabilities(void)
{
    for (int capability = 0; capability <= LAST_CAPABILITY; capability++)
        if (!is_kept(capability) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 &&
            errno != EINVAL) /* EINVAL: the kernel knows none with this number */
            return -1;
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static int enter_jail(void *context)
{
    const struct jail *jail = context;
    (void)umask(0);
    if (make_shared_directory(jail) < 0)
        return -1;
    raise_descriptor_limit();
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (bound_capabilities() < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* --- in hybrid ----------------------------------------------------------------------------------
 */

static int clone_share(const struct share *share, struct error *err)
{
    _cleanup_close_ int fd = sandbox_clone_tree(share->path, share->resolved, share->recursive);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot share %s%s%s", share->path,
                               share->resolved ? ", judged by the policy as " : "",
                               share->resolved ? share->resolved : "");
    /* Devices: the host's own, which a guest has no business with. */
    struct mount_attr attributes = { .attr_set = MOUNT_ATTR_NODEV, .propagation = MS_PRIVATE };
    if (share->read_only)
        attributes.attr_set |= MOUNT_ATTR_RDONLY;
    if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot restrict the share of %s",
                               share->path);
    return take_fd(&fd);
}

static void jail_free(struct jail *jail)
{
    for (size_t i = 0; i < jail->count; i++)
        (void)close(jail->mounts[i]);
    free(jail->mounts);
}

static int jail_prepare(struct jail *jail, const struct shares *shares, const char *directory,
                        struct error *err)
{
    *jail =
        (struct jail){ .place = directory, .mounts = calloc(shares->count, sizeof *jail->mounts) };
    if (!jail->mounts)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < shares->count; i++) {
        int fd = clone_share(&shares->entries[i], err);
        if (fd < 0)
            return -1;
        jail->mounts[jail->count++] = fd;
    }
    return 0;
}

/*
 * virtiofsd wants a socket that it can accept a connection from. It has a name for a moment, in a
 * directory that only root can enter, and one connection, which is ours.
 */
static int make_connection(const char *directory, int *listener, int *connected, struct error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    _cleanup_close_ int place = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    _cleanup_close_ int ours = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/" SOCKET_NAME,
                   place);
    if (place < 0 || listening < 0 || ours < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a socket for virtiofsd");
    (void)unlinkat(place, SOCKET_NAME, 0); /* of a process that was killed */
    bool made = bind(listening, (struct sockaddr *)&address, sizeof address) == 0 &&
                listen(listening, 1) == 0 &&
                connect(ours, (struct sockaddr *)&address, sizeof address) == 0;
    int cause = errno;
    (void)unlinkat(place, SOCKET_NAME, 0);
    if (!made)
        return error_set_errno(err, EXIT_OURS, cause, "cannot make a socket in %s", directory);
    *listener = take_fd(&listening);
    *connected = take_fd(&ours);
    return 0;
}

static int execute(const struct server_program *program, struct share_server *server,
                   const struct jail *jail, int listener, int log_fd, const struct cgroup *cgroup,
                   struct error *err)
{
    char *argv[MAX_ARGUMENTS + 2] = { NULL };
    size_t count = 0;
    for (; program->arguments[count]; count++)
        argv[count] = (char *)program->arguments[count];
    _cleanup_free_ char *directory = NULL;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (asprintf(&directory, program->directory, jail->place) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
#pragma GCC diagnostic pop
    argv[count] = directory;
    struct spawn_request request = {
        .path = program->path,
        .argv = argv,
        .fds = &listener,
        .fd_count = 1,
        .stdout_fd = -1,
        .stderr_fd = log_fd,
        .namespaces = SERVER_NAMESPACES,
        .cgroup = cgroup,
        .prepare = enter_jail,
        .context = (void *)jail,
    };
    return spawn_program(&request, &server->process, err);
}

int share_server_start(struct share_server *server, const struct shares *shares,
                       const char *directory, const struct cgroup *cgroup, int *socket,
                       struct error *err)
{
    int log_ends[2];
    struct jail jail;
    const struct server_program *program = find_program();
    if (!program) {
        (void)error_set(err, EXIT_OURS,
                        "cannot share %s with a VM: there is no virtiofsd; install the package "
                        "virtiofsd (Debian 12: qemu-system-common), or use --isolation=container",
                        shares->entries[0].path);
        return error_see_doctor(err, "shares");
    }
    if (pipe2(log_ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    server->log_fd = log_ends[0];
    _cleanup_close_ int log_fd = log_ends[1];
    _cleanup_close_ int listener = -1;
    _cleanup_close_ int connected = -1;
    int result = jail_prepare(&jail, shares, directory, err);
    if (result == 0)
        result = make_connection(directory, &listener, &connected, err);
    if (result == 0)
        result = execute(program, server, &jail, listener, log_fd, cgroup, err);
    jail_free(&jail);
    if (result == 0)
        *socket = take_fd(&connected);
    return result;
}

/* The last line that it wrote, printable. */
static void last_words(const struct share_server *server, char *text, size_t size)
{
    char log[4096];
    size_t length = 0;
    for (ssize_t n; (n = read(server->log_fd, log + length, sizeof log - 1 - length)) > 0;)
        length += (size_t)n;
    while (length > 0 && log[length - 1] == '\n')
        length--;
    log[length] = '\0';
    const char *line = strrchr(log, '\n');
    (void)snprintf(text, size, "%.255s", line ? line + 1 : log);
    for (char *at = text; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
}

bool share_server_failed(const struct share_server *server, char *text, size_t size)
{
    siginfo_t info = { 0 };
    char words[256];
    if (server->process.pid <= 0 ||
        waitid(P_PIDFD, (id_t)server->process.pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
        info.si_pid == 0)
        return false;
    last_words(server, words, sizeof words);
    bool exited = info.si_code == CLD_EXITED;
    (void)snprintf(text, size, "virtiofsd, which serves its shared files, %s %d%s%s",
                   exited ? "exited with status" : "was ended by signal", info.si_status,
                   *words ? ": " : "", words);
    return true;
}

void share_server_stop(struct share_server *server)
{
    if (server->process.pid > 0)
        (void)syscall(SYS_pidfd_send_signal, server->process.pidfd, SIGKILL, NULL, 0);
    (void)spawn_wait(&server->process);
    cleanup_close(&server->log_fd);
    server->log_fd = -1;
}
