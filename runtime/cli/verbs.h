/* Every verb, each defined in its own cmd_*.c. */
#ifndef HYBRID_VERBS_H
#define HYBRID_VERBS_H

#include "cli.h"

extern const struct verb verb_run;
extern const struct verb verb_exec;
extern const struct verb verb_ps;
extern const struct verb verb_logs;
extern const struct verb verb_start;
extern const struct verb verb_stop;
extern const struct verb verb_kill;
extern const struct verb verb_wait;
extern const struct verb verb_rm;
extern const struct verb verb_pull;
extern const struct verb verb_push;
extern const struct verb verb_verify;
extern const struct verb verb_load;
extern const struct verb verb_import;
extern const struct verb verb_save;
extern const struct verb verb_images;
extern const struct verb verb_inspect;
extern const struct verb verb_history;
extern const struct verb verb_rmi;
extern const struct verb verb_create;
extern const struct verb verb_state;
extern const struct verb verb_delete;
extern const struct verb verb_list;
extern const struct verb verb_pause;
extern const struct verb verb_resume;
extern const struct verb verb_update;
extern const struct verb verb_events;
extern const struct verb verb_spec;
extern const struct verb verb_features;
extern const struct verb verb_image;
extern const struct verb verb_tag;
extern const struct verb verb_system;
extern const struct verb verb_policy;
extern const struct verb verb_doctor;
extern const struct verb verb_compare;
extern const struct verb verb_explain;
extern const struct verb verb_version;

#endif
