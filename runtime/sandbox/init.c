/*
 * --init: a process in front of the command that forwards signals and reaps orphans. It runs under
 * the same capabilities and filter as the command, holds no descriptor, and is not dumpable: the
 * workload can neither trace it nor open what /proc shows of it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context.h"
#include "path.h"

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
 * Overwrites the command line and environment that this process has from the caller: anyone in the
 * workload could read the former in /proc/1/cmdline. Done before the filter, which need not allow
 * opening files; what fails leaves the host's command line visible, no more. Fields 48 to 51 of
 * /proc/pid/stat say where they are (proc(5)).
 */
void init_conceal(struct sandbox *sandbox)
{
    static const char name[] = "hybrid-init";
    char path[32], text[2048];
    (void)snprintf(path, sizeof path, "%d/stat", (int)getpid());
    _cleanup_close_ int fd =
        sandbox->proc_fd < 0 ? -1 : path_open_beneath(sandbox->proc_fd, path, O_RDONLY);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length <= 0)
        return;
    text[length] = '\0';
    char *at = strrchr(text, ')'); /* the end of field 2 */
    unsigned long fields[52] = { 0 };
    for (int i = 3; at && i < 52; i++) {
        at = strchr(at + 1, ' ');
        fields[i] = at ? strtoul(at + 1, NULL, 10) : 0;
    }
    char *start =
        (char *)fields[48]; /* NOLINT(performance-no-int-to-ptr): the kernel gives numbers */
    size_t arguments = fields[49] - fields[48];
    if (!start || fields[49] <= fields[48] || fields[51] < fields[50] || arguments < sizeof name)
        return;
    memset(start, 0, arguments);
    memcpy(start, name, sizeof name);
    memset((char *)fields[50], 0, fields[51] - fields[50]); /* NOLINT(performance-no-int-to-ptr) */
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
