#include <ctype.h>
#include <strings.h>

#include "compose.h"

enum { MAX_NAME = 64, MAX_DISTANCE = 4, MIN_COMMON = 3 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/*
 * Edit distance without regard to case, where two letters exchanged are one error ("optimal string
 * alignment"). Both words are shorter than MAX_NAME; three rows of the table are kept.
 */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][MAX_NAME + 1];
    size_t width = strlen(b);
    for (size_t j = 0; j <= width; j++)
        rows[0][j] = j;
    size_t i = 1;
    for (; a[i - 1]; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= width; j++) {
            bool equal = same(a[i - 1], b[j - 1]);
            row[j] = smaller(smaller(above[j], row[j - 1]) + 1, above[j - 1] + (equal ? 0 : 1));
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                row[j] = smaller(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[(i - 1) % 3][width];
}

/* The longest name that the word begins with ("--user-name"), or one that begins with the word. */
static const char *nearest_by_beginning(const char *word, size_t length, const char *const *names)
{
    const char *best = NULL;
    size_t best_length = 0;
    for (size_t i = 0; names[i]; i++) {
        size_t common = smaller(strlen(names[i]), length);
        if (common < MIN_COMMON + strspn(word, "-") || strncasecmp(word, names[i], common) != 0)
            continue;
        if (common > best_length) {
            best = names[i];
            best_length = common;
        }
    }
    return best;
}

const char *nearest_name(const char *word, const char *const *names)
{
    size_t length = strlen(word);
    if (length == 0 || length >= MAX_NAME)
        return NULL;
    const char *best = NULL;
    size_t best_distance = smaller(length / 3 + 1, MAX_DISTANCE) + 1;
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
    return best ? best : nearest_by_beginning(word, length, names);
}
