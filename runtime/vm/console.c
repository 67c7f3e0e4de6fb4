#include "console.h"

#include "cleanup.h"

#include <string.h>

void console_read(struct console *console)
{
    char bytes[1024];
    /* No more than the pipe holds: a guest that writes as fast as we read must not keep us here. */
    for (size_t taken = 0; console->fd >= 0 && taken < CONSOLE_TURN;) {
        ssize_t n = read(console->fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            cleanup_close(&console->fd);
            console->fd = -1;
            return;
        }
        taken += (size_t)n;
        for (ssize_t i = 0; i < n; i++)
            console->kept[console->total++ % CONSOLE_KEPT] = bytes[i];
    }
}

/* The kept bytes in order, printable; carriage returns are dropped. Returns their number. */
static size_t unroll(const struct console *console, char text[CONSOLE_KEPT])
{
    size_t length = 0;
    size_t first = console->total > CONSOLE_KEPT ? console->total - CONSOLE_KEPT : 0;
    for (size_t i = first; i < console->total; i++) {
        char c = console->kept[i % CONSOLE_KEPT];
        if (c == '\r')
            continue;
        if (c != '\n' && (c < ' ' || c > '~'))
            c = '?';
        text[length++] = c;
    }
    return length;
}

void console_tail(const struct console *console, char *text, size_t size)
{
    char all[CONSOLE_KEPT];
    size_t length = unroll(console, all);
    while (length > 0 && all[length - 1] == '\n')
        length--;
    size_t start = length;
    for (size_t at = length, lines = 0; lines < CONSOLE_TAIL_LINES && length - at < size; at--) {
        if (at == 0 || all[at - 1] == '\n') {
            start = at;
            lines++;
        }
        if (at == 0)
            break;
    }
    if (start == length && length > 0) /* one line longer than the room: its end */
        start = length - (length < size ? length : size - 1);
    memcpy(text, all + start, length - start);
    text[length - start] = '\0';
}

bool console_contains(const struct console *console, const char *text)
{
    char all[CONSOLE_KEPT];
    size_t length = unroll(console, all);
    return memmem(all, length, text, strlen(text)) != NULL;
}
