/* Reading a document of compare.h: what table and page have in common. Pure. */
#ifndef HYBRID_COMPARE_VALUE_H
#define HYBRID_COMPARE_VALUE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A member's text, or "". */
const char *value_text(const json_t *object, const char *key);

/* The value of a row in an isolation (an object of isolations[]), or NULL. */
const json_t *value_of(const json_t *row, const json_t *isolation);

/* A value as a cell: "1.20/3.40 ms", "5.2 MiB", "341", "open"; "" where it is missing. */
void value_format(const json_t *row, const json_t *value, char *text, size_t size);

/* The number that a bar shows: p50 or value; -1: none. */
double value_number(const json_t *value);

/*
 * Whether a row is a part of the one above it (its title is indented) that nothing here has: the
 * stages of a VM where there is none would only be dashes.
 */
bool value_is_empty_part(const json_t *row, const json_t *isolations);

#endif
