/* An instance of tracefs of our own: what single processes do in the host's kernel. */
#ifndef HYBRID_COMPARE_TRACE_H
#define HYBRID_COMPARE_TRACE_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "error.h"

struct trace {
    int instance;  /* its directory; -1: closed */
    int instances; /* the directory that it is in */
    char name[64];
    int no_functions;    /* why the function tracer cannot be used: an errno; 0: it can */
    const char *refused; /* then: the file of tracefs that said so */
    bool exits;          /* kvm_exit is there */
};

/*
 * Makes an instance that follows a process and all that it starts from now on: system calls, exits
 * of KVM, functions of the kernel. tracefs is mounted nowhere for it. Nothing is recorded yet.
 * Returns 0, or -1 with *err (exit code 0: it cannot be had here).
 */
int trace_open(struct trace *trace, pid_t pid, struct error *err);

/* Records from now on; the function tracer works only then. And no more. */
void trace_start(struct trace *trace);
void trace_stop(const struct trace *trace);

/* What was recorded. Objects by name, whose values are how often. */
struct trace_counts {
    json_t *calls;     /* numbers of system calls */
    json_t *our_calls; /* those made by one of `ours` */
    json_t *functions;
    json_t *exits;  /* reasons */
    long long lost; /* events that did not fit */
};

/* ours: threads whose calls count as our own; count 0: all. Returns 0, or -1 with *err. */
int trace_read(const struct trace *trace, const pid_t *ours, size_t count,
               struct trace_counts *counts, struct error *err);

/* Takes one line of the text of a trace into account. Pure. */
void trace_read_line(char *line, const pid_t *ours, size_t count, struct trace_counts *counts);

/* Objects to fill; trace_counts_free frees them. Returns 0, or -1: out of memory. */
int trace_counts_make(struct trace_counts *counts);
void trace_counts_free(struct trace_counts *counts);

/* Removes the instance. */
void trace_close(struct trace *trace);

#endif
