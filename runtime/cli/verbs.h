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
extern const struct verb verb_load;
extern const struct verb verb_images;
extern const struct verb verb_inspect;
extern const struct verb verb_rmi;
extern const struct verb verb_policy;
extern const struct verb verb_doctor;
extern const struct verb verb_version;

#endif
