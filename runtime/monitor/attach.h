/*
 * The command's side of a running process: signals go to it, the terminal is looked after, and its
 * end is waited for. The bytes themselves are the monitor's business.
 */
#ifndef HYBRID_ATTACH_H
#define HYBRID_ATTACH_H

#include <signal.h>

#include "control.h"
#include "terminal.h"

struct attach {
    int socket;                /* to the monitor */
    struct terminal *terminal; /* fd -1: the process has no terminal, or we do not type into it */
    bool resize;               /* the process has a terminal: follow the size of ours */
    void (*warn)(const char *text);
};

struct attach_end {
    bool lost; /* the monitor has gone without a word: nothing else is valid */
    int status;
    bool oom;
    bool broken;
    char text[CONTROL_MAX_TEXT];
};

/* The signals that are forwarded, and those that stop and continue us. */
void attach_signals(sigset_t *set);

/* Waits for the end of the process; attach_signals must be blocked. Returns 0, or -1 with *err. */
int attach_run(const struct attach *attach, struct attach_end *end, struct error *err);

/*
 * Waits until the process has started or could not be. Returns 1 if it has started, 0 if not (*end
 * says why), or -1 with *err.
 */
int attach_await_start(const struct attach *attach, struct attach_end *end, struct error *err);

#endif
