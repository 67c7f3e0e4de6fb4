#include "runtime/image/helper/tool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/confine.h"
#include "runtime/image/helper/staging.h"

#define TOOL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

bool tool_exists(const char *program)
{
    char path[256];
    const char *at = TOOL_PATH;
    for (;;) {
        int length = (int)strcspn(at, ":");
        (void)snprintf(path, sizeof path, "%.*s/%s", length, at, program);
        if (access(path, X_OK) == 0)
            return true;
        if (!at[length])
            return false;
        at += length + 1;
    }
}

__attribute__((noreturn)) static void exec_tool(const struct tool *tool, int output_fd,
                                                pid_t parent)
{
    const char *const environment[] = { "LC_ALL=C", "PATH=" TOOL_PATH, NULL };
    const struct landlock_place place = { .access = LANDLOCK_READ, .fd = tool->dir_fd };
    struct error err = { 0 };
    staging_die_with(parent);
    if (dup2(output_fd, STDERR_FILENO) >= 0 && confine_enter(CONFINE_TOOL, &place, 1, &err) < 0)
        (void)fprintf(stderr, "%s\n", err.message);
    else if (fchdir(tool->dir_fd) == 0 && dup2(output_fd, STDOUT_FILENO) >= 0) {
        umask(0077);
        (void)execvpe(tool->arguments[0], (char *const *)tool->arguments,
                      (char *const *)environment);
    }
    _exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* Reads to the end, keeping what fits; the rest is dropped, so that the writer never blocks. */
static void collect_output(int fd, char *text, size_t size)
{
    char rest[512];
    ssize_t length = io_read_all(fd, text, size - 1);
    text[length > 0 ? length : 0] = '\0';
    while (io_read_all(fd, rest, sizeof rest) > 0)
        ;
}

/* Its last message is the cause: "<E> erofs: ...". */
static const char *find_message(char *output)
{
    size_t length = strlen(output);
    while (length > 0 && (output[length - 1] == '\n' || output[length - 1] == ' '))
        output[--length] = '\0';
    const char *line = strrchr(output, '\n');
    return line ? line + 1 : output;
}

static int report(const struct tool *tool, int status, char *output, struct error *err)
{
    char printable[512];
    const char *program = tool->arguments[0];
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_FOUND)
        return error_set(err, EXIT_OURS, "cannot run %s: not found; install the package %s",
                         program, tool->package);
    if (WIFSIGNALED(status)) {
        (void)confine_explain(program, status, err);
        return WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGKILL ? -1 : 1;
    }
    (void)error_set(err, EXIT_OURS, "%s failed: %s", program,
                    document_printable(find_message(output), printable, sizeof printable));
    return WIFEXITED(status) && WEXITSTATUS(status) != EXIT_NOT_EXECUTABLE ? 1 : -1;
}

int tool_run(const struct tool *tool, struct error *err)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int reader = pipe_fds[0];
    int writer = pipe_fds[1];
    const pid_t self = getpid();
    pid_t child = fork();
    if (child == 0)
        exec_tool(tool, writer, self);
    cleanup_close(&writer);
    if (child < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot fork");
    char output[2048];
    int status;
    collect_output(reader, output, sizeof output);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for %s", tool->arguments[0]);
    return report(tool, status, output, err);
}
