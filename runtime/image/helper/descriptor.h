/*
 * Descriptors and media types (OCI image-spec 1.1, descriptor.md; Docker's schema 2), read from
 * documents of others.
 */
#ifndef HYBRID_DESCRIPTOR_H
#define HYBRID_DESCRIPTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct descriptor {
    const char *media_type; /* borrowed from the document */
    const char *hex;
    int64_t size;
    const json_t *annotations, *platform;
};

/* Each ends with NULL. */
extern const char *const media_index_types[],
    *const media_manifest_types[], *const media_config_types[], *const media_layer_types[];

/* Is type (NULL: no) in the list? */
bool media_is_listed(const char *type, const char *const *types);

/* Reads a descriptor; `what` names the document in messages. Returns 0, or -1 with *err. */
int descriptor_parse(const json_t *value, const char *what, struct descriptor *descriptor,
                     struct error *err);

/* Fails with the media type; `what` names what it was the type of. Returns -1. */
int descriptor_refuse_type(const struct descriptor *descriptor, const char *what,
                           struct error *err);

/*
 * Checks an image manifest: its own media type (`type` if it names none; NULL: unknown) and that of
 * its configuration, whose descriptor it reads. *layers is borrowed. Returns 0, or -1 with *err.
 */
int manifest_parse(const json_t *manifest, const char *type, struct descriptor *config,
                   const json_t **layers, struct error *err);

/* Reads the descriptor of a layer and checks its media type. Returns 0, or -1 with *err. */
int manifest_parse_layer(const json_t *layers, size_t position, struct descriptor *layer,
                         struct error *err);

#endif
