/*
 * JSON from images, which is hostile: bounded in size and depth, without duplicated keys, and read
 * through getters that name the field when its type is wrong.
 */
#ifndef HYBRID_DOCUMENT_H
#define HYBRID_DOCUMENT_H

#include <jansson.h>
#include <stddef.h>

#include "error.h"

enum {
    DOCUMENT_MAX_BYTES = 4 * 1024 * 1024, /* as registries limit manifests */
    DOCUMENT_MAX_VALUES = 64 * 1024,      /* an image of 254 layers has some thousand */
    DOCUMENT_MAX_DEPTH = 32,              /* OCI documents nest six deep; labels cannot nest */
};

static inline void cleanup_json(json_t **value)
{
    json_decref(*value);
}
#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))

/* Parses text. `what` names the document in messages. Returns a new reference, or NULL with *err.
 */
json_t *document_parse(const char *text, size_t length, const char *what, struct error *err);

/*
 * Reads and parses the file `path` (relative to dir_fd). Returns a new reference, or NULL with
 * *err; *errnum (optional) tells a missing file (ENOENT) from a bad one (0).
 */
json_t *document_read(int dir_fd, const char *path, const char *what, int *errnum,
                      struct error *err);

/*
 * Fetches a member of an object. Absent or null: *value is NULL (or -1) and the result 0. Present
 * with another type: -1 with *err. Strings are borrowed from the object.
 */
int document_get_string(const json_t *object, const char *key, const char *what, const char **value,
                        struct error *err);
int document_get_array(const json_t *object, const char *key, const char *what,
                       const json_t **value, struct error *err);
int document_get_object(const json_t *object, const char *key, const char *what,
                        const json_t **value, struct error *err);

/* Checks that the member, if present, is an array of strings. Returns 0, or -1 with *err. */
int document_check_strings(const json_t *object, const char *key, const char *what,
                           struct error *err);

/* Writes name to text so that it can be printed: control and non-ASCII bytes as \xNN, cut short
 * with "..." where text is too small. Returns text. */
const char *document_printable(const char *name, char *text, size_t size);

#endif
