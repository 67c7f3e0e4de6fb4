/* The mount options of runtime-spec 1.2 and mount(8) that are not the file system's own. */
#ifndef HYBRID_MOUNT_OPTIONS_H
#define HYBRID_MOUNT_OPTIONS_H

#include <stddef.h>

#include "error.h"
#include "plan.h"

enum mount_option_result {
    MOUNT_OPTION_REFUSED = -1, /* known, but not supported: *err */
    MOUNT_OPTION_APPLIED,
    MOUNT_OPTION_OTHER, /* none of ours: the file system's own */
};

/* Applies one option to *mount; what comes later wins. */
enum mount_option_result mount_option_apply(const char *option, struct plan_mount *mount,
                                            struct error *err);

/* The option nearest to a misspelt one, or NULL. */
const char *mount_option_nearest(const char *option);

/* Writes the options that would make *mount, comma-separated ("ro,nosuid"). Returns as snprintf. */
int mount_options_describe(const struct plan_mount *mount, char *text, size_t size);

#endif
