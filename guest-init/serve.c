/* The loop of a process of hybrid-init: one connection to the host, children, and their streams. */
#include "guest.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>

enum {
    FIXED_POLL_FDS = 2 + NAMES_POLL_FDS,
    MAX_POLL_FDS = FIXED_POLL_FDS + WIRE_MAX_PROCESSES * PROCESS_RELAYS * RELAY_POLL_FDS,
};

int serve_open_signals(struct guest *guest, struct error *err)
{
    sigset_t child;
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &child, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    guest->signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (guest->signal_fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch for ended children");
    return 0;
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

/* Every relay of every process in use. Returns the number of descriptors. */
static size_t watch_relays(const struct workload *workload, struct pollfd *fds)
{
    size_t count = 0;
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++) {
        const struct process *process = &workload->processes[i];
        for (size_t j = 0; process->state != PROCESS_UNUSED && j < PROCESS_RELAYS; j++) {
            relay_watch(&process->relays[j], fds + count);
            count += RELAY_POLL_FDS;
        }
    }
    return count;
}

/* In the same order as watch_relays, before anything else can change the table. */
static void move_relays(struct workload *workload, const struct pollfd *fds)
{
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++) {
        struct process *process = &workload->processes[i];
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

int serve(struct guest *guest, struct error *err)
{
    static struct pollfd fds[MAX_POLL_FDS]; /* too many for a stack */
    guest->reader = (struct wire_reader){ .fd = guest->control_fd, .to_guest = true };
    if (say_ready(guest, err) < 0)
        return -1;
    while (!guest->done) {
        int again = process_report(guest);
        fds[0] = (struct pollfd){ .fd = guest->control_fd, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = guest->signal_fd, .events = POLLIN };
        names_watch(&guest->names, fds + 2);
        size_t count = FIXED_POLL_FDS + watch_relays(&guest->workload, fds + FIXED_POLL_FDS);
        if (poll(fds, count, sooner(again, names_patience(&guest->names))) < 0) {
            if (errno == EINTR)
                continue;
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for events");
        }
        move_relays(&guest->workload, fds + FIXED_POLL_FDS);
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
