/* The caller's terminal: raw while a workload's own terminal is joined to it, and as before after.
 */
#ifndef HYBRID_TERMINAL_H
#define HYBRID_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include "error.h"

struct terminal {
    int fd; /* borrowed; -1: none */
    bool raw;
    struct termios saved;
};

/* Remembers the modes of fd, without changing them. Returns 0, or -1 with *err. */
int terminal_open(struct terminal *terminal, int fd, struct error *err);

/* Every key goes to the workload as it is. In the background this stops the process, as it should.
 */
void terminal_make_raw(struct terminal *terminal);

/* Nothing happens if it is not raw. */
void terminal_restore(struct terminal *terminal);

/* Size of the first of 0, 1 and 2 that is a terminal; 0 and 0 if none is. */
void terminal_size(uint16_t *rows, uint16_t *columns);

#endif
