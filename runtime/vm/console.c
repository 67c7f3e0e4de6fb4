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

/* Where the last lines begin, as many whole ones as take less than size. */
static size_t find_tail(const char *all, size_t length, size_t size)
{
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
    return start;
}

/* The line by which the kernel says why it panicked. Returns its length; 0: there is none. */
static size_t find_panic(const char *all, size_t length, size_t *start)
{
    static const char words[] = "Kernel panic - not syncing";
    const char *found = memmem(all, length, words, sizeof words - 1);
    if (!found)
        return 0;
    size_t begin = (size_t)(found - all);
    while (begin > 0 && all[begin - 1] != '\n')
        begin--;
    const char *end = memchr(found, '\n', length - (size_t)(found - all));
    *start = begin;
    return (end ? (size_t)(end - all) : length) - begin;
}

void console_tail(const struct console *console, char *text, size_t size)
{
    static const char gap[] = "\n...\n";
    char all[CONSOLE_KEPT];
    size_t length = unroll(console, all);
    size_t panic = 0, used = 0;
    while (length > 0 && all[length - 1] == '\n')
        length--;
    size_t start = find_tail(all, length, size);
    size_t panic_length = find_panic(all, length, &panic);
    /* A long call trace comes after the reason, which says more than its last lines. */
    if (panic_length > 0 && panic < start && panic_length + sizeof gap < size / 2) {
        memcpy(text, all + panic, panic_length);
        memcpy(text + panic_length, gap, sizeof gap - 1);
        used = panic_length + sizeof gap - 1;
        start = find_tail(all, length, size - used);
    }
    memcpy(text + used, all + start, length - start);
    text[used + length - start] = '\0';
}

bool console_contains(const struct console *console, const char *text)
{
    char all[CONSOLE_KEPT];
    size_t length = unroll(console, all);
    return memmem(all, length, text, strlen(text)) != NULL;
}
