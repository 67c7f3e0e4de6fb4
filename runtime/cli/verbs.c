/* The verbs, in the order of the help. */
#include "verbs.h"

const struct verb *const cli_verbs[] = {
    &verb_version,
    NULL,
};
