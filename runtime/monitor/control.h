/*
 * What a monitor and the commands say to each other: one message a packet, over the SOCK_SEQPACKET
 * pair between `hybrid run` and the monitor it forked, and over <root>/<id>/control.sock, to which
 * only root may connect. Both ends are hybrid itself, but a message is bounded and checked anyway.
 */
#ifndef HYBRID_CONTROL_H
#define HYBRID_CONTROL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <termios.h>

#include "error.h"

#define CONTROL_SOCKET "control.sock"

enum control_type {
    /* To the monitor. On a connection that started an exec session SIGNAL, RESIZE, PAUSE, RESUME
     * and CLOSE_INPUT mean that session, else the workload. */
    CONTROL_SIGNAL = 1,      /* value: the signal; answered by DONE or FAILED on control.sock */
    CONTROL_RESIZE = 2,      /* rows, columns */
    CONTROL_PAUSE = 3,       /* leave the caller's terminal alone: the command was stopped */
    CONTROL_RESUME = 4,      /* the command continues */
    CONTROL_CLOSE_INPUT = 5, /* no more input will come */
    CONTROL_ABANDON = 6,     /* kill, and do not wait for output to be taken */
    CONTROL_WAIT = 7,        /* EXITED is to be sent when the workload has ended */
    CONTROL_EXEC = 8,        /* fds: stdin, stdout, stderr, a memfd with the OCI process object;
                                rows, columns, modes; answered by EXITED or FAILED */
    CONTROL_FREEZE = 9,      /* the workload is to stand still; answered by DONE or FAILED */
    CONTROL_THAW = 10,       /* it is to go on; likewise */
    CONTROL_START = 11,      /* execute the command of a workload that was only created; likewise */
    CONTROL_UPDATE = 12,     /* text: limits for the workload, an OCI linux.resources; likewise */
    /* From the monitor. */
    CONTROL_STARTED = 32,    /* the command's execve succeeded */
    CONTROL_CREATED = 38,    /* it waits for CONTROL_START; nothing more comes */
    CONTROL_EXITED = 33,     /* value: status; flags; text if hybrid failed. Nothing is left. */
    CONTROL_BACKGROUND = 34, /* the terminal refused input: the command is in the background */
    CONTROL_WARNING = 35,    /* text: to be shown to the user */
    CONTROL_DONE = 36,
    CONTROL_FAILED = 37, /* value: exit code; text */
};

enum control_flags {
    CONTROL_OOM = 1,    /* EXITED: the out-of-memory killer ended a process of the workload */
    CONTROL_BROKEN = 2, /* EXITED: hybrid failed; the text says why */
    CONTROL_INPUT = 4,  /* EXEC: stdin is attached */
    CONTROL_ALL = 16,   /* SIGNAL: to every process of the workload */
    CONTROL_RAW = 8, /* EXEC: stdin is a terminal that will be raw; modes is what it was before */
};

enum { CONTROL_MAX_TEXT = 2048, CONTROL_EXEC_FDS = 4 };

struct control_message {
    uint32_t type; /* enum control_type */
    uint32_t flags;
    int32_t value;
    uint16_t rows, columns;
    struct termios modes;
    char text[CONTROL_MAX_TEXT]; /* sent without what follows the NUL */
};

/* Sends without waiting. Returns 0, or -1 with errno (EAGAIN: the peer does not read). */
int control_send(int socket, const struct control_message *message, const int *fds,
                 size_t fd_count);

/* A message of the given type without text. Returns as control_send. */
int control_send_simple(int socket, uint32_t type, int32_t value);

/*
 * Receives one message; fds (IO_MAX_FDS) may be NULL where none are expected, what comes is closed
 * then. Returns 1, 0 when the peer is gone, or -1 with errno (EAGAIN on an empty non-blocking
 * socket; EBADMSG on one that is too short).
 */
int control_receive(int socket, struct control_message *message, int *fds, size_t *fd_count);

/*
 * Listens on <state_dir>/control.sock, mode 0600. Returns the descriptor, or -1 with *err. The
 * length of the path does not matter.
 */
int control_listen(const char *state_dir, struct error *err);

/*
 * Accepts a connection and refuses it unless the peer is root or the user we run as. Returns the
 * descriptor, or -1.
 */
int control_accept(int listener);

/* Connects. Returns the descriptor, or -1 with *err and errno (ECONNREFUSED, ENOENT: no monitor).
 */
int control_connect(const char *state_dir, struct error *err);

#endif
