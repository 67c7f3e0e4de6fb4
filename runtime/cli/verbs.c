/* The verbs, in the order of the help. */
#include "verbs.h"

const struct verb *const cli_verbs[] = {
    &verb_run,  &verb_exec,   &verb_ps,     &verb_logs,    &verb_start,  &verb_stop,
    &verb_kill, &verb_wait,   &verb_rm,     &verb_load,    &verb_images, &verb_inspect,
    &verb_rmi,  &verb_policy, &verb_doctor, &verb_version, NULL,
};
