/*
 * --init: a process in front of the command that forwards signals and reaps orphans. It runs under
 * the same capabilities and filter as the command, holds no descriptor, and is not dumpable: the
 * workload can neither trace it nor open what /proc shows of it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context.h"

/* Reaps everyone that has ended. Returns the command's wait status, or -1 as long as it runs. */
static int reap(pid_t command)
{
    int result = -1;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == command)
            result = status;
    return result;
}

__attribute__((noreturn)) static void serve(pid_t command)
{
    sigset_t all;
    (void)sigfillset(&all);
    for (;;) {
        int status = reap(command);
        if (status != -1)
            _exit(WIFSIGNALED(status) ? EXIT_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status));
        int signal = sigwaitinfo(&all, NULL);
        /* Stops are the terminal's business with the command's own process group. */
        if (signal > 0 && signal != SIGCHLD && signal != SIGTTIN && signal != SIGTTOU &&
            signal != SIGTSTP)
            (void)kill(command, signal);
    }
}

/* The command's own process group is the terminal's foreground one: ^C reaches it, not both of us.
 */
static void own_process_group(bool terminal)
{
    (void)setpgid(0, 0);
    if (terminal) {
        (void)signal(SIGTTOU, SIG_IGN);
        (void)tcsetpgrp(STDIN_FILENO, getpid());
        (void)signal(SIGTTOU, SIG_DFL);
    }
}

/*
 * Forks: returns 0 in the command's process; the caller's stays behind as the init process and ends
 * with the command's status. Returns -1 with *err if there is no second process.
 */
int init_start(struct sandbox *sandbox, struct error *err)
{
    sigset_t all, none;
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &all, NULL) < 0)
        return sandbox_fail(err, "cannot block signals");
    pid_t command = fork();
    if (command < 0)
        return sandbox_fail(err, "cannot start the command behind the init process");
    if (command == 0) {
        own_process_group(sandbox->plan->terminal);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        return 0;
    }
    (void)prctl(PR_SET_NAME, "hybrid-init", 0, 0, 0);
    /* Streams too: the command's readers and writers must not wait for us. */
    (void)close_range(0, ~0U, 0);
    serve(command);
}
