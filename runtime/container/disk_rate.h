/* How fast a container may use its disks: a limit of its cgroup on the device that they are on. */
#ifndef HYBRID_CONTAINER_DISK_RATE_H
#define HYBRID_CONTAINER_DISK_RATE_H

#include "error.h"
#include "plan.h"

/* Settings with the texts that they point to. */
struct disk_rate_settings {
    struct plan_cgroup_setting settings[PLAN_DISK_RATES];
    char v1_values[PLAN_DISK_RATES][64], v2_values[PLAN_DISK_RATES][64], what[PLAN_DISK_RATES][160];
    size_t count;
};

/*
 * Makes settings of the rates of disks in resources->rates for the device that holds `path`, where
 * layers and writable layers are. *made must stay in place. Returns 0, or -1 with *err: cgroups
 * cannot limit what is on no block device.
 */
int disk_rate_make(const struct plan_resources *resources, const char *path,
                   struct disk_rate_settings *made, struct error *err);

#endif
