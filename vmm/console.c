#include "vmm/console.h"

#include "io.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void console_wake(void *context, uint32_t events)
{
    struct console *console = context;
    uint64_t count;
    (void)events;
    (void)!read(console->wake_fd, &count, sizeof count);
    console_flush(console);
}

static void console_writable(void *context, uint32_t events)
{
    (void)events;
    console_flush(context);
}

int console_create(struct console *console, struct loop *loop, int output_fd, struct error *err)
{
    *console = (struct console){ .wake_fd = -1, .output_fd = output_fd, .loop = loop };
    (void)pthread_mutex_init(&console->lock, NULL);
    console->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    console->wake =
        (struct loop_source){ .fd = console->wake_fd, .ready = console_wake, .context = console };
    console->output =
        (struct loop_source){ .fd = output_fd, .ready = console_writable, .context = console };
    if (console->wake_fd < 0 || loop_add(loop, &console->wake, EPOLLIN) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch the guest's console");
    console->output_watched = output_fd >= 0 && loop_add(loop, &console->output, EPOLLONESHOT) == 0;
    /* A regular file is refused (EPERM); it needs no waiting. */
    if (output_fd >= 0 && !console->output_watched && errno != EPERM)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch where the console goes");
    return 0;
}

void console_destroy(struct console *console)
{
    if (console->wake_fd >= 0) {
        loop_remove(console->loop, &console->wake);
        (void)close(console->wake_fd);
    }
    if (console->output_watched)
        loop_remove(console->loop, &console->output);
    console->wake_fd = -1;
    console->output_watched = false;
    (void)pthread_mutex_destroy(&console->lock);
}

void console_put(struct console *console, char byte)
{
    if (console->output_fd < 0)
        return;
    (void)pthread_mutex_lock(&console->lock);
    bool kept = console->length < CONSOLE_RING;
    if (kept)
        console->ring[(console->head + console->length++) % CONSOLE_RING] = byte;
    else
        console->dropped++;
    bool wake = kept && (byte == '\n' || console->length == CONSOLE_RING / 2);
    (void)pthread_mutex_unlock(&console->lock);
    uint64_t one = 1;
    if (wake)
        (void)!write(console->wake_fd, &one, sizeof one);
}

/* Puts the note of lost bytes behind what was kept, as soon as there is room for it. */
static void console_note_dropped(struct console *console)
{
    char note[64];
    int length = snprintf(note, sizeof note, "\n[%llu bytes of console output dropped]\n",
                          (unsigned long long)console->dropped);
    if (length <= 0 || console->length + (uint32_t)length > CONSOLE_RING)
        return;
    for (int i = 0; i < length; i++)
        console->ring[(console->head + console->length++) % CONSOLE_RING] = note[i];
    console->dropped = 0;
}

void console_flush(struct console *console)
{
    bool waiting = false;
    (void)pthread_mutex_lock(&console->lock);
    while (console->length > 0 && console->output_fd >= 0) {
        /* The descriptor may be shared, so it is not made non-blocking: a pipe that polls as
         * writable takes PIPE_BUF (4096) bytes at once, see pipe(7). */
        if (!io_is_ready(console->output_fd, POLLOUT)) {
            waiting = true;
            break;
        }
        uint32_t chunk = CONSOLE_RING - console->head;
        if (chunk > console->length)
            chunk = console->length;
        ssize_t n = write(console->output_fd, console->ring + console->head, chunk);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            waiting = true;
            break;
        }
        if (n <= 0) { /* nobody reads any more */
            console->output_fd = -1;
            console->length = 0;
            break;
        }
        console->head = (console->head + (uint32_t)n) % CONSOLE_RING;
        console->length -= (uint32_t)n;
        if (console->dropped > 0)
            console_note_dropped(console);
    }
    (void)pthread_mutex_unlock(&console->lock);
    if (waiting && console->output_watched)
        (void)loop_modify(console->loop, &console->output, EPOLLOUT | EPOLLONESHOT);
}
