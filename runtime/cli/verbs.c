/* The verbs, in the order of the help. */
#include "verbs.h"

const struct verb *const cli_verbs[] = {
    &verb_run,
    &verb_load,
    &verb_images,
    &verb_inspect,
    &verb_rmi,
    &verb_version,
    NULL,
};
