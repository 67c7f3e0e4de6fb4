/* What a user sees of a load, pull or push: one line a layer, rewritten in place on a terminal. */
#ifndef HYBRID_PROGRESS_H
#define HYBRID_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum progress_style {
    PROGRESS_NONE,  /* -q */
    PROGRESS_LINES, /* not a terminal: a line when a layer is done */
    PROGRESS_ROWS,  /* a terminal: a row a layer */
};

struct progress {
    enum progress_style style;
    size_t rows;
    int width;                /* of the terminal, in columns; 0: unknown */
    const char *const *kinds; /* what each row is of; NULL: all are layers */
};

/* Chooses the style for standard error, which may be a terminal of any size. */
struct progress progress_choose(bool quiet, size_t rows);

/* On a terminal, shows what is being read until progress_reading(NULL) clears the line. */
void progress_reading(bool quiet, const char *path);

/* Prints the rows of layers yet to come. ids: hex diff ids. */
void progress_begin(const struct progress *progress, const char *const *ids);

/* Layer `row` has been fetched, or pushed, up to `bytes` of `total`; all of it: it is there. */
void progress_fetch(const struct progress *progress, size_t row, const char *id, int64_t bytes,
                    int64_t total);
void progress_push(const struct progress *progress, size_t row, const char *id, int64_t bytes,
                   int64_t total);

/* Something about layer `row` that takes time: a request has to be repeated. */
void progress_note(const struct progress *progress, size_t row, const char *id, const char *note);

/* Layer `row` has been read up to `bytes` of `total`. */
void progress_update(const struct progress *progress, size_t row, const char *id, int64_t bytes,
                     int64_t total);

/* Layer `row` is converted. */
void progress_done(const struct progress *progress, size_t row, const char *id, int64_t total);

#endif
