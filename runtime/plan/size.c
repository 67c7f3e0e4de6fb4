#include <ctype.h>
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

static int refuse(const char *text, const char *what, const char *why, struct error *err)
{
    return error_set(err, EXIT_OURS,
                     "%s: \"%s\" %s; write a number with b, k, m, g or t, such as 512m", what, text,
                     why);
}

int64_t size_parse(const char *text, const char *what, struct error *err)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0)
        return refuse(text, what, "is not a size", err);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (strcasecmp(text + digits, suffixes[i].name) != 0)
            continue;
        uint64_t value = 0;
        for (size_t d = 0; d < digits; d++)
            if (__builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, (uint64_t)(text[d] - '0'), &value))
                return refuse(text, what, "is too large", err);
        if (value > ((uint64_t)INT64_MAX >> suffixes[i].shift))
            return refuse(text, what, "is too large", err);
        return (int64_t)(value << suffixes[i].shift);
    }
    return refuse(text, what, "has an unknown unit", err);
}
