/*
 * Starts a program as the VM back end starts hybrid-vmm, with its code, and tells how that ended:
 *
 *     launch FD,FD,... PROGRAM ARGUMENT...
 *
 * The descriptors become 3, 4, ... there. Prints "pid N" when it runs and "exit N" or "signal N" at
 * its end. The program dies with this one.
 */
#include "runtime/vm/spawn.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>

int main(int argument_count, char **arguments)
{
    int fds[64];
    size_t count = 0;
    struct error err;
    struct spawned spawned;
    if (argument_count < 3)
        return 2;
    for (char *at = arguments[1]; *at && count < sizeof fds / sizeof fds[0];) {
        fds[count++] = (int)strtol(at, &at, 10);
        at += *at == ',';
    }
    struct spawn_request request = { .path = arguments[2],
                                     .argv = arguments + 2,
                                     .fds = fds,
                                     .fd_count = count,
                                     .stdout_fd = -1,
                                     .stderr_fd = STDERR_FILENO,
                                     .namespaces = CLONE_NEWPID };
    if (spawn_program(&request, &spawned, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.message);
        return err.exit_code;
    }
    for (size_t i = 0; i < count; i++)
        (void)close(fds[i]); /* the ends of its sockets and pipes are its own */
    (void)printf("pid %d\n", (int)spawned.pid);
    (void)fflush(stdout);
    int status = spawn_wait(&spawned);
    if (WIFEXITED(status))
        (void)printf("exit %d\n", WEXITSTATUS(status));
    else
        (void)printf("signal %d\n", WTERMSIG(status));
    return 0;
}
