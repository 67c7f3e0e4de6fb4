#include "value.h"

#include <stdio.h>
#include <string.h>

#include "stats.h"

const char *value_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

const json_t *value_of(const json_t *row, const json_t *isolation)
{
    return json_object_get(json_object_get(row, "values"), value_text(isolation, "name"));
}

double value_number(const json_t *value)
{
    const json_t *number = json_object_get(value, "p50");
    if (!number)
        number = json_object_get(value, "value");
    return number ? json_number_value(number) : -1;
}

void value_format(const json_t *row, const json_t *value, char *text, size_t size)
{
    const json_t *p50 = json_object_get(value, "p50"), *p99 = json_object_get(value, "p99"),
                 *number = json_object_get(value, "value");
    if (p50 && p99)
        stats_format_pair(json_integer_value(p50), json_integer_value(p99), text, size);
    else if (number && strcmp(value_text(row, "unit"), "bytes") == 0)
        stats_format_bytes(json_integer_value(number), text, size);
    else if (number)
        (void)snprintf(text, size, "%lld", (long long)json_integer_value(number));
    else
        (void)snprintf(text, size, "%s", value_text(value, "text"));
}

bool value_is_empty_part(const json_t *row, const json_t *isolations)
{
    const json_t *isolation;
    size_t i;
    if (value_text(row, "title")[0] != ' ')
        return false;
    json_array_foreach(isolations, i, isolation)
    {
        const json_t *value = value_of(row, isolation);
        if (!json_object_get(value, "missing"))
            return false;
    }
    return true;
}
