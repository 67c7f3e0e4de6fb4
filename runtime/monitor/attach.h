/*
 * The command's side of a running process: signals go to it, the terminal is looked after, and its
 * end is waited for. The bytes themselves are the monitor's business.
 */
#ifndef HYBRID_ATTACH_H
#define HYBRID_ATTACH_H

#include <signal.h>
#include <sys/types.h>

#include "control.h"
#include "terminal.h"

struct attach {
    int socket;                /* to the monitor */
    pid_t monitor;             /* our child, to be killed if it does not answer; 0: not ours */
    struct terminal *terminal; /* fd -1: the process has no terminal, or we do not type into it */
    int started_fd;            /* one byte is written when it has started; -1 */
    bool resize;               /* the process has a terminal: follow the size of ours */
    void (*warn)(const char *text); /* one line, without the newline */
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

enum attach_result { ATTACH_FAILED = -1, ATTACH_ENDED, ATTACH_STARTED };

/*
 * Waits for the end of the process, or, with until_started, at most until the monitor says that it
 * has started. attach_signals must be blocked. The second interrupt kills the process; the third
 * gives up what is left of its output, and kills a monitor that does not answer within a second.
 * ATTACH_FAILED: *err.
 */
enum attach_result attach_run(const struct attach *attach, bool until_started,
                              struct attach_end *end, struct error *err);

#endif
