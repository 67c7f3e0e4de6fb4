#include <strings.h>

#include "compose.h"

/* Powers of 1024 throughout, as docker(1) and the kernel count memory. */
static const struct {
    const char *name;
    unsigned int shift;
} suffixes[] = {
    { "", 0 },     { "b", 0 },   { "k", 10 },   { "kb", 10 },  { "kib", 10 },
    { "m", 20 },   { "mb", 20 }, { "mib", 20 }, { "g", 30 },   { "gb", 30 },
    { "gib", 30 }, { "t", 40 },  { "tb", 40 },  { "tib", 40 },
};

enum { MAX_FRACTION = 6 /* digits: 10^6 << 40 still fits */ };

static int refuse(const char *text, const char *what, const char *why, struct error *err)
{
    return error_set(err, EXIT_OURS,
                     "%s: \"%s\" %s; write a number with b, k, m, g or t, such as 512m", what, text,
                     why);
}

/* Decimal digits up to *end; INT64_MAX stands for all that is as large or larger. -1: no digit. */
static int64_t number(const char *text, const char **end)
{
    int64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *at - '0', &value))
            value = INT64_MAX; /* and the next digit overflows again */
    *end = at;
    return at > text ? value : -1;
}

/* The bytes of ".5" times 2^shift; *at moves behind it. -1: no such fraction. */
static int64_t fraction(const char **at, unsigned int shift)
{
    const char *end = *at;
    if (*end != '.')
        return 0;
    int64_t value = number(*at + 1, &end);
    ptrdiff_t digits = end - (*at + 1);
    if (value < 0 || digits > MAX_FRACTION || shift == 0)
        return -1;
    value <<= shift;
    for (; digits > 0; digits--)
        value /= 10;
    *at = end;
    return value;
}

int64_t size_parse(const char *text, const char *what, struct error *err)
{
    const char *after;
    int64_t whole = number(text, &after);
    if (whole < 0)
        return refuse(text, what, "is not a size", err);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        const char *unit = after;
        int64_t part = fraction(&unit, suffixes[i].shift);
        if (part < 0 || strcasecmp(unit, suffixes[i].name) != 0)
            continue;
        if (whole == INT64_MAX || whole > (INT64_MAX - part) >> suffixes[i].shift)
            return refuse(text, what, "is too large", err);
        return (whole << suffixes[i].shift) + part;
    }
    return refuse(text, what, "has an unknown unit", err);
}
