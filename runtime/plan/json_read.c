#include "json_read.h"

int json_read_refuse(const char *path, const char *key, const char *what, struct error *err)
{
    size_t length = strlen(path);
    const char *separator = length == 0 ? "" : path[length - 1] == ':' ? " " : ".";
    return error_set(err, EXIT_OURS, "%s%s%s must be %s", path, separator, key, what);
}

static json_t *member(const json_t *parent, const char *key)
{
    json_t *value = json_object_get(parent, key);
    return json_is_null(value) ? NULL : value;
}

static bool has_nul(const json_t *string)
{
    return strlen(json_string_value(string)) != json_string_length(string);
}

int json_read_object(const json_t *parent, const char *path, const char *key, json_t **value,
                     struct error *err)
{
    json_t *found = member(parent, key);
    if (!found)
        return 0;
    if (!json_is_object(found))
        return json_read_refuse(path, key, "an object", err);
    *value = found;
    return 1;
}

int json_read_array(const json_t *parent, const char *path, const char *key, json_t **value,
                    struct error *err)
{
    json_t *found = member(parent, key);
    if (!found)
        return 0;
    if (!json_is_array(found))
        return json_read_refuse(path, key, "an array", err);
    *value = found;
    return 1;
}

int json_read_boolean(const json_t *parent, const char *path, const char *key, bool *value,
                      struct error *err)
{
    const json_t *found = member(parent, key);
    if (!found)
        return 0;
    if (!json_is_boolean(found))
        return json_read_refuse(path, key, "true or false", err);
    *value = json_is_true(found);
    return 1;
}

int json_read_string(const json_t *parent, const char *path, const char *key, const char **value,
                     struct error *err)
{
    const json_t *found = member(parent, key);
    if (!found)
        return 0;
    if (!json_is_string(found))
        return json_read_refuse(path, key, "a string", err);
    if (has_nul(found))
        return json_read_refuse(path, key, "a string without NUL bytes", err);
    *value = json_string_value(found);
    return 1;
}

int json_read_integer(const json_t *parent, const char *path, const char *key, int64_t min,
                      int64_t max, int64_t *value, struct error *err)
{
    const json_t *found = member(parent, key);
    if (!found)
        return 0;
    json_int_t number = json_integer_value(found);
    if (!json_is_integer(found) || number < min || number > max) {
        char what[96];
        (void)snprintf(what, sizeof what, "a whole number from %lld to %lld", (long long)min,
                       (long long)max);
        return json_read_refuse(path, key, what, err);
    }
    *value = number;
    return 1;
}

int json_read_strings(const json_t *parent, const char *path, const char *key, json_t **value,
                      struct error *err)
{
    json_t *found = NULL;
    int present = json_read_array(parent, path, key, &found, err);
    if (present <= 0)
        return present;
    size_t index;
    const json_t *entry;
    json_array_foreach(found, index, entry)
    {
        const char *wrong = !json_is_string(entry) ? "a string"
                            : has_nul(entry)       ? "a string without NUL bytes"
                                                   : NULL;
        if (wrong) {
            char name[64];
            (void)snprintf(name, sizeof name, "%.40s[%zu]", key, index);
            return json_read_refuse(path, name, wrong, err);
        }
    }
    *value = found;
    return 1;
}
