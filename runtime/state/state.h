/*
 * The state directory of workloads, <root>/<id>/: made, locked, read, listed, removed. Crash-safe:
 * state.json is written to a temporary name and renamed; a state whose monitor is dead reads as
 * stopped; what a killed process left is removed by the next command that meets it.
 */
#ifndef HYBRID_STATE_H
#define HYBRID_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

enum state_status {
    STATE_CREATING,
    STATE_CREATED,
    STATE_RUNNING,
    STATE_PAUSED,
    STATE_STOPPED,
};

struct state {
    char *id;
    char *image;     /* reference as resolved; NULL for a bundle */
    char *isolation; /* "container" or "vm" */
    char *bundle;    /* for OCI callers; NULL */
    enum state_status status;
    pid_t pid;          /* container's first process, or hybrid-vmm; 0: none */
    uint64_t pid_start; /* its start time (field 22 of /proc/pid/stat), against reuse */
    pid_t monitor_pid;
    uint64_t monitor_start;
    char *cgroup;    /* as workload_ops.cgroup; "" none */
    int exit_status; /* valid when stopped and `exited` */
    bool exited;
    bool oom;
    bool remove;                        /* --rm */
    int64_t created, started, finished; /* seconds since the epoch; 0: not yet */
    json_t *command;                    /* array of strings, for ps */
    json_t *layers;  /* array of diff-id hex, lowest first: start does not need the index */
    json_t *options; /* what `start` needs again: stop signal, tty, stdin */
};

#endif
