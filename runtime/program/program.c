#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "shown_text.h"

enum { SHOWN_OUTPUT = 512 /* bytes of what a failed program printed */ };

/* A file in memory: a program that reads nothing, or prints much, blocks nobody. */
int program_memory_file(const char *content, struct error *err)
{
    _cleanup_close_ int fd = memfd_create("program", MFD_CLOEXEC);
    if (fd < 0 || io_write_all(fd, content, strlen(content)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a file in memory");
    return take_fd(&fd);
}

__attribute__((noreturn)) static void execute(const struct program *program, const int streams[3])
{
    sigset_t none;
    int high[3];
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setsid(); /* a process group of its own */
    bool ready = true;
    for (int i = 0; i < 3; i++) { /* out of the way: one's number may be another's target */
        high[i] = fcntl(streams[i], F_DUPFD_CLOEXEC, 3);
        ready = ready && high[i] >= 0;
    }
    for (int i = 0; ready && i < 3; i++)
        ready = dup2(high[i], i) == i;
    if (ready && close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        (void)execve(program->path, (char *const *)program->argv, (char *const *)program->env);
    (void)dprintf(high[2], "cannot execute it: %s", strerror(errno));
    _exit(EXIT_NOT_FOUND);
}

pid_t program_start(const struct program *program, const int streams[3], bool dies_with_caller,
                    struct error *err)
{
    pid_t caller = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot start %s %s", program->what,
                               program->path);
    if (pid > 0)
        return pid;
    if (dies_with_caller && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != caller))
        _exit(EXIT_OURS);
    execute(program, streams);
}

int program_await(const struct program *program, pid_t pid, struct error *err)
{
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd ended = { .fd = pidfd, .events = POLLIN };
    int ready =
        pidfd < 0 ? -1 : poll(&ended, 1, program->timeout > 0 ? program->timeout * 1000 : -1);
    int cause = errno;
    if (ready <= 0) {
        (void)kill(-pid, SIGKILL); /* with what it has started */
        (void)kill(pid, SIGKILL);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for %s %s", program->what,
                                   program->path);
    if (ready < 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot wait for %s %s", program->what,
                               program->path);
    if (ready == 0)
        return error_set(err, EXIT_OURS, "%s %s did not end within %d seconds", program->what,
                         program->path, program->timeout);
    return status;
}

/* Nothing that a program printed may steer the terminal or the log that shows it. */
static void copy_shown(char *to, size_t room, const char *from, size_t length)
{
    size_t used = 0;
    while (length > 0 && used + sizeof "\\x00" <= room) {
        size_t shown = shown_character(from, length);
        if (shown > 0)
            memcpy(to + used, from, shown);
        else
            (void)snprintf(to + used, room - used, "\\x%02x", (unsigned char)*from);
        used += shown > 0 ? shown : sizeof "\\x00" - 1;
        from += shown > 0 ? shown : 1;
        length -= shown > 0 ? shown : 1;
    }
    to[used] = '\0';
}

int program_explain(const struct program *program, int status, int output, struct error *err)
{
    char printed[SHOWN_OUTPUT];
    char text[sizeof err->message / 2] = "";
    off_t size = lseek(output, 0, SEEK_END);
    off_t from = size > SHOWN_OUTPUT ? size - SHOWN_OUTPUT : 0;
    ssize_t length = pread(output, printed, sizeof printed, from);
    while (length > 0 && (printed[length - 1] == '\n' || printed[length - 1] == ' '))
        length--;
    if (length > 0)
        copy_shown(text, sizeof text, printed, (size_t)length);
    return error_set(err, EXIT_OURS, "%s %s %s %d%s%s", program->what, program->path,
                     WIFSIGNALED(status) ? "was ended by signal" : "failed with exit status",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                     *text ? ": " : "", text);
}

int program_run(const struct program *program, const char *input, int *exit_status,
                struct error *err)
{
    if (exit_status)
        *exit_status = -1;
    _cleanup_close_ int in = program_memory_file(input, err);
    _cleanup_close_ int out = in < 0 ? -1 : program_memory_file("", err);
    if (out < 0)
        return -1;
    pid_t pid = program_start(program, (const int[]){ in, out, out }, false, err);
    int status = pid < 0 ? -1 : program_await(program, pid, err);
    if (exit_status && status >= 0 && WIFEXITED(status))
        *exit_status = WEXITSTATUS(status);
    if (status <= 0)
        return status;
    return program_explain(program, status, out, err);
}
