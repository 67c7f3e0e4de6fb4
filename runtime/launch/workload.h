/* A workload by its name: its state, its back end, its monitor, and what a killed one left. */
#ifndef HYBRID_LAUNCH_WORKLOAD_H
#define HYBRID_LAUNCH_WORKLOAD_H

#include "runtime/monitor/monitor.h"
#include "runtime/runtime.h"
#include "runtime/state/state.h"

/* Owned strings behind a struct workload_paths. */
struct paths {
    struct workload_paths paths;
    char *state_dir, *data_dir;
};

int paths_make(const struct runtime *runtime, const char *id, struct paths *paths,
               struct error *err);
void paths_free(struct paths *paths);

/*
 * Refuses root of a user namespace, who can make no cgroup, unless there is to be none; before a
 * state directory is made, which such a root may not write either. Returns 0, or -1 with *err.
 */
int workload_check_root(const struct runtime *runtime, struct error *err);

/* The back end called `isolation`, or NULL with *err. */
const struct workload_ops *workload_find_ops(const char *isolation, struct error *err);

/*
 * Reads the state of a workload. If its monitor was killed, what it left is cleaned up first.
 * Returns 0, or -1 with *err: "no such workload".
 */
int workload_read(const struct runtime *runtime, const char *name, struct state *state,
                  struct error *err);

/*
 * Removes what a killed monitor left: processes, cgroup, mounts; with --rm also the state and the
 * writable layer. The caller holds the lock. Returns 0, or -1 with *err.
 */
int workload_clean_up(const struct runtime *runtime, struct state *state, struct error *err);

/*
 * Removes what is left, besides its cgroups, of a workload of which nobody knows what ran it. The
 * same.
 */
int workload_clean_unknown(const struct runtime *runtime, const char *id, struct error *err);

/* Removes a workload that is not running, with its writable layer and log. As workload_clean_up. */
int workload_remove(const struct runtime *runtime, struct state *state, struct error *err);

/*
 * Takes the lock of a workload whose monitor is dying: waits for it up to two seconds. Returns 0,
 * 1 if it is still held, or -1 with *err.
 */
int workload_lock_soon(const struct runtime *runtime, const char *id, int *lock, struct error *err);

/* Connects to the monitor of a running workload. Returns the socket, or -1 with *err. */
int workload_connect(const struct runtime *runtime, const char *id, struct error *err);

#endif
