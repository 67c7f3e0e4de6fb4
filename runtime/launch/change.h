/* What pause, resume and update do to workloads of images; and limits, to those of bundles too. */
#ifndef HYBRID_LAUNCH_CHANGE_H
#define HYBRID_LAUNCH_CHANGE_H

#include <stdbool.h>

#include "workload.h"

/*
 * Stops the processes of a running workload where they are, or lets them go on. Those of a VM are
 * its processes on the host: the machine stands still. Returns 0, or -1 with *err.
 */
int workload_pause(const struct runtime *runtime, const char *name, bool pause, struct error *err);

/*
 * Applies limits to the cgroup of a running workload, of an image or a bundle. A VM's processors
 * and block I/O can be limited so; its memory and the limits inside are its own kernel's, and are
 * refused. Returns 0, or -1 with *err.
 */
int workload_set_limits(const struct state *state, const struct plan_resources *resources,
                        struct error *err);

/* The same for a workload of an image, by its name: its configuration stays as it was made. */
int workload_update(const struct runtime *runtime, const char *name,
                    const struct plan_resources *resources, struct error *err);

#endif
