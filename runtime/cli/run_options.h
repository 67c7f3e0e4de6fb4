/* The options of `hybrid run`. */
#ifndef HYBRID_RUN_OPTIONS_H
#define HYBRID_RUN_OPTIONS_H

#include "cli.h"
#include "runtime/engine/run.h"

struct run_settings {
    struct run_options run;
    struct option_list env, env_files;
    const char *name;
    const char *network;
    const char *format;
    struct engine_run_options bundle; /* --bundle and what belongs to it */
    const char *pull;
    bool remove, detach, interactive, dry_run, quiet;
};

extern const struct cli_option run_option_table[];
extern const struct run_settings run_defaults;

#endif
