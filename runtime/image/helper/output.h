/* A file that appears under its name when it is complete, whoever kills its writer. */
#ifndef HYBRID_OUTPUT_H
#define HYBRID_OUTPUT_H

#include "error.h"

struct output {
    const char *path; /* NULL: standard output */
    int dir_fd;       /* of the file; -1: written in place (standard output, a device, a pipe) */
    int fd;
    char temporary[64]; /* its name meanwhile; "": none yet */
};

/* Opens the output. Returns 0, or -1 with *err. */
int output_begin(const char *path, struct output *output, struct error *err);

/* Gives the file its name, in place of what has it. Returns 0, or -1 with *err. */
int output_commit(struct output *output, struct error *err);

/* Forgets what was not committed, and closes. */
void output_end(struct output *output);

/* What of the file system writing to path needs: *place, malloc'd, is a directory or a special
 * file. Returns 0, or -1 with *err. */
int output_place(const char *path, char **place, struct error *err);

#endif
