/* Starts a program with chosen descriptors and nothing else of ours. */
#ifndef HYBRID_VM_SPAWN_H
#define HYBRID_VM_SPAWN_H

#include "error.h"
#include "runtime/cgroup/cgroup.h"

enum { SPAWN_FIRST_FD = 3 };

struct spawn_request {
    const char *path;
    char *const *argv;
    const int *fds; /* become 3, 4, ... in the program */
    size_t fd_count;
    int stdout_fd, stderr_fd;    /* -1: /dev/null */
    int namespaces;              /* CLONE_NEW*: it is born in such; NEWPID makes it process 1 */
    const struct cgroup *cgroup; /* it is born or moves there; NULL: stays in ours */
    /* What else is to be done in the new process before it is executed. Returns 0, or -1 with
     * errno. NULL: nothing. */
    int (*prepare)(void *context);
    void *context;
};

struct spawned {
    pid_t pid;
    int pidfd; /* the caller's */
};

/*
 * The program runs in a session of its own, without our environment, signal mask and dispositions
 * (it ignores SIGTERM), and is killed when the calling process ends (PR_SET_PDEATHSIG). Returns 0
 * once it has been executed, or -1 with *err and no process left.
 */
int spawn_program(const struct spawn_request *request, struct spawned *spawned, struct error *err);

/* Waits for its end and closes the pidfd. Returns the status as of waitpid(2), or -1. */
int spawn_wait(struct spawned *spawned);

#endif
