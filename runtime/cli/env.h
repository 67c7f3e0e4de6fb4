/* -e and --env-file, as docker(1) understands them. */
#ifndef HYBRID_CLI_ENV_H
#define HYBRID_CLI_ENV_H

#include "cli.h"

/* NAME=VALUE, or NAME alone: the variable is taken away. */
struct env {
    struct option_list list; /* first the files, then the options: the later one counts */
    char **owned;            /* the strings of list that were made here */
    size_t owned_count;
};

/*
 * Reads the files and resolves NAME alone to the caller's value. Returns 0, or -1 with *err naming
 * file and line; *env is to be freed either way.
 */
int env_read(const struct option_list *options, const struct option_list *files, struct env *env,
             struct error *err);
void env_free(struct env *env);

#endif
