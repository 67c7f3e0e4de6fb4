/*
 * While the workload is being started: a guest takes a second to boot, and up to a minute where it
 * does not. Whoever wants it gone need not wait for that.
 */
#include <signal.h>

#include "monitor_parts.h"

int monitor_hold_signal(struct monitor *monitor, int signal, struct error *err)
{
    if (signal == SIGKILL) {
        monitor->abandoned = true;
        return 0;
    }
    if (monitor->held_count == MONITOR_HELD_SIGNALS)
        return error_set(err, EXIT_OURS,
                         "the workload is still being started, and %d signals wait for it already",
                         MONITOR_HELD_SIGNALS);
    monitor->held[monitor->held_count++] = signal;
    return 0;
}

void monitor_deliver_held(struct monitor *monitor)
{
    const struct monitor_request *request = monitor->request;
    struct error ignored; /* of a command that ended at once */
    if (monitor->resized && monitor->main.terminal)
        (void)request->ops->resize(monitor->workload, monitor->main.number, request->spec.rows,
                                   request->spec.columns, &ignored);
    for (size_t i = 0; i < monitor->held_count; i++)
        (void)request->ops->signal(monitor->workload, monitor->held[i], false, &ignored);
}

size_t monitor_early_fds(void *context, struct pollfd *fds, size_t max)
{
    const struct monitor *monitor = context;
    size_t count = 0;
    const int own[] = { monitor->request->client, monitor->listener, monitor->signals };
    for (size_t i = 0; i < sizeof own / sizeof *own && count < max; i++)
        if (own[i] >= 0)
            fds[count++] = (struct pollfd){ .fd = own[i], .events = POLLIN };
    for (size_t i = 0; i < MONITOR_MAX_CLIENTS && count < max; i++)
        if (monitor->clients[i].fd >= 0 && &monitor->clients[i] != monitor->starter)
            fds[count++] = (struct pollfd){ .fd = monitor->clients[i].fd, .events = POLLIN };
    return count;
}

static bool is_readable(int fd)
{
    struct pollfd asked = { .fd = fd, .events = POLLIN };
    return fd >= 0 && poll(&asked, 1, 0) > 0;
}

bool monitor_early_serve(void *context)
{
    struct monitor *monitor = context;
    if (is_readable(monitor->request->client))
        monitor_serve_command(monitor);
    if (is_readable(monitor->signals))
        monitor_serve_signals(monitor);
    for (size_t i = 0; i < MONITOR_MAX_CLIENTS; i++)
        if (&monitor->clients[i] != monitor->starter && is_readable(monitor->clients[i].fd))
            monitor_serve_client(monitor, &monitor->clients[i]);
    if (is_readable(monitor->listener))
        monitor_accept(monitor);
    return !monitor->abandoned;
}
