/* What verbs print: tables, JSON, ages, warnings. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "cli.h"
#include "io.h"
#include "log_file.h"

/* Control characters are shown as "?". */
static void print_cell(FILE *out, const char *text, size_t width, bool last)
{
    size_t length = 0;
    for (; text && *text; text++, length++)
        (void)fputc(iscntrl((unsigned char)*text) ? '?' : *text, out);
    for (; !last && length < width + 3; length++)
        (void)fputc(' ', out);
}

/* Aligned columns; `cells` is a row after the other. A NULL cell is empty. */
static void print_cells(FILE *out, char *const *cells, size_t rows, size_t columns)
{
    _cleanup_free_ size_t *widths = calloc(columns, sizeof *widths);
    for (size_t row = 0; widths && row < rows; row++) {
        for (size_t i = 0; i < columns; i++) {
            const char *cell = cells[row * columns + i];
            size_t length = cell ? strlen(cell) : 0;
            if (length > widths[i])
                widths[i] = length;
        }
    }
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < columns; i++)
            print_cell(out, cells[row * columns + i], widths ? widths[i] : 0, i == columns - 1);
        (void)fputc('\n', out);
    }
}

void cli_print_json(FILE *out, const json_t *value)
{
    (void)json_dumpf(value, out, JSON_INDENT(2) | JSON_ENCODE_ANY);
    (void)fputc('\n', out);
}

static int print_rows(FILE *out, const struct cli_listing *listing, struct error *err)
{
    const size_t columns = listing->columns, used = (listing->count + 1) * columns;
    char **cells = calloc(used, sizeof *cells);
    if (!cells)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < columns; i++)
        cells[i] = strdup(listing->heading[i]);
    for (size_t i = 0; i < listing->count; i++)
        listing->fill_row(listing->things, i, cells + (i + 1) * columns);
    print_cells(out, cells, listing->count + 1, columns);
    for (size_t i = 0; i < used; i++)
        free(cells[i]);
    free(cells);
    return 0;
}

static int print_array(FILE *out, const struct cli_listing *listing, struct error *err)
{
    json_t *array = json_array();
    int result = array ? 0 : -1;
    for (size_t i = 0; i < listing->count && result == 0; i++)
        result = json_array_append_new(array, listing->describe(listing->things, i));
    if (result == 0)
        cli_print_json(out, array);
    json_decref(array);
    return result < 0 ? error_set(err, EXIT_OURS, "out of memory") : 0;
}

int cli_print_listing(FILE *out, const struct cli_listing *listing, const char *format,
                      bool names_only, struct error *err)
{
    if (!names_only)
        return strcmp(format, "json") == 0 ? print_array(out, listing, err)
                                           : print_rows(out, listing, err);
    for (size_t i = 0; i < listing->count; i++)
        listing->print_name(out, listing->things, i);
    return 0;
}

void cli_print_age(int64_t then, int64_t now, char *text, size_t size)
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = { { 31536000, "year" }, { 2592000, "month" }, { 604800, "week" }, { 86400, "day" },
                  { 3600, "hour" },     { 60, "minute" },     { 1, "second" } };
    int64_t age = now > then ? now - then : 0;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        int64_t count = age / units[i].seconds;
        if (count == 0)
            continue;
        (void)snprintf(text, size, "%lld %s%s ago", (long long)count, units[i].name,
                       count == 1 ? "" : "s");
        return;
    }
    (void)snprintf(text, size, "now");
}

void cli_print_size(int64_t bytes, char *text, size_t size)
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(text, size, "%.3g%s", value, units[unit]);
}

int64_t cli_parse_time(const char *text)
{
    struct tm time = { 0 };
    char rest[32] = "";
    char sign;
    int hours;
    int minutes;
    /* NOLINTNEXTLINE(cert-err34-c): bounded numbers of digits */
    if (!text || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%31s", &time.tm_year, &time.tm_mon,
                        &time.tm_mday, &time.tm_hour, &time.tm_min, &time.tm_sec, rest) != 7)
        return 0;
    time.tm_year -= 1900;
    time.tm_mon--;
    int64_t seconds = timegm(&time);
    const char *zone = rest + (rest[0] == '.' ? 1 + strspn(rest + 1, "0123456789") : 0);
    /* NOLINTNEXTLINE(cert-err34-c): bounded numbers of digits */
    if (sscanf(zone, "%c%2d:%2d", &sign, &hours, &minutes) == 3 && (sign == '+' || sign == '-'))
        seconds -= (sign == '+' ? 1 : -1) * (hours * 3600LL + minutes * 60LL);
    return seconds;
}

int cli_each(const struct cli *cli, char **names, size_t count, bool print,
             int (*one)(const struct cli *cli, const char *name, const void *context,
                        struct error *err),
             const void *context)
{
    int status = 0;
    for (size_t i = 0; i < count; i++) {
        struct error err = { 0 };
        if (one(cli, names[i], context, &err) < 0) {
            cli_warn(err.message);
            log_file_write(cli->runtime.log, "error", err.message);
            status = EXIT_OURS;
        } else if (print) {
            (void)fprintf(cli->out, "%s\n", names[i]);
            (void)fflush(cli->out);
        }
    }
    return status;
}

void cli_warn(const char *message)
{
    /* One write, so that lines of several processes do not mix. */
    char line[2200];
    int length = snprintf(line, sizeof line, "hybrid: %s\n", message);
    if (length >= (int)sizeof line) {
        length = sizeof line - 1;
        line[length - 1] = '\n';
    }
    (void)io_write_all(STDERR_FILENO, line, (size_t)length);
}
