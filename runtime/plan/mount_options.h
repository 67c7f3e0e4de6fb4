/* The mount options of runtime-spec 1.2 and mount(8) that are not the file system's own. */
#ifndef HYBRID_MOUNT_OPTIONS_H
#define HYBRID_MOUNT_OPTIONS_H

#include <jansson.h>
#include <stddef.h>

#include "plan.h"

/* Applies one option to *mount; what comes later wins. Returns false for the file system's own. */
bool mount_option_apply(const char *option, struct plan_mount *mount);

/* The option nearest to a misspelt one, or NULL. */
const char *mount_option_nearest(const char *option);

/* Whether a mount can have ids of its own. */
#define MOUNT_IDMAP_SUPPORTED true

/* The names of all options that are supported, sorted. New reference. */
json_t *mount_option_names(void);

/* Writes the options that would make *mount, comma-separated ("ro,nosuid"). Returns as snprintf. */
int mount_options_describe(const struct plan_mount *mount, char *text, size_t size);

#endif
