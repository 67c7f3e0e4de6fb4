#include "notify.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/un.h>

#include "cleanup.h"
#include "hooks.h"
#include "io.h"

enum { PATIENCE_SECONDS = 10, FIRST_BYTES = 1024 };

static json_t *describe_container(const struct notify_process *process)
{
    _cleanup_free_ char *open = hooks_open_state(process->id, process->bundle, process->container);
    _cleanup_free_ char *text = NULL;
    if (!open || asprintf(&text, "%s,\"status\":\"%s\",\"pid\":%d}", open, process->status,
                          (int)process->container_pid) < 0)
        return NULL;
    return json_loads(text, 0, NULL);
}

int notify_prepare(struct notify *notify, const struct notify_process *process, struct error *err)
{
    const struct plan *plan = process->container;
    const char *metadata = plan->listener_metadata;
    *notify = (struct notify){ 0 };
    if (!plan->listener_path || !*plan->listener_path)
        return 0;
    json_t *state = describe_container(process);
    json_t *message = json_pack("{s:O, s:[s], s:i, s:s*, s:o*}", "ociVersion",
                                json_object_get(plan->document, "ociVersion"), "fds", "seccompFd",
                                "pid", (int)process->pid, "metadata",
                                metadata && *metadata ? metadata : NULL, "state", state);
    notify->text = state && message ? json_dumps(message, JSON_COMPACT) : NULL;
    notify->path = strdup(plan->listener_path);
    json_decref(message);
    if (notify->text && notify->path)
        return 0;
    notify_free(notify);
    return error_set(err, EXIT_OURS, "cannot describe the container to its seccomp agent");
}

static int connect_agent(const char *path, struct error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const struct timeval patience = { .tv_sec = PATIENCE_SECONDS };
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, EXIT_OURS, "linux.seccomp.listenerPath %s is longer than %zu bytes",
                         path, sizeof address.sun_path - 1);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* An agent that does not accept must not hold the container's start up for ever. */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot reach the seccomp agent of linux.seccomp.listenerPath %s; "
                               "is it running?",
                               path);
    return take_fd(&fd);
}

int notify_send(const void *context, int listener, struct error *err)
{
    const struct notify *notify = context;
    if (!notify->path)
        return error_set(err, EXIT_OURS, "linux.seccomp has no listenerPath");
    _cleanup_close_ int agent = connect_agent(notify->path, err);
    if (agent < 0)
        return -1;
    size_t length = strlen(notify->text), first = length < FIRST_BYTES ? length : FIRST_BYTES;
    /* The descriptor comes with the first bytes; what a stream takes at once has no promised size.
     */
    if (io_send_fds(agent, notify->text, first, &listener, 1) < 0 ||
        io_write_all(agent, notify->text + first, length - first) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot send to the seccomp agent %s",
                               notify->path);
    return 0;
}

void notify_free(struct notify *notify)
{
    free(notify->path);
    free(notify->text);
    *notify = (struct notify){ 0 };
}
