#include "runtime/image/helper/progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "runtime/image/document.h"

enum { MAX_ROWS = 20, LINE = 200 };

/* What is higher than the terminal cannot be rewritten in place. */
struct progress progress_choose(bool quiet, size_t rows)
{
    struct progress progress = { .style = quiet ? PROGRESS_NONE : PROGRESS_LINES, .rows = rows };
    struct winsize size = { 0 };
    if (quiet || !isatty(STDERR_FILENO))
        return progress;
    (void)ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
    if (rows <= MAX_ROWS && (size.ws_row == 0 || rows < size.ws_row))
        progress.style = PROGRESS_ROWS;
    progress.width = size.ws_col;
    return progress;
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

/* In the last column some terminals wrap already. */
static int columns(const struct progress *progress)
{
    return progress->width > 1 && progress->width < LINE ? progress->width - 1 : LINE;
}

static const char *kind(const struct progress *progress, size_t row)
{
    return progress->kinds ? progress->kinds[row] : "layer";
}

void progress_begin(const struct progress *progress, const char *const *ids)
{
    char text[LINE];
    for (size_t i = 0; progress->style == PROGRESS_ROWS && i < progress->rows; i++) {
        (void)snprintf(text, sizeof text, "%s %.12s: waiting", kind(progress, i), ids[i]);
        (void)fprintf(stderr, "%.*s\n", columns(progress), text);
    }
}

/* ECMA-48: up, erase the line, write, down again. A row that wrapped would shift the others. */
static void rewrite_row(const struct progress *progress, size_t row, const char *text)
{
    size_t up = progress->rows - row;
    (void)fprintf(stderr, "\033[%zuA\r\033[K%.*s\033[%zuB\r", up, columns(progress), text, up);
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
    enum { NARROW = 76 }; /* what a bar with sizes of three digits takes */
    char bar[100];
    char text[LINE];
    draw_bar(bytes, total, bar, sizeof bar);
    if (columns(progress) < NARROW)
        (void)snprintf(text, sizeof text, "%.12s %s %.1f/%.1f MB", id, what,
                       megabytes(bytes < total ? bytes : total), megabytes(total));
    else
        (void)snprintf(text, sizeof text, "%s %.12s: %-9s %s", kind(progress, row), id, what, bar);
    rewrite_row(progress, row, text);
}

static void show_transfer(const struct progress *progress, size_t row, const char *id,
                          const char *doing, const char *done, int64_t bytes, int64_t total)
{
    char text[LINE];
    if (progress->style == PROGRESS_ROWS && bytes < total) {
        show_bar(progress, row, id, doing, bytes, total);
        return;
    }
    (void)snprintf(text, sizeof text, "%s %.12s: %s, %.1f MB", kind(progress, row), id, done,
                   megabytes(total));
    if (progress->style == PROGRESS_ROWS)
        rewrite_row(progress, row, text);
    else if (progress->style == PROGRESS_LINES && bytes == total)
        (void)fprintf(stderr, "%s\n", text);
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
    char printable[300];
    char text[400];
    if (progress->style == PROGRESS_ROWS) {
        (void)snprintf(text, sizeof text, "%s %.12s: %s", kind(progress, row), id,
                       document_printable(note, printable, sizeof printable));
        rewrite_row(progress, row, text);
    } else if (progress->style == PROGRESS_LINES) {
        (void)fprintf(stderr, "%s %.12s: %s\n", kind(progress, row), id,
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
