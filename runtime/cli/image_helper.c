#include "image_helper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/cgroup/cgroup.h"

enum { OPTION_NAME = 32 }; /* bytes of "--NAME" */

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
    (void)error_set(err, EXIT_OURS,
                    "cannot run %s: %s; reinstall hybrid or the libraries that it needs", program,
                    strerror(errno));
    return error_see_doctor(err, "images");
}

static size_t count_arguments(const struct cli_option *options, const void *settings)
{
    size_t count = 0;
    for (const struct cli_option *option = options; option && option->name; option++)
        count += option->kind == CLI_LIST
                     ? 2 * ((const struct option_list *)(const void *)((const char *)settings +
                                                                       option->offset))
                               ->count
                     : 2;
    return count;
}

/* Writes --NAME or --NAME VALUE as often as the option was given. Returns where to go on. */
static const char **append_option(const char **at, char *name, const struct cli_option *option,
                                  const void *settings)
{
    const void *value = (const char *)settings + option->offset;
    if (option->kind == CLI_LIST) {
        const struct option_list *list = value;
        for (size_t i = 0; i < list->count; i++) {
            *at++ = name;
            *at++ = list->values[i];
        }
        return at;
    }
    *at++ = name;
    if (option->kind != CLI_FLAG)
        *at++ = *(const char *const *)value;
    return at;
}

int image_helper_verb(const struct cli *cli, const char *verb, const void *settings,
                      char *const *operands, struct error *err)
{
    const struct cli_option *options = cli->verb->options;
    const size_t room = count_arguments(options, settings);
    _cleanup_free_ const char **arguments = calloc(room + 2, sizeof *arguments);
    _cleanup_free_ char *names = calloc(room + 1, OPTION_NAME);
    if (!arguments || !names)
        return error_set(err, EXIT_OURS, "out of memory");
    const char **at = arguments;
    char *name = names;
    *at++ = verb;
    for (const struct cli_option *option = options; option && option->name; option++) {
        if (option->kind == CLI_REFUSED || !cli_is_given(cli->verb, option, settings))
            continue;
        (void)snprintf(name, OPTION_NAME, "--%s", option->name);
        at = append_option(at, name, option, settings);
        name += OPTION_NAME;
    }
    return image_helper_exec(cli, arguments, operands, err);
}

__attribute__((noreturn)) static void become_helper(const struct cli *cli,
                                                    const char *const *arguments,
                                                    char *const *operands, int null,
                                                    const sigset_t *mask, pid_t parent)
{
    struct error err = { 0 };
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    /* It cleans up after itself when it is told to end, not when it is killed. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
        _exit(EXIT_OURS);
    if (dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
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
    _cleanup_close_ int null = cgroup_open_device("/dev/null", O_RDONLY);
    if (null < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null");
    (void)sigemptyset(&signals);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        (void)sigaddset(&signals, numbers[i]);
    (void)signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would not be sent */
    (void)sigprocmask(SIG_BLOCK, &signals, &before);
    (void)fflush(cli->out);
    const pid_t self = getpid();
    pid_t child = fork();
    if (child == 0)
        become_helper(cli, arguments, operands, null, &before, self);
    int status = child < 0 ? error_set_errno(err, EXIT_OURS, errno, "cannot fork")
                           : wait_for_helper(child, &signals);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}
