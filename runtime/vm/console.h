/* The guest's console as hybrid keeps it: the last part, made harmless for a terminal. */
#ifndef HYBRID_VM_CONSOLE_H
#define HYBRID_VM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

enum {
    CONSOLE_KEPT = 8192,     /* bytes that are remembered */
    CONSOLE_TAIL_LINES = 20, /* lines that an error message shows */
    CONSOLE_TURN = 65536,    /* bytes read at once; more stays for the next call */
};

struct console {
    int fd; /* read end of the pipe; -1: closed */
    char kept[CONSOLE_KEPT];
    size_t total; /* bytes received; the last CONSOLE_KEPT are kept */
};

/* Reads what is there, up to CONSOLE_TURN bytes, without blocking; closes the descriptor at its
 * end.
 */
void console_read(struct console *console);

/*
 * The last lines, as many as fit into size (whole ones), without trailing newline; before them,
 * where they would not show it, the line by which the kernel said why it panicked. What is no
 * printable ASCII becomes '?': the guest chooses these bytes and a terminal shows them.
 */
void console_tail(const struct console *console, char *text, size_t size);

/* Whether the text appears in what is kept. */
bool console_contains(const struct console *console, const char *text);

#endif
