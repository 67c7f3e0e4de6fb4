/*
 * The listener of a filter that leaves decisions to an agent. Once such a filter is loaded, any
 * system call of the process may wait for the agent, which has no listener yet: so the number goes
 * to the caller through shared memory, the caller takes the descriptor out of the process by
 * pidfd_getfd(2), and the process waits by looking. Specification: runtime-spec 1.2,
 * config-linux.md, "Seccomp"; seccomp_unotify(2).
 */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "context.h"

enum { PATIENCE_SECONDS = 30, LOOK_MILLISECONDS = 1 };

struct listener_page {
    bool limited; /* RLIMIT_NOFILE is to be set to this by the caller */
    struct rlimit descriptors;
    atomic_int offered; /* the listener's number in the process, plus 1 */
    atomic_bool taken;
};

static struct listener_page *map_page(int fd)
{
    void *page =
        mmap(NULL, sizeof(struct listener_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return page == MAP_FAILED ? NULL : page;
}

struct listener_page *listener_announce(struct sandbox *sandbox, struct error *err)
{
    _cleanup_close_ int fd = memfd_create("listener", MFD_CLOEXEC);
    struct listener_page *page = fd < 0 || ftruncate(fd, sizeof *page) < 0 ? NULL : map_page(fd);
    /*
     * The listener needs a number, which the command's limit may not have; and when it is there,
     * the agent would be asked about the limit. So that is left to the caller.
     */
    if (page) {
        page->limited = sandbox->descriptors_limited;
        page->descriptors = sandbox->descriptors;
        sandbox->descriptors_limited = false;
    }
    if (page && child_send(sandbox->sync_fd, SANDBOX_LISTENING, NULL, &fd) == 0)
        return page;
    (void)sandbox_fail(err, "cannot announce the seccomp listener");
    return NULL;
}

/*
 * Makes no system call: this clock is read in the vDSO. A caller that was killed leaves nobody who
 * would take the listener; a fault is the one end that needs no system call either.
 */
void listener_offer(struct listener_page *page, int listener)
{
    struct timespec start, now;
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &start);
    atomic_store(&page->offered, listener + 1);
    do
        (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    while (!atomic_load(&page->taken) && now.tv_sec - start.tv_sec < PATIENCE_SECONDS);
    if (!atomic_load(&page->taken))
        __builtin_trap();
}

/* Returns the number, or -1 if the child has something to say, or has ended. */
static int await_offer(const struct sandbox_child *child, struct listener_page *page)
{
    struct pollfd answer = { .fd = child->sync_fd, .events = POLLIN };
    for (;;) {
        int offered = atomic_load(&page->offered);
        if (offered > 0)
            return offered - 1;
        if (poll(&answer, 1, LOOK_MILLISECONDS) == 1)
            return -1;
    }
}

/* Returns -1 if it has ended. */
static pid_t pid_of(int pidfd)
{
    char path[64], line[128];
    int pid = -1;
    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "Pid:", 4) == 0)
            pid = (int)strtol(line + 4, NULL, 10);
    if (file)
        (void)fclose(file);
    return pid;
}

static int limit_descriptors(const struct sandbox_child *child, const struct listener_page *page,
                             struct error *err)
{
    pid_t pid = page->limited ? pid_of(child->pidfd) : 0;
    if (!page->limited || (pid > 0 && prlimit(pid, RLIMIT_NOFILE, &page->descriptors, NULL) == 0))
        return 0;
    return sandbox_fail(err, "cannot set the limit of open files of a process that has a seccomp "
                             "listener");
}

static int take_and_pass(const struct sandbox_child *child, int number, struct error *err)
{
    _cleanup_close_ int listener = (int)syscall(SYS_pidfd_getfd, child->pidfd, number, 0);
    if (listener < 0)
        return sandbox_fail(err, "cannot take the seccomp listener out of the process");
    return child->pass_listener(child->listener_context, listener, err);
}

int listener_accept(const struct sandbox_child *child, int page_fd, struct error *err)
{
    if (!child->pass_listener)
        return error_set(err, EXIT_OURS,
                         "the seccomp filter asks an agent, and there is none for this process");
    struct listener_page *page = map_page(page_fd);
    if (!page)
        return sandbox_fail(err, "cannot share memory with the new process");
    int number = await_offer(child, page);
    int result = number < 0 ? 0 : take_and_pass(child, number, err);
    if (number >= 0 && result == 0)
        result = limit_descriptors(child, page, err);
    atomic_store(&page->taken, result == 0);
    (void)munmap(page, sizeof *page);
    return result;
}
