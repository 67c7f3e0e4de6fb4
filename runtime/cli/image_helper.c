#include "image_helper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

int image_helper_exec(const struct cli *cli, const char *const *arguments, char *const *operands,
                      struct error *err)
{
    size_t count = 0;
    for (char *const *at = operands; *at; at++)
        count++;
    for (const char *const *at = arguments; *at; at++)
        count++;
    _cleanup_free_ char *program = NULL;
    _cleanup_free_ const char **argv = calloc(count + 8, sizeof *argv); /* and those below */
    if (!argv || asprintf(&program, "%s/hybrid-image", cli->runtime.exe_dir) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    size_t used = 0;
    argv[used++] = program;
    argv[used++] = "--store";
    argv[used++] = cli->runtime.store;
    argv[used++] = "--root";
    argv[used++] = cli->runtime.root;
    while (*arguments)
        argv[used++] = *arguments++;
    argv[used++] = "--";
    while (*operands)
        argv[used++] = *operands++;
    (void)fflush(cli->out);
    (void)execv(program, (char *const *)argv);
    return error_set_errno(err, EXIT_OURS, errno, "cannot run %s; reinstall hybrid", program);
}

__attribute__((noreturn)) static void become_helper(const struct cli *cli,
                                                    const char *const *arguments,
                                                    char *const *operands, const sigset_t *mask,
                                                    pid_t parent)
{
    struct error err = { 0 };
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    /* It cleans up after itself when it is told to end, not when it is killed. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
        _exit(EXIT_OURS);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        (void)error_set_errno(&err, EXIT_OURS, errno, "cannot prepare the streams of hybrid-image");
    else
        (void)image_helper_exec(cli, arguments, operands, &err);
    cli_warn(err.message);
    _exit(err.exit_code);
}

/* Passes signals on until the child has ended; a terminal has sent them to it as well. */
static int wait_for_helper(pid_t child, const sigset_t *signals)
{
    int status;
    while (waitpid(child, &status, WNOHANG) == 0) {
        int number = sigwaitinfo(signals, NULL);
        if (number > 0 && number != SIGCHLD)
            (void)kill(child, number);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNAL_BASE + WTERMSIG(status);
}

int image_helper_run(const struct cli *cli, const char *const *arguments, char *const *operands,
                     struct error *err)
{
    static const int numbers[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP };
    sigset_t signals;
    sigset_t before;
    (void)sigemptyset(&signals);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        (void)sigaddset(&signals, numbers[i]);
    (void)signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would not be sent */
    (void)sigprocmask(SIG_BLOCK, &signals, &before);
    (void)fflush(cli->out);
    const pid_t self = getpid();
    pid_t child = fork();
    if (child == 0)
        become_helper(cli, arguments, operands, &before, self);
    int status = child < 0 ? error_set_errno(err, EXIT_OURS, errno, "cannot fork")
                           : wait_for_helper(child, &signals);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}
