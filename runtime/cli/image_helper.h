/* hybrid-image, which does everything that writes the image store. */
#ifndef HYBRID_IMAGE_HELPER_H
#define HYBRID_IMAGE_HELPER_H

#include "cli.h"

/*
 * Becomes hybrid-image: `hybrid-image --store S --root R` followed by `arguments` and `operands`
 * (each ends with NULL). Returns only on failure: -1 with *err.
 */
int image_helper_exec(const struct cli *cli, const char *const *arguments, char *const *operands,
                      struct error *err);

/*
 * The same for a verb of hybrid-image whose options are, by name, those of the verb that runs: what
 * was given of them is passed on. settings: that verb's. Options have text, lists or flags.
 */
int image_helper_verb(const struct cli *cli, const char *verb, const void *settings,
                      char *const *operands, struct error *err);

/*
 * Runs hybrid-image to its end, as a child: standard input is empty, what it prints goes to
 * standard error, and signals that would end this process are its to answer. Returns its exit
 * status (it has said why, if it is not 0), or -1 with *err.
 */
int image_helper_run(const struct cli *cli, const char *const *arguments, char *const *operands,
                     struct error *err);

#endif
