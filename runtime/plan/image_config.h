/*
 * The part of an OCI image configuration that decides how its process runs. The document comes from
 * whoever made the image: every member is checked here, and nowhere else.
 * Specification: OCI image-spec 1.1, config.md.
 */
#ifndef HYBRID_IMAGE_CONFIG_H
#define HYBRID_IMAGE_CONFIG_H

#include <jansson.h>

#include "error.h"

/* Bounds of what one workload can be given: below the kernel's own for execve(2), so that both
 * isolations accept the same, and one configuration fits into a message to a guest. */
enum {
    PROCESS_MAX_STRING = 128 * 1024 - 1, /* MAX_ARG_STRLEN without its NUL */
    PROCESS_MAX_BYTES = 512 * 1024,      /* arguments and environment together */
    PROCESS_MAX_STRINGS = 16384,
};

struct image_config { /* borrowed from the document; NULL: absent */
    const char *user;
    const char *workdir;
    const char *stop_signal;
    json_t *env;        /* array of NAME=VALUE */
    json_t *entrypoint; /* array of strings */
    json_t *command;    /* array of strings */
    json_t *labels;     /* object of strings */
};

/* Returns 0, or -1 with *err naming the member. */
int image_config_read(const json_t *document, struct image_config *config, struct error *err);

#endif
