/* The document as a table of 80 columns. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "value.h"
#include "wrap.h"

enum { TITLE_WIDTH = 23, CELL_WIDTH = 18, MAX_NOTES = 64 };

/* Why something is missing: said once, below the table, and referred to. */
struct notes {
    const char *texts[MAX_NOTES];
    int count;
};

/* The number of a note, from 1 on; 0: there is no room for it. */
static int find_note(struct notes *notes, const char *text)
{
    for (int i = 0; i < notes->count; i++)
        if (strcmp(notes->texts[i], text) == 0)
            return i + 1;
    if (notes->count == MAX_NOTES)
        return 0;
    notes->texts[notes->count++] = text;
    return notes->count;
}

/* At most `width` characters; control characters, and what is no ASCII, as "?". */
static void print_padded(FILE *out, const char *text, int width)
{
    int column = 0;
    for (; *text && column < width - 1; text++, column++)
        (void)fputc(isprint((unsigned char)*text) ? *text : '?', out);
    for (; column < width; column++)
        (void)fputc(' ', out);
}

static void format_cell(const json_t *row, const json_t *value, struct notes *notes, char *cell,
                        size_t size)
{
    const char *missing = value_text(value, "missing");
    if (*missing)
        (void)snprintf(cell, size, "- [%d]", find_note(notes, missing));
    else
        value_format(row, value, cell, size);
}

static void print_row(const json_t *row, const json_t *isolations, struct notes *notes, FILE *out)
{
    const json_t *isolation;
    size_t i, last = json_array_size(isolations) - 1;
    char cell[64];
    print_padded(out, value_text(row, "title"), TITLE_WIDTH);
    json_array_foreach(isolations, i, isolation)
    {
        format_cell(row, value_of(row, isolation), notes, cell, sizeof cell);
        if (i < last)
            print_padded(out, cell, CELL_WIDTH);
        else
            (void)fprintf(out, "%.*s", CELL_WIDTH, cell);
    }
    (void)fputc('\n', out);
}

static void print_heading(const char *title, const json_t *isolations, FILE *out)
{
    const json_t *isolation;
    size_t i, last = json_array_size(isolations) - 1;
    char upper[TITLE_WIDTH];
    (void)snprintf(upper, sizeof upper, "%s", title);
    for (char *at = upper; *at; at++)
        *at = (char)toupper((unsigned char)*at);
    (void)fputc('\n', out);
    print_padded(out, upper, TITLE_WIDTH);
    json_array_foreach(isolations, i, isolation)
    {
        if (i < last)
            print_padded(out, value_text(isolation, "title"), CELL_WIDTH);
        else
            (void)fprintf(out, "%s", value_text(isolation, "title"));
    }
    (void)fputc('\n', out);
}

static void print_topic(const json_t *topic, const json_t *isolations, struct notes *notes,
                        FILE *out)
{
    const json_t *row;
    size_t i;
    print_heading(value_text(topic, "title"), isolations, out);
    json_array_foreach(json_object_get(topic, "rows"), i, row)
    {
        if (!value_is_empty_part(row, isolations))
            print_row(row, isolations, notes, out);
    }
}

static void print_head(const json_t *document, FILE *out)
{
    const json_t *host = json_object_get(document, "host"), *word,
                 *command = json_object_get(document, "command");
    size_t i;
    (void)fprintf(out, "%s", value_text(document, "image"));
    json_array_foreach(command, i, word)(void) fprintf(out, " %s", json_string_value(word));
    if (!json_is_array(command))
        (void)fputs(" (a static program that writes a line)", out);
    (void)fprintf(out, "\nhost kernel %s; processors: %lld; starts: %lld; times are p50/p99\n",
                  value_text(host, "kernel"),
                  (long long)json_integer_value(json_object_get(host, "processors")),
                  (long long)json_integer_value(json_object_get(document, "runs")));
}

void compare_print_table(const json_t *document, FILE *out)
{
    const json_t *isolations = json_object_get(document, "isolations"), *topic, *isolation;
    struct notes notes = { .count = 0 };
    size_t i;
    print_head(document, out);
    json_array_foreach(json_object_get(document, "topics"), i, topic)
        print_topic(topic, isolations, &notes, out);
    (void)fputc('\n', out);
    for (int n = 0; n < notes.count; n++) {
        char label[16];
        int length = snprintf(label, sizeof label, "[%d] ", n + 1);
        (void)fputs(label, out);
        wrap_words(out, notes.texts[n], length, length);
    }
    (void)fputs(notes.count > 0 ? "\n" : "", out);
    json_array_foreach(isolations, i, isolation)
    {
        int column = fprintf(out, "%s: ", value_text(isolation, "title"));
        wrap_words(
            out,
            value_text(json_object_get(document, "conclusions"), value_text(isolation, "name")),
            column, 2);
    }
    (void)fputs("\n`hybrid explain TOPIC` tells how each was measured, and where it misleads.\n",
                out);
}
