/* `hybrid-image check`: is everything in the store as it should be? */
#ifndef HYBRID_CHECK_H
#define HYBRID_CHECK_H

#include <stdbool.h>

#include "error.h"

struct check_options {
    const char *root; /* where workloads are: what they use is no orphan */
    bool quick;       /* sizes and superblocks, not content */
    bool repair;      /* remove what is broken, and the images that need it */
    bool json;
};

/*
 * Verifies the store and prints a line for each problem, and the sum. Others may use the store
 * meanwhile; with repair they wait. Returns 0: it is sound (repair: now), 1: it is not, -1: *err.
 */
int check_run(const char *store_path, const struct check_options *options, struct error *err);

#endif
