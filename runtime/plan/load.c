/* From text to JSON, with the numbers of Go's uint64. */
#include "compose.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* Whether the number of this many characters (without sign) is whole and beyond INT64_MAX. */
static bool is_too_large(const char *at, size_t length)
{
    static const char largest[] = "9223372036854775807";
    const size_t digits = sizeof largest - 1;
    if (strspn(at, "0123456789") < length)
        return false;
    return length > digits || (length == digits && memcmp(at, largest, digits) > 0);
}

/* The end of the string that begins at `at`, behind its closing quote. */
static const char *skip_string(const char *at)
{
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : at;
}

/* The same text with quotes around what jansson cannot hold; malloc'd, or NULL without memory. */
static char *quote_large_numbers(const char *text)
{
    /* Two quotes for 19 digits at least. */
    size_t size = strlen(text);
    char *result = malloc(size + size / 8 + 3);
    char *to = result;
    while (result && *text) {
        const char *end = text + 1;
        bool large = false;
        if (*text == '"') {
            end = skip_string(text);
        } else if (isdigit((unsigned char)*text)) {
            end = text + strspn(text, "0123456789.eE+-");
            large = is_too_large(text, (size_t)(end - text));
        }
        if (large)
            *to++ = '"';
        memcpy(to, text, (size_t)(end - text));
        to += end - text;
        if (large)
            *to++ = '"';
        text = end;
    }
    if (result)
        *to = '\0';
    return result;
}

json_t *plan_load_json(const char *text, json_error_t *where)
{
    _cleanup_free_ char *quoted = quote_large_numbers(text);
    *where = (json_error_t){ .text = "out of memory" };
    return quoted ? json_loads(quoted, JSON_REJECT_DUPLICATES, where) : NULL;
}
