/*
 * The guest's console on its way to a pipe: a bounded ring which vCPU threads fill and the device
 * loop empties without ever blocking. What does not fit is dropped and counted (a guest that floods
 * its serial port must not cost the host memory; compare CVE-2020-27174).
 */
#ifndef HYBRID_VMM_CONSOLE_H
#define HYBRID_VMM_CONSOLE_H

#include "vmm/loop.h"

#include <pthread.h>
#include <stdint.h>

enum { CONSOLE_RING = 4096 };

struct console {
    pthread_mutex_t lock;
    char ring[CONSOLE_RING];
    uint32_t head, length; /* bytes ring[head...] wait */
    uint64_t dropped;      /* bytes dropped since the last note of it in the output */
    int wake_fd;           /* eventfd, owned */
    int output_fd;         /* the caller's; -1: discard */
    struct loop *loop;
    struct loop_source wake, output;
    bool output_watched;
};

/* output_fd: -1 for none. Returns 0, or -1 with err; console_destroy is safe in both cases. */
int console_create(struct console *console, struct loop *loop, int output_fd, struct error *err);
void console_destroy(struct console *console);

/* Adds one byte. Called by vCPU threads; never blocks. */
void console_put(struct console *console, char byte);

/* Writes out what the pipe takes without blocking. Called by the device loop, and at the end. */
void console_flush(struct console *console);

#endif
