/* Ending workloads from outside: what stop, kill and rm -f share. */
#ifndef HYBRID_LAUNCH_SIGNALS_H
#define HYBRID_LAUNCH_SIGNALS_H

#include <stdint.h>

#include "workload.h"

/* The number of a signal by name or number, or -1 with *err naming the nearest one. */
int signal_parse(const char *text, const char *option, struct error *err);

/* The error for something that needs a running workload. Returns -1. */
int workload_refuse_stopped(const char *name, struct error *err);

/*
 * Asks the monitor of a running workload for something that it answers by DONE or FAILED
 * (control.h). Returns 0, or -1 with *err.
 */
int workload_request(const struct runtime *runtime, const char *name, uint32_t type, int value,
                     struct error *err);

/*
 * Sends a signal to the first process of a running workload; 0: only tells whether it runs. Returns
 * 0, or -1 with *err.
 */
int workload_signal(const struct runtime *runtime, const char *name, int signal, struct error *err);

struct stop_options {
    int signal;      /* the first */
    int64_t seconds; /* until KILL; -1: never */
};

/*
 * Sends the signal, waits, kills, and waits until nothing of the workload runs. One that has
 * stopped already is no error. Returns 0, or -1 with *err.
 */
int workload_stop(const struct runtime *runtime, const char *name,
                  const struct stop_options *options, struct error *err);

/*
 * Kills a workload by whoever listens as its monitor, whatever its state says, and waits until that
 * has ended. Where nobody listens, nothing is done. Returns 0, or -1 with *err.
 */
int workload_kill_by_monitor(const struct runtime *runtime, const char *name, struct error *err);

/*
 * Waits for the end. Returns the exit status 0..255, or -1 with *err. A stopped workload gives its
 * last status.
 */
int workload_wait(const struct runtime *runtime, const char *name, struct error *err);

#endif
