/* The virtiofsd of a VM: which program, how it is started, what became of it. Its jail is
 * share_jail.h's. */
#include "shares.h"

#include "cleanup.h"
#include "runtime/sandbox/sandbox.h"
#include "share_jail.h"
#include "share_rules.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define SOCKET_NAME "share"

enum {
    SERVER_NAMESPACES =
        CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP,
    MAX_ARGUMENTS = 16,
    PAGE = 4096,
};

/*
 * Both are told the same: be root of nothing but the shares, no device nodes, tell mounts apart,
 * remember no attributes (the C one), so that what the host changes is seen at once. The C one has
 * a thread (RCU, of a library) before it builds its own jail, so that it gets all of ours.
 */
static const struct server_program {
    const char *path, *package;
    const char *arguments[MAX_ARGUMENTS]; /* without the shared directory, which comes last */
    const char *directory;                /* how that is given, as a format of ... */
    const char *shared;                   /* this; NULL: the jail's place */
    int (*jail)(void *context);
} PROGRAMS[] = {
    { .path = "/usr/libexec/virtiofsd",
      .package = "virtiofsd",
      .arguments = { "virtiofsd", "--fd=3", "--sandbox=namespace", "--cache=auto", "--xattr",
                     "--announce-submounts", "--modcaps=-mknod", "--rlimit-nofile=0",
                     "--log-level=error" },
      .directory = "--shared-dir=%s",
      .jail = share_jail_open },
    { .path = "/usr/lib/qemu/virtiofsd",
      .package = "qemu-system-common",
      .arguments = { "virtiofsd", "--fd=3", "-f", "-o", "sandbox=chroot,cache=auto,timeout=0,xattr",
                     "-o", "announce_submounts,modcaps=-mknod,log_level=err", "--rlimit-nofile=0",
                     "-o" },
      .directory = "source=%s",
      .shared = SHARE_JAIL_DIRECTORY,
      .jail = share_jail_close },
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

int share_clone(const struct share *share, struct error *err)
{
    _cleanup_close_ int fd = sandbox_clone_tree(share->path, share->resolved, share->recursive);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot share %s%s%s", share->path,
                               share->resolved ? ", judged by the policy as " : "",
                               share->resolved ? share->resolved : "");
    /* Devices: the host's own, which a guest has no business with. Programs: a guest that executes
     * one reads it here, and virtiofsd is to execute none. */
    struct mount_attr attributes = { .attr_set =
                                         MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                                     .propagation = MS_PRIVATE };
    if (share->read_only)
        attributes.attr_set |= MOUNT_ATTR_RDONLY;
    if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot restrict the share of %s",
                               share->path);
    return take_fd(&fd);
}

static void jail_free(struct share_jail *jail)
{
    for (size_t i = 0; i < jail->count; i++)
        (void)close(jail->mounts[i]);
    free(jail->mounts);
}

static int jail_prepare(struct share_jail *jail, const struct shares *shares, const char *directory,
                        struct error *err)
{
    *jail = (struct share_jail){ .place = directory,
                                 .mounts = calloc(shares->count + 1, sizeof *jail->mounts) };
    if (!jail->mounts)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < shares->count; i++) {
        int fd = share_clone(&shares->entries[i], err);
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

static int execute(const struct server_program *program, const char *path,
                   struct share_server *server, const struct share_jail *jail, int listener,
                   int log_fd, const struct cgroup *cgroup, struct error *err)
{
    char *argv[MAX_ARGUMENTS + 2] = { NULL };
    size_t count = 0;
    for (; program->arguments[count]; count++)
        argv[count] = (char *)program->arguments[count];
    _cleanup_free_ char *directory = NULL;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (asprintf(&directory, program->directory, program->shared ? program->shared : jail->place) <
        0)
        return error_set(err, EXIT_OURS, "out of memory");
#pragma GCC diagnostic pop
    argv[count] = directory;
    struct spawn_request request = {
        .path = path,
        .argv = argv,
        .fds = &listener,
        .fd_count = 1,
        .stdout_fd = -1,
        .stderr_fd = log_fd,
        .namespaces = SERVER_NAMESPACES,
        .cgroup = cgroup,
        .prepare = program->jail,
        .context = (void *)jail,
    };
    return spawn_program(&request, &server->process, err);
}

/* The path lies where the jail's filter wants it (share_rules.h), for as long as it takes. */
static int execute_from_page(const struct server_program *program, struct share_server *server,
                             const struct share_jail *jail, int listener, int log_fd,
                             const struct cgroup *cgroup, struct error *err)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): the filter has numbers */
    void *wanted = (void *)(uintptr_t)SHARE_PROGRAM_PAGE;
    char *path = mmap(wanted, PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (path == MAP_FAILED)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make the page of virtiofsd's path");
    (void)snprintf(path, PAGE, "%s", program->path);
    int result = execute(program, path, server, jail, listener, log_fd, cgroup, err);
    (void)munmap(path, PAGE);
    return result;
}

int share_server_start(struct share_server *server, const struct shares *shares,
                       const char *directory, const struct cgroup *cgroup, int *socket,
                       struct error *err)
{
    int log_ends[2];
    struct share_jail jail;
    const struct server_program *program = find_program();
    if (!program) {
        (void)error_set(err, EXIT_OURS,
                        "cannot share %s with a VM: there is no virtiofsd; install the package "
                        "virtiofsd (Debian 12: qemu-system-common), or use --isolation=container",
                        shares->count > 0 ? shares->entries[0].path : "the files of containers");
        return error_see_doctor(err, "shares");
    }
    /* Its mount namespace is a copy that it makes by itself, out of what was there before. */
    if (shares->later && program->jail != share_jail_close)
        return error_set(err, EXIT_OURS,
                         "cannot make the VM of a pod: %s is given all of its files when it "
                         "starts, and the containers of a pod come later; this works with "
                         "virtiofsd of QEMU (up to version 7) only, which is not installed",
                         program->path);
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
        result = execute_from_page(program, server, &jail, listener, log_fd, cgroup, err);
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
