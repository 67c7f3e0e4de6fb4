/*
 * hybrid-init: PID 1 of the guest. Mounts what it needs, tells the host that it is there, and does
 * what the frames of include/wire.h ask for, until the host says SHUTDOWN or is gone.
 */
#include "guest.h"
#include "log.h"

#include "cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

enum {
    FIXED_POLL_FDS = 2 + NAMES_POLL_FDS,
    MAX_POLL_FDS = FIXED_POLL_FDS + WIRE_MAX_PROCESSES * PROCESS_RELAYS * RELAY_POLL_FDS,
    KILL_PATIENCE = 5 * 1000, /* milliseconds for the killed to be gone */
};

/* The workload may fill its own cgroup, never take its PID 1 along. */
static void protect_from_oom(void)
{
    _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "-1000", 5) < 0)
        log_error("cannot protect hybrid-init from the OOM killer: %s", strerror(errno));
}

/* The kernel opens /dev/console for PID 1 only where its root has the node. */
static int open_standard_streams(struct error *err)
{
    int fd = open("/dev/null", O_RDWR); /* 0 to 2 stay open over execve by intention */
    while (fd >= 0 && fd < STDERR_FILENO)
        fd = dup(fd);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null");
    if (fd > STDERR_FILENO)
        (void)close(fd);
    return 0;
}

static int open_signals(struct error *err)
{
    sigset_t child;
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &child, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? error_set_errno(err, EXIT_OURS, errno, "cannot watch for ended children") : fd;
}

static int say_ready(struct guest *guest, struct error *err)
{
    struct timespec since_boot;
    (void)clock_gettime(CLOCK_BOOTTIME, &since_boot);
    struct wire_ready ready = { .version = WIRE_VERSION,
                                .boot_nanoseconds = (uint64_t)since_boot.tv_sec * 1000000000 +
                                                    (uint64_t)since_boot.tv_nsec };
    return control_send(guest, WIRE_READY, WIRE_MAIN_PROCESS, &ready, sizeof ready, err);
}

static int start(struct guest *guest, struct error *err)
{
    if (boot_mount_system(err) < 0 || open_standard_streams(err) < 0)
        return -1;
    protect_from_oom();
    guest->signal_fd = open_signals(err);
    if (guest->signal_fd < 0)
        return -1;
    guest->control_fd = stream_connect(WIRE_CONTROL_PORT, err);
    if (guest->control_fd < 0)
        return -1;
    guest->reader = (struct wire_reader){ .fd = guest->control_fd, .to_guest = true };
    return say_ready(guest, err);
}

/* Every relay of every process in use. Returns the number of descriptors. */
static size_t watch_relays(const struct guest *guest, struct pollfd *fds)
{
    size_t count = 0;
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++) {
        const struct process *process = &guest->processes[i];
        for (size_t j = 0; process->state != PROCESS_UNUSED && j < PROCESS_RELAYS; j++) {
            relay_watch(&process->relays[j], fds + count);
            count += RELAY_POLL_FDS;
        }
    }
    return count;
}

/* In the same order as watch_relays, before anything else can change the table. */
static void move_relays(struct guest *guest, const struct pollfd *fds)
{
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++) {
        struct process *process = &guest->processes[i];
        for (size_t j = 0; process->state != PROCESS_UNUSED && j < PROCESS_RELAYS; j++) {
            relay_move(&process->relays[j], fds);
            fds += RELAY_POLL_FDS;
        }
    }
}

/* The sooner of two waits in milliseconds, of which -1 is none. */
static int sooner(int one, int other)
{
    return one < 0 || (other >= 0 && other < one) ? other : one;
}

static int serve(struct guest *guest, struct pollfd *fds, struct error *err)
{
    while (!guest->power_off) {
        int again = process_report(guest);
        fds[0] = (struct pollfd){ .fd = guest->control_fd, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = guest->signal_fd, .events = POLLIN };
        names_watch(&guest->names, fds + 2);
        size_t count = FIXED_POLL_FDS + watch_relays(guest, fds + FIXED_POLL_FDS);
        if (poll(fds, count, sooner(again, names_patience(&guest->names))) < 0) {
            if (errno == EINTR)
                continue;
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for events");
        }
        move_relays(guest, fds + FIXED_POLL_FDS);
        names_serve(&guest->names, fds + 2);
        if (fds[1].revents) {
            struct signalfd_siginfo ignored;
            while (read(guest->signal_fd, &ignored, sizeof ignored) > 0)
                ;
            process_reap(guest);
        }
        if (fds[0].revents && control_handle(guest, err) < 0)
            return -1;
    }
    return 0;
}

/* No process of the workload may hold the writable layer when it is unmounted. */
static void end_workload(struct guest *guest)
{
    int64_t deadline = wire_clock_milliseconds() + KILL_PATIENCE;
    if (!guest->cgroup)
        return;
    cgroup_kill(guest->cgroup);
    while (wire_clock_milliseconds() < deadline) {
        pid_t pid = waitpid(-1, NULL, WNOHANG | __WALL);
        if (pid < 0 && errno == ECHILD)
            return;
        if (pid == 0)
            (void)poll(NULL, 0, 1);
    }
    log_error("processes of the workload do not end");
}

int main(void)
{
    static struct guest guest = { .control_fd = -1, .signal_fd = -1 };
    static struct pollfd fds[MAX_POLL_FDS];
    struct error err;
    if (getpid() != 1) {
        (void)fprintf(stderr, "hybrid-init: runs only as PID 1 of a guest of hybrid-vmm\n");
        return EXIT_OURS;
    }
    if (start(&guest, &err) < 0 || serve(&guest, fds, &err) < 0)
        log_error("%s", err.message);
    end_workload(&guest);
    boot_power_off(&guest);
}
