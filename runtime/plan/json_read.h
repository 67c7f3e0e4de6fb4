/*
 * Typed access to the members of untrusted JSON objects. Each function names the member by its
 * path ("process.user.uid") when it is not what it must be. A member that is absent or null leaves
 * *value as it is: Go programs write null for an empty list.
 *
 * All return 1 (present), 0 (absent) or -1 with *err.
 */
#ifndef HYBRID_JSON_READ_H
#define HYBRID_JSON_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* path: where `parent` itself is: "process.user", "" for the document, or "what document:".
 * parent may be NULL: all is absent. */
int json_read_object(const json_t *parent, const char *path, const char *key, json_t **value,
                     struct error *err);
int json_read_array(const json_t *parent, const char *path, const char *key, json_t **value,
                    struct error *err);
int json_read_boolean(const json_t *parent, const char *path, const char *key, bool *value,
                      struct error *err);

/* Borrowed from the document. A string with a NUL inside is refused: C would cut it short. */
int json_read_string(const json_t *parent, const char *path, const char *key, const char **value,
                     struct error *err);

/* A whole number from min to max. */
int json_read_integer(const json_t *parent, const char *path, const char *key, int64_t min,
                      int64_t max, int64_t *value, struct error *err);

/* An array whose members are all strings without NUL. */
int json_read_strings(const json_t *parent, const char *path, const char *key, json_t **value,
                      struct error *err);

/* The error "PATH.KEY must be WHAT". Returns -1. */
int json_read_refuse(const char *path, const char *key, const char *what, struct error *err);

#endif
