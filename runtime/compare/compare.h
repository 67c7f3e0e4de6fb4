/*
 * `hybrid compare`: runs an image in each isolation that is available here, by executing hybrid
 * itself, and makes one JSON document of what was measured; table and HTML page are made of that
 * document alone.
 *
 * The document ("format": "hybrid-compare", "version": 1): host, image, command (null: the probe's
 * own), runs; isolations[] with name, title, available and, where not, reason; topics[] with name,
 * title and rows[]: name, title, unit (ns, bytes, count, text), text and values{}, by name of the
 * isolation. A value is one of: a distribution (n, min, p50, p90, p99, max, samples: sorted, at
 * most 100 of them), {value}, {text}, {missing: why}; it may have a note. conclusions{} says in a
 * sentence, by isolation, what an exploited kernel bug would mean.
 */
#ifndef HYBRID_COMPARE_H
#define HYBRID_COMPARE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "error.h"
#include "rows.h"
#include "runtime/runtime.h"

enum { COMPARE_VERSION = 1 };

struct compare_request {
    const char *program;           /* hybrid itself, absolute */
    const struct runtime *runtime; /* where its directories and the policy are */
    const char *image;             /* as the user names it */
    const char *const *command;    /* ends with NULL; empty: the probe's own */
    int runs;                      /* of start; at least 1 */
    bool topics[TOPICS];           /* those to measure */
    bool isolations[ISOLATIONS];   /* likewise */
    FILE *progress;                /* a line when something begins; NULL: none */
};

/*
 * Measures. SIGINT, SIGTERM and SIGHUP end it, with everything that it started. Returns a new
 * document, or NULL with *err: nothing could be started at all, or a signal (exit code 128 + n).
 */
json_t *compare_measure(const struct compare_request *request, struct error *err);

/* Prints a document as a table of at most 80 columns, notes below it. */
void compare_print_table(const json_t *document, FILE *out);

/* Prints a document as one HTML page that needs no other file. */
void compare_print_html(const json_t *document, FILE *out);

#endif
