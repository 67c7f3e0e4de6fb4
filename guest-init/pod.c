/*
 * PID 1 of a pod's machine: starts the inits of containers, and cleans up after one that ended
 * without doing it. What it is asked for at any time must not wait for that: it happens in children
 * whose end nobody awaits.
 */
#include "guest.h"
#include "log.h"

#include "cleanup.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int pod_prepare(struct guest *guest, const struct wire_pod *request, struct error *err)
{
    guest->role = GUEST_POD;
    if (boot_set_clock(request->clock_seconds, request->clock_nanoseconds, err) < 0)
        return -1;
    if (request->flags & WIRE_SHARES) {
        if (boot_mount_shares(err) < 0)
            return -1;
        guest->shared = true;
    }
    return request->shm_size > 0 ? boot_mount_shm(request->shm_size, err) : 0;
}

static struct pod_member *find_unused(struct guest *guest)
{
    for (size_t i = 0; i < POD_MEMBERS; i++) {
        if (guest->members[i].pid == 0)
            return &guest->members[i];
    }
    return NULL;
}

/* The descriptors stay the caller's. */
static int fork_init(struct guest *guest, struct pod_member *member, uint32_t number,
                     int control_fd, int pids_fd, struct error *err)
{
    int news[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, news) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pair of sockets in the guest");
    const struct container_ends ends = { control_fd, news[1], pids_fd };
    pid_t pid = fork();
    if (pid == 0)
        container_serve(guest, &ends, number);
    int cause = errno;
    (void)close(news[1]);
    if (pid > 0) {
        *member =
            (struct pod_member){ .pid = pid, .number = number, .news_fd = news[0], .pids_fd = -1 };
        return 0;
    }
    (void)close(news[0]);
    return error_set_errno(err, EXIT_OURS, cause, "cannot make the container's init in the guest");
}

int pod_start_container(struct guest *guest, const struct wire_container *request,
                        struct error *err)
{
    struct pod_member *member = find_unused(guest);
    if (!member)
        return error_set(err, EXIT_OURS, "%d containers are running in this pod already",
                         POD_MEMBERS);
    /* Here, where a failure can still be told. */
    bool joins = request->processes != WIRE_OWN_PROCESSES;
    _cleanup_close_ int processes = joins ? pids_open(guest, request->processes, err) : -1;
    if (joins && processes < 0)
        return -1;
    _cleanup_close_ int connection = stream_connect(request->port, err);
    if (connection < 0)
        return -1;
    return fork_init(guest, member, request->number, connection, processes, err);
}

/* Does something in a child; or here, where none can be made: late is better than never. */
static void do_aside(void (*work)(uint32_t first, uint32_t count), uint32_t first, uint32_t count)
{
    pid_t pid = fork();
    if (pid > 0)
        return;
    if (pid == 0)
        (void)close_range(STDERR_FILENO + 1, ~0U, 0); /* the host must see our end, not its */
    work(first, count);
    if (pid == 0)
        _exit(0);
}

/*
 * As long as the kernel remembers a share's root by its name, virtiofsd holds it open. To make a
 * directory of that name, the kernel asks the host what is there, and as there is nothing any more,
 * forgets the name and unmounts what is mounted on it in any mount namespace. There is no other way
 * to do that for one name. The directory itself is refused: what the host serves there is
 * read-only.
 */
static void forget_shares(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, WIRE_SHARE_DIRECTORY "/%u", i);
        if (mkdir(path, 0700) == 0)
            (void)rmdir(path);
        else if (errno == EEXIST)
            log_error("%s, which the host has taken away, is still there", path);
    }
}

void pod_forget(const struct wire_forget *request)
{
    do_aside(forget_shares, request->first, request->count);
}

static void remove_cgroups(uint32_t first, uint32_t count)
{
    for (uint32_t number = first; number < first + count; number++) {
        struct error err;
        char name[CGROUP_NAME];
        workload_name_cgroup(number, name);
        if (cgroup_remove(name, &err) < 0)
            log_error("%s", err.message);
    }
}

void pod_note_end(struct guest *guest, pid_t pid, int status)
{
    if (guest->pause == pid)
        guest->pause = 0;
    for (size_t i = 0; i < POD_MEMBERS; i++) {
        struct pod_member *member = &guest->members[i];
        if (member->pid != pid)
            continue;
        if (status != 0)
            do_aside(remove_cgroups, member->number, 1);
        cleanup_close(&member->news_fd);
        cleanup_close(&member->pids_fd);
        *member = (struct pod_member){ 0 };
        return;
    }
}

void pod_end(struct guest *guest)
{
    for (size_t i = 0; i < POD_MEMBERS; i++) {
        struct error missing;
        char name[CGROUP_NAME];
        if (guest->members[i].pid == 0)
            continue;
        (void)kill(guest->members[i].pid, SIGKILL); /* it would go on making processes */
        workload_name_cgroup(guest->members[i].number, name);
        struct cgroup *cgroup = cgroup_open(name, &missing);
        if (cgroup)
            cgroup_kill(cgroup);
        cgroup_close(cgroup);
    }
    if (guest->pause > 0)
        (void)kill(guest->pause, SIGKILL);
    process_await_all();
}
