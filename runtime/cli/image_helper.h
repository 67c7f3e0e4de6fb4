/* hybrid-image, which does everything that writes the image store. */
#ifndef HYBRID_IMAGE_HELPER_H
#define HYBRID_IMAGE_HELPER_H

#include "cli.h"

enum { IMAGE_HELPER_MAX_ARGUMENTS = 8 };

/*
 * Becomes hybrid-image: `hybrid-image --store S --root R` followed by `arguments` and `operands`
 * (each ends with NULL). Returns only on failure: -1 with *err.
 */
int image_helper_exec(const struct cli *cli, const char *const *arguments, char *const *operands,
                      struct error *err);

#endif
