/*
 * Hooks: programs of the bundle that are run at points of a container's life with its state on
 * their standard input. Specification: runtime-spec 1.2, config.md, "POSIX-platform Hooks".
 */
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

#include "context.h"
#include "io.h"
#include "shown_text.h"

enum { SHOWN_OUTPUT = 512 /* bytes of what a failed hook printed */ };

/* A file in memory: a hook that reads nothing, or prints much, blocks nobody. */
static int memory_file(const char *content, struct error *err)
{
    _cleanup_close_ int fd = memfd_create("hook", MFD_CLOEXEC);
    if (fd < 0 || io_write_all(fd, content, strlen(content)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return sandbox_fail(err, "cannot make a file in memory for a hook");
    return take_fd(&fd);
}

__attribute__((noreturn)) static void execute(const struct plan_hook *hook, int input, int output)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setsid(); /* a process group of its own */
    if (dup2(input, 0) == 0 && dup2(output, 1) == 1 && dup2(output, 2) == 2 &&
        close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        (void)execve(hook->path, (char *const *)hook->argv, (char *const *)hook->env);
    (void)dprintf(output, "cannot execute it: %s", strerror(errno));
    _exit(EXIT_NOT_FOUND);
}

/* Waits for the process. Returns its wait status, or -1 with *err. */
static int await_end(const struct plan_hook *hook, pid_t pid, struct error *err)
{
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd ended = { .fd = pidfd, .events = POLLIN };
    int ready = pidfd < 0 ? -1 : poll(&ended, 1, hook->timeout > 0 ? hook->timeout * 1000 : -1);
    int cause = errno;
    if (ready <= 0) {
        (void)kill(-pid, SIGKILL); /* with what it has started */
        (void)kill(pid, SIGKILL);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return sandbox_fail(err, "cannot wait for the %s hook %s", hook->kind, hook->path);
    if (ready < 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot wait for the %s hook %s", hook->kind,
                               hook->path);
    if (ready == 0)
        return error_set(err, EXIT_OURS, "the %s hook %s did not end within %d seconds", hook->kind,
                         hook->path, hook->timeout);
    return status;
}

/* Nothing that a hook printed may steer the terminal or the log that shows it. */
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

static int explain(const struct plan_hook *hook, int status, int output, struct error *err)
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
    return error_set(err, EXIT_OURS, "the %s hook %s %s %d%s%s", hook->kind, hook->path,
                     WIFSIGNALED(status) ? "was ended by signal" : "failed with exit status",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                     *text ? ": " : "", text);
}

int hook_run(const struct plan_hook *hook, const char *state, struct error *err)
{
    _cleanup_close_ int input = memory_file(state, err);
    _cleanup_close_ int output = input < 0 ? -1 : memory_file("", err);
    if (output < 0)
        return -1;
    pid_t pid = fork();
    if (pid < 0)
        return sandbox_fail(err, "cannot start the %s hook %s", hook->kind, hook->path);
    if (pid == 0)
        execute(hook, input, output);
    int status = await_end(hook, pid, err);
    if (status == 0)
        return 0;
    return status < 0 ? -1 : explain(hook, status, output, err);
}

/* A hook among the steps: the process itself is the container's, and knows its own number. */
int hook_apply(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const char *known = sandbox->request->hook_state;
    const char *status = step->kind == PLAN_HOOK_CREATE ? "creating" : "created";
    _cleanup_free_ char *state = NULL;
    if (!known)
        return error_set(err, EXIT_OURS, "the plan has a %s hook, but no state to give it",
                         step->hook.kind);
    if (asprintf(&state, "%s,\"status\":\"%s\",\"pid\":%d}", known, status, (int)getpid()) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    return hook_run(&step->hook, state, err);
}
