/*
 * A process's standard streams as the monitor relays them: of the workload itself (number 0), or of
 * an exec session. Without a terminal three pipes; with one, one descriptor for both directions.
 */
#ifndef HYBRID_SESSION_H
#define HYBRID_SESSION_H

#include <stdint.h>

#include "stream.h"
#include "terminal.h"
#include "workload.h"

enum { SESSION_STREAMS = 3 };

/* The caller's side. A descriptor of -1 is not attached. Borrowed. */
struct session_caller {
    int fds[SESSION_STREAMS];
    bool interactive;            /* -i: input is attached */
    bool terminal;               /* -t */
    const struct termios *modes; /* what input was before it was made raw; NULL: it is not raw */
    struct log *log;             /* NULL: none */
    bool standard_is_null;       /* our own 0 to 2 are /dev/null, which may have no path here */
};

struct session {
    struct session *next;
    uint32_t number; /* as in workload_ops; 0: the workload */
    bool terminal;
    struct terminal caller;                 /* the caller's, for session_restore_terminal */
    struct stream streams[SESSION_STREAMS]; /* input, output, error output */
    bool ended;
    struct workload_exit exit; /* valid when ended */
};

/*
 * Makes the pipes (without a terminal) and joins the caller's ends. workload_ends: the three
 * descriptors for the process, now the caller's; -1 with a terminal. Returns 0, or -1 with *err.
 */
int session_open(struct session *session, const struct session_caller *caller,
                 int workload_ends[SESSION_STREAMS], struct error *err);

/* With a terminal: joins it, once the back end has made it. Takes terminal_fd. 0, or -1 with *err.
 */
int session_join_terminal(struct session *session, const struct session_caller *caller,
                          int terminal_fd, struct error *err);

/* As stream_poll; at most 2 * SESSION_STREAMS. */
size_t session_poll(struct session *session, struct pollfd *fds);

struct session_report {
    bool hung_up;       /* the caller's terminal has gone; the process's was hung up */
    bool background;    /* input was refused: the caller is in the background */
    const char *failed; /* "standard output": it could not be written, errno is `cause` */
    int cause;
};

/* Moves bytes. */
void session_dispatch(struct session *session, struct session_report *report);

/* Stops or continues to touch the caller's descriptors. */
void session_pause(struct session *session, bool paused);

/* Nothing more comes from the caller. */
void session_close_input(struct session *session);

/* Has everything that the process wrote been delivered? */
bool session_is_drained(const struct session *session);

/* The command was killed: the caller's terminal becomes as it was, unless the command is stopped
 * and has seen to it itself. */
void session_restore_terminal(struct session *session);

void session_close(struct session *session);

#endif
