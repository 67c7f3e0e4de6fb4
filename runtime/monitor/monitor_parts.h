/* What the parts of the monitor share. */
#ifndef HYBRID_MONITOR_PARTS_H
#define HYBRID_MONITOR_PARTS_H

#include "control.h"
#include "monitor.h"

enum {
    MONITOR_MAX_CLIENTS = 64,
    MONITOR_MAX_SESSIONS = 64,
    MONITOR_BACKEND_FDS = 256,
    MONITOR_HELD_SIGNALS = 16,
};

_Static_assert((int)MONITOR_MAX_CLIENTS + 3 <= (int)WORKLOAD_WATCHED_FDS, "all can be watched");

/* A connection to control.sock. */
struct monitor_client {
    int fd; /* -1: free */
    bool waits;
    bool told;               /* that its exec session has started */
    struct session *session; /* the exec session it started; NULL: none */
};

struct monitor {
    struct monitor_request *request;
    struct workload *workload; /* NULL: not created, or destroyed */
    struct session *sessions;  /* the workload's own first */
    struct session main;
    struct log *log;
    int listener;
    int signals;      /* signalfd of a detached monitor; -1 */
    int null;         /* /dev/null, until it has taken the place of 0, 1 and 2; -1 */
    bool started;     /* the command was executed */
    bool frozen;      /* the workload stands still */
    bool abandoned;   /* kill, and do not deliver what is left */
    int64_t deadline; /* milliseconds of CLOCK_MONOTONIC: then it is abandoned; 0: none */
    uint32_t next_number;
    int held[MONITOR_HELD_SIGNALS]; /* signals that came before the command was executed */
    size_t held_count;
    bool resized;                         /* meanwhile: the size is in the request */
    const struct monitor_client *starter; /* waits for the start of what was held; NULL: nobody */
    struct monitor_client clients[MONITOR_MAX_CLIENTS];
    struct pollfd fds[3 + MONITOR_MAX_CLIENTS + MONITOR_BACKEND_FDS +
                      2 * SESSION_STREAMS * (MONITOR_MAX_SESSIONS + 1)];
};

/* early.c: what is asked for while the workload is still being started. */

/* For request->spec.watch; the context is the monitor. */
size_t monitor_early_fds(void *context, struct pollfd *fds, size_t max);
bool monitor_early_serve(void *context);
/* KILL ends the start; other signals wait for the command. Returns 0, or -1 with *err. */
int monitor_hold_signal(struct monitor *monitor, int signal, struct error *err);
/* The command runs: it gets what waited for it. */
void monitor_deliver_held(struct monitor *monitor);

/* monitor.c: from what was prepared, or held, to the executed command; 0, or -1 with *err. */
int monitor_launch(struct monitor *monitor, struct error *err);
/* What has not ended, and been delivered, after a moment is abandoned. */
void monitor_hurry(struct monitor *monitor);
/* The command that forked us, and SIGTERM to a detached monitor. */
void monitor_serve_command(struct monitor *monitor);
void monitor_serve_signals(struct monitor *monitor);

/* clients.c */
void monitor_accept(struct monitor *monitor);
void monitor_serve_client(struct monitor *monitor, struct monitor_client *client);
void monitor_drop_client(struct monitor *monitor, struct monitor_client *client);
/* Tells the owners of exec sessions that have ended and are drained, and frees the sessions. */
void monitor_finish_sessions(struct monitor *monitor);
/* Tells the owners of exec sessions that have started. */
void monitor_announce_sessions(struct monitor *monitor);
/* Carries out a message that means `session`. Returns 0, or -1 with *err. */
int monitor_handle(struct monitor *monitor, struct session *session,
                   const struct control_message *message, struct error *err);
/* EXITED of a process. */
struct control_message monitor_exited_message(const struct workload_exit *exit);

/* freeze.c: pauses the workload, or lets it go on; 0, or -1 with *err. monitor_thaw: before it is
 * ended, since on cgroup v1 what is frozen does not die. */
int monitor_freeze(struct monitor *monitor, bool frozen, struct error *err);
void monitor_thaw(struct monitor *monitor);

/* finish.c: destroys, records, removes; then tells everybody who waits. */
void monitor_finish(struct monitor *monitor);
int monitor_record_start(struct monitor *monitor, struct error *err);
/* Keeps the workload's warning in its state as soon as there is one: nobody may be listening. */
void monitor_record_warning(struct monitor *monitor);
/* Sends a warning to the command, if there is one. */
void monitor_warn(const struct monitor *monitor, const char *text);

#endif
