/* A further process in a container, in the form of OCI runtimes: --process, --detach. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "console.h"
#include "exec.h"
#include "io.h"
#include "runtime/container/container.h"
#include "runtime/plan/compose.h"

enum { MAX_PROCESS = 16 * 1024 * 1024 };

static char *read_all(int fd, struct error *err)
{
    size_t size = 0, room = 4096;
    char *text = NULL;
    for (;;) {
        char *grown = realloc(text, room + 1);
        ssize_t n = grown ? io_read_all(fd, grown + size, room - size) : -1;
        if (grown)
            text = grown;
        if (n < 0 || room > MAX_PROCESS) {
            free(text);
            (void)error_set(err, EXIT_OURS, "cannot read it: %s",
                            n < 0 ? strerror(errno) : "it is too long");
            return NULL;
        }
        size += (size_t)n;
        text[size] = '\0';
        if (size < room)
            return text;
        room *= 2;
    }
}

json_t *engine_read_json(const char *path, const char *option, struct error *err)
{
    struct error why = { 0 };
    bool standard = strcmp(path, "-") == 0;
    _cleanup_close_ int file = standard ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (!standard && file < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot open %s %s", option, path);
        return NULL;
    }
    _cleanup_free_ char *text = read_all(standard ? STDIN_FILENO : file, &why);
    json_error_t where = { .text = "" };
    json_t *document = text ? plan_load_json(text, &where) : NULL;
    if (!document)
        (void)error_set(err, EXIT_OURS, "%s %s: %s%s", option, path, why.message, where.text);
    return document;
}

static int hand_over(const struct engine_exec_options *options, struct sandbox_child *child,
                     struct error *err)
{
    if (child->terminal_fd >= 0 &&
        console_send(options->console_socket, take_fd(&child->terminal_fd), err) < 0)
        return -1;
    pid_t pid = child->pid;
    if (sandbox_execute(child, err) < 0)
        return -1;
    /* Written when the command runs, as callers take it for that. */
    return options->pid_file ? pid_file_write(options->pid_file, pid, err) : 0;
}

int preserved_fds_check(const char *name, int first, int64_t count, struct error *err)
{
    for (int fd = first; fd < first + count; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            return error_set(err, EXIT_OURS, "%s=%lld: descriptor %d is not open", name,
                             (long long)count, fd);
    return 0;
}

int engine_exec_detached(const struct workload_join *join, const struct plan *plan,
                         const struct engine_exec_options *options, struct error *err)
{
    struct notify notify = { 0 };
    struct container_exec_request request = {
        .join = join,
        .notify = &notify,
        .plan = plan,
        .stdio = { -1, -1, -1 },
        .keep_fds = join->keep_fds,
        .outlives = true,
    };
    if (console_check(options->console_socket, plan->terminal, err) < 0)
        return -1;
    for (int i = 0; i < 3 && !plan->terminal; i++)
        request.stdio[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
    struct sandbox_child child;
    int result = container_exec(&request, &child, err);
    if (result == 0)
        result = hand_over(options, &child, err);
    if (result == 0)
        child.pid = 0; /* not ours any more */
    sandbox_abandon(&child);
    notify_free(&notify);
    return result;
}
