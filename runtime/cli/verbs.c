/* The verbs, in the order of the help. */
#include "verbs.h"

const struct verb *const cli_verbs[] = {
    &verb_run,      &verb_exec,    &verb_ps,      &verb_logs,    &verb_start,  &verb_stop,
    &verb_kill,     &verb_wait,    &verb_rm,      &verb_pause,   &verb_resume, &verb_update,
    &verb_pull,     &verb_push,    &verb_load,    &verb_import,  &verb_save,   &verb_images,
    &verb_inspect,  &verb_history, &verb_rmi,     &verb_verify,  &verb_image,  &verb_tag,
    &verb_create,   &verb_state,   &verb_delete,  &verb_list,    &verb_events, &verb_spec,
    &verb_features, &verb_policy,  &verb_compare, &verb_explain, &verb_doctor, &verb_system,
    &verb_version,  NULL,
};
