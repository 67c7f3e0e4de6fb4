#include <ctype.h>

#include "compose.h"

enum { MAX_NAME = 64 };

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein distance without regard to case, one row at a time. Both are under MAX_NAME long. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[MAX_NAME + 1];
    size_t width = strlen(b);
    for (size_t j = 0; j <= width; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            size_t above = row[j + 1];
            bool same = tolower((unsigned char)a[i]) == tolower((unsigned char)b[j]);
            row[j + 1] = smallest(above + 1, row[j] + 1, diagonal + (same ? 0 : 1));
            diagonal = above;
        }
    }
    return row[width];
}

const char *nearest_name(const char *word, const char *const *names)
{
    size_t length = strlen(word);
    if (length == 0 || length >= MAX_NAME)
        return NULL;
    const char *best = NULL;
    size_t best_distance = smallest(length / 3 + 2, 5, 5); /* farther is no typing error */
    for (size_t i = 0; names[i]; i++) {
        if (strlen(names[i]) >= MAX_NAME)
            continue;
        size_t distance = edit_distance(word, names[i]);
        /* A distance as long as the word means that nothing of it is left. */
        if (distance < best_distance && distance < length) {
            best_distance = distance;
            best = names[i];
        }
    }
    return best;
}
