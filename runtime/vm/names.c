#include "names.h"

#include "cleanup.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { ARGUMENTS = 6, ARGUMENT_LENGTH = 64 };

/* As MONITOR_FIRST_UID (boot.c), and apart from those: process ids are below 2^22. */
static const uid_t HELPER_FIRST_UID = 2010000000;

struct arguments {
    char text[ARGUMENTS][ARGUMENT_LENGTH];
    char *values[ARGUMENTS + 1];
};

static void make_arguments(struct arguments *arguments, struct in_addr server)
{
    char address[INET_ADDRSTRLEN];
    uid_t uid = HELPER_FIRST_UID + (uid_t)getpid();
    (void)inet_ntop(AF_INET, &server, address, sizeof address);
    (void)snprintf(arguments->text[0], ARGUMENT_LENGTH, "hybrid-names");
    (void)snprintf(arguments->text[1], ARGUMENT_LENGTH, "--stream-fd=%d", SPAWN_FIRST_FD);
    (void)snprintf(arguments->text[2], ARGUMENT_LENGTH, "--network-fd=%d", SPAWN_FIRST_FD + 1);
    (void)snprintf(arguments->text[3], ARGUMENT_LENGTH, "--address=%s", address);
    (void)snprintf(arguments->text[4], ARGUMENT_LENGTH, "--uid=%u", uid);
    (void)snprintf(arguments->text[5], ARGUMENT_LENGTH, "--gid=%u", uid);
    for (size_t i = 0; i < ARGUMENTS; i++)
        arguments->values[i] = arguments->text[i];
    arguments->values[ARGUMENTS] = NULL;
}

int name_helper_start(struct name_helper *helper, const struct network *network,
                      const char *exe_dir, int stderr_fd, const struct cgroup *cgroup,
                      struct error *err)
{
    int ends[2];
    struct arguments arguments;
    _cleanup_free_ char *program = NULL;
    if (asprintf(&program, "%s/hybrid-names", exe_dir) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    _cleanup_close_ int namespace_fd = ioctl(network->netlink_fd, SIOCGSKNS);
    if (namespace_fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make the descriptors of %s", program);
    helper->stream_fd = ends[0];
    _cleanup_close_ int stream = ends[1];
    const int fds[] = { stream, namespace_fd };
    make_arguments(&arguments, network->name_server);
    struct spawn_request request = {
        .path = program,
        .argv = arguments.values,
        .fds = fds,
        .fd_count = sizeof fds / sizeof fds[0],
        .stdout_fd = -1,
        .stderr_fd = stderr_fd,
        .namespaces = CLONE_NEWPID, /* as with hybrid-vmm: it need not double itself */
        .cgroup = cgroup,
    };
    return spawn_program(&request, &helper->process, err);
}

bool name_helper_failed(const struct name_helper *helper, char *text, size_t size)
{
    siginfo_t info = { 0 };
    if (helper->process.pid <= 0 ||
        waitid(P_PIDFD, (id_t)helper->process.pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
        info.si_pid == 0)
        return false;
    bool exited = info.si_code == CLD_EXITED;
    if (exited && info.si_status == 0)
        (void)snprintf(text, size, "the guest closed its connection for names");
    else
        (void)snprintf(text, size, "hybrid-names, which asks its name server, %s %d",
                       exited ? "exited with status" : "was ended by signal", info.si_status);
    return true;
}

void name_helper_stop(struct name_helper *helper)
{
    if (helper->process.pid > 0)
        (void)syscall(SYS_pidfd_send_signal, helper->process.pidfd, SIGKILL, NULL, 0);
    (void)spawn_wait(&helper->process);
    cleanup_close(&helper->stream_fd);
    helper->stream_fd = -1;
}
