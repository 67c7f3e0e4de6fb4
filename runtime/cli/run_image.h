/* The image of a new workload: from the store, or first pulled into it. */
#ifndef HYBRID_RUN_IMAGE_H
#define HYBRID_RUN_IMAGE_H

#include "cli.h"
#include "runtime/image/store.h"

/* Choices of --pull: "missing", "always", "never". */
extern const char *const run_image_policies[];

/*
 * Opens the image `name`, pulled as `policy` says, and checks that it is for this machine.
 * Returns 0, the exit status of a pull that has failed and said why, or -1 with *err.
 */
int run_image_open(const struct cli *cli, char *name, const char *policy, bool quiet,
                   struct store_image *image, struct error *err);

/*
 * With HYBRID_PROBE in the environment (`hybrid compare` sets it): puts the layer that holds
 * /.hybrid/probe under the image's own, so that the probe runs inside without being of the image.
 * Files of the image win over it. Returns 0, or -1 with *err.
 */
int run_image_add_probe(const struct cli *cli, struct store_image *image, struct error *err);

#endif
