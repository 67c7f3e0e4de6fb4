/* Programs of other packages, run in what confines this process. */
#ifndef HYBRID_TOOL_H
#define HYBRID_TOOL_H

#include <stdbool.h>

#include "error.h"

struct tool {
    const char *const *arguments; /* ends with NULL; the first is the program, found by PATH */
    const char *package;          /* which has it */
    int dir_fd;                   /* its working directory, of which it may only read */
};

/* Is there such a program? */
bool tool_exists(const char *program);

/*
 * Runs it to its end. Returns 0; 1: it failed, or what it was given made it crash, and *err has
 * what it said last, or the signal; -1 with *err: it could not do its work.
 */
int tool_run(const struct tool *tool, struct error *err);

#endif
