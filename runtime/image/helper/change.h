/* `import --change`: the instructions of a Dockerfile that only set the image's configuration. */
#ifndef HYBRID_CHANGE_H
#define HYBRID_CHANGE_H

#include <jansson.h>

#include "error.h"

/*
 * Applies one instruction, such as "CMD [\"sh\"]", to "config" of an image configuration.
 * Returns 0, or -1 with *err.
 */
int change_apply(json_t *config, const char *instruction, struct error *err);

#endif
