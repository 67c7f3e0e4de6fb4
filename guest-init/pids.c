/*
 * Pid namespaces that containers of a pod share: the pod's, whose process 1 is a child of PID 1
 * that does nothing, and those of containers, which others join to look into them.
 */
#include "guest.h"

#include "cleanup.h"
#include "io.h"
#include "runtime/plan/compose.h"

#include <errno.h>
#include <fcntl.h>

/* What the host writes for each namespace that is joined. */
static const char JOINED[] = "/proc/self/ns/pid";

static int open_of(pid_t pid, struct error *err)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd
                   : error_set_errno(err, EXIT_OURS, errno, "cannot open %s in the guest", path);
}

/* --- the pod's -----------------------------------------------------------------------------------
 */

/*
 * As the sandbox on the host: nobody, in an empty root, without capabilities, so that there is
 * nothing to be had from a process that every container of the pod may see.
 */
static json_t *describe_pause(void)
{
    return json_pack("{s:s, s:{s:s}, s:{s:[{s:s},{s:s}]}}", "ociVersion", "1.0.2", "root", "path",
                     "/", "linux", "namespaces", "type", "pid", "type", "mount");
}

static int execute_pause(struct guest *guest, const struct plan *plan, struct error *err)
{
    const struct sandbox_root nothing = { 0 };
    struct sandbox_request request = { .plan = plan,
                                       .root = &nothing,
                                       .stdio = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO },
                                       .cgroup_fd = -1,
                                       .join_pidfd = -1,
                                       .hold_for_good = true };
    struct sandbox_child child;
    if (sandbox_spawn(&request, &child, err) < 0 || sandbox_set_up(&child, err) < 0 ||
        sandbox_execute(&child, err) < 0)
        return -1;
    guest->pause = child.pid; /* whose end process_reap notices */
    child.pid = 0;
    sandbox_abandon(&child);
    return 0;
}

static int start_pause(struct guest *guest, struct error *err)
{
    struct plan plan;
    json_t *document = describe_pause();
    if (!document)
        return error_set(err, EXIT_OURS, "out of memory");
    if (plan_parse(document, PLAN_PARSE_SANDBOX, &plan, err) < 0)
        return -1;
    int result = execute_pause(guest, &plan, err);
    plan_free(&plan);
    return result;
}

/* --- a container's -------------------------------------------------------------------------------
 */

static int refuse(uint32_t number, struct error *err)
{
    return error_set(err, EXIT_OURS,
                     "container %u of this pod, whose processes are to be shared, has none, or has "
                     "ended",
                     number);
}

/* What its init has sent meanwhile. */
static void read_news(struct pod_member *member)
{
    char word;
    int fds[IO_MAX_FDS];
    size_t count;
    if (member->news_fd < 0 ||
        io_receive_fds(member->news_fd, &word, sizeof word, fds, &count) <= 0)
        return;
    if (count > 0)
        member->pids_fd = fds[0];
    while (count > 1)
        (void)close(fds[--count]);
    cleanup_close(&member->news_fd);
    member->news_fd = -1;
}

static int open_members(struct guest *guest, uint32_t number, struct error *err)
{
    struct pod_member *member = NULL;
    for (size_t i = 0; i < POD_MEMBERS && !member; i++)
        if (guest->members[i].pid > 0 && guest->members[i].number == number)
            member = &guest->members[i];
    if (!member)
        return refuse(number, err);
    read_news(member);
    if (member->pids_fd < 0)
        return refuse(number, err);
    int fd = fcntl(member->pids_fd, F_DUPFD_CLOEXEC, 0);
    return fd >= 0
               ? fd
               : error_set_errno(err, EXIT_OURS, errno, "cannot copy a descriptor in the guest");
}

int pids_open(struct guest *guest, uint32_t whose, struct error *err)
{
    if (whose != WIRE_PODS_PROCESSES)
        return open_members(guest, whose, err);
    if (guest->pause == 0 && start_pause(guest, err) < 0)
        return -1;
    return open_of(guest->pause, err);
}

int pids_announce(struct guest *guest, pid_t pid, struct error *err)
{
    _cleanup_close_ int fd = open_of(pid, err);
    if (fd < 0)
        return -1;
    if (io_send_fds(guest->news_fd, "", 1, &fd, 1) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot reach PID 1 of the guest");
    return 0;
}

int pids_adopt(struct guest *guest, struct error *err)
{
    const char **path = &guest->workload.plan.namespaces.path[PLAN_NS_PID];
    if ((*path != NULL) != guest->joins || (*path && strcmp(*path, JOINED) != 0))
        return error_set(err, EXIT_OURS, "linux.namespaces: pid: there is no %s in the guest",
                         *path ? *path : "container whose processes were to be shared");
    if (!guest->joins)
        return 0;
    (void)snprintf(guest->pids_path, sizeof guest->pids_path, "/proc/self/fd/%d", guest->pids_fd);
    *path = guest->pids_path;
    return 0;
}
