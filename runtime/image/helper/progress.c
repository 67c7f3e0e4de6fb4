#include "runtime/image/helper/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "runtime/image/document.h"

enum { MAX_ROWS = 20 }; /* more than a screen may hold cannot be rewritten in place */

enum progress_style progress_choose(bool quiet, size_t rows)
{
    if (quiet)
        return PROGRESS_NONE;
    return isatty(STDERR_FILENO) && rows <= MAX_ROWS ? PROGRESS_ROWS : PROGRESS_LINES;
}

void progress_reading(bool quiet, const char *path)
{
    char printable[60];
    if (quiet || !isatty(STDERR_FILENO))
        return;
    (void)fprintf(stderr, "\r\033[K%s%s", path ? "reading " : "",
                  path ? document_printable(path, printable, sizeof printable) : "");
    (void)fflush(stderr);
}

static double megabytes(int64_t bytes)
{
    return (double)bytes / 1e6;
}

void progress_begin(struct progress *progress, const char *const *ids, size_t rows)
{
    progress->rows = rows;
    for (size_t i = 0; progress->style == PROGRESS_ROWS && i < rows; i++)
        (void)fprintf(stderr, "layer %.12s: waiting\n", ids[i]);
}

/* ECMA-48: up, erase the line, write, down again. */
static void rewrite_row(const struct progress *progress, size_t row, const char *text)
{
    size_t up = progress->rows - row;
    (void)fprintf(stderr, "\033[%zuA\r\033[K%s\033[%zuB\r", up, text, up);
    (void)fflush(stderr);
}

/* "[=====>    ] 12.3 of 45.6 MB" */
static void draw_bar(int64_t bytes, int64_t total, char *text, size_t size)
{
    enum { WIDTH = 20 };
    static const char arrow[] = "====================>";
    if (bytes > total)
        bytes = total;
    int full = total > 0 ? (int)((double)bytes / (double)total * WIDTH) : WIDTH;
    (void)snprintf(text, size, "[%-*s] %.1f of %.1f MB", WIDTH + 1, arrow + WIDTH - full,
                   megabytes(bytes), megabytes(total));
}

static void show_bar(const struct progress *progress, size_t row, const char *id, const char *what,
                     int64_t bytes, int64_t total)
{
    char bar[100];
    char text[160];
    draw_bar(bytes, total, bar, sizeof bar);
    (void)snprintf(text, sizeof text, "layer %.12s: %-9s %s", id, what, bar);
    rewrite_row(progress, row, text);
}

static void show_transfer(const struct progress *progress, size_t row, const char *id,
                          const char *doing, const char *done, int64_t bytes, int64_t total)
{
    if (progress->style == PROGRESS_ROWS)
        show_bar(progress, row, id, doing, bytes, total);
    else if (progress->style == PROGRESS_LINES && bytes == total)
        (void)fprintf(stderr, "layer %.12s: %s, %.1f MB\n", id, done, megabytes(total));
}

void progress_fetch(const struct progress *progress, size_t row, const char *id, int64_t bytes,
                    int64_t total)
{
    show_transfer(progress, row, id, "fetching", "fetched", bytes, total);
}

void progress_push(const struct progress *progress, size_t row, const char *id, int64_t bytes,
                   int64_t total)
{
    show_transfer(progress, row, id, "pushing", "pushed", bytes, total);
}

void progress_note(const struct progress *progress, size_t row, const char *id, const char *note)
{
    enum { ROW = 56 }; /* a longer one would wrap, and shift the rows */
    char printable[300];
    char text[80];
    if (progress->style == PROGRESS_ROWS) {
        document_printable(note, printable, ROW);
        (void)snprintf(text, sizeof text, "layer %.12s: %.*s", id, ROW, printable);
        rewrite_row(progress, row, text);
    } else if (progress->style == PROGRESS_LINES) {
        (void)fprintf(stderr, "layer %.12s: %s\n", id,
                      document_printable(note, printable, sizeof printable));
    }
}

void progress_update(const struct progress *progress, size_t row, const char *id, int64_t bytes,
                     int64_t total)
{
    char text[128];
    if (progress->style != PROGRESS_ROWS)
        return;
    if (bytes < total) {
        show_bar(progress, row, id, "unpacking", bytes, total);
        return;
    }
    (void)snprintf(text, sizeof text, "layer %.12s: writing %.1f MB", id, megabytes(total));
    rewrite_row(progress, row, text);
}

void progress_done(const struct progress *progress, size_t row, const char *id, int64_t total)
{
    char text[128];
    if (progress->style == PROGRESS_NONE)
        return;
    (void)snprintf(text, sizeof text, "layer %.12s: done, %.1f MB", id, megabytes(total));
    if (progress->style == PROGRESS_ROWS)
        rewrite_row(progress, row, text);
    else
        (void)fprintf(stderr, "%s\n", text);
}
