/*
 * JSON for tables: a text with single quotes made a value, a value compared with such a text, a
 * member by its path, and OCI configurations that differ from the smallest one in a few members.
 */
#ifndef HYBRID_TEST_PLAN_JSON_H
#define HYBRID_TEST_PLAN_JSON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#define ROWS(table) (sizeof(table) / sizeof *(table))

/* JSON with single quotes, for readable tables. */
static inline json_t *load(const char *text)
{
    char copy[8192];
    assert_true(strlen(text) < sizeof copy);
    memcpy(copy, text, strlen(text) + 1);
    for (char *at = copy; *at; at++)
        if (*at == '\'')
            *at = '"';
    json_error_t error;
    json_t *value = json_loads(copy, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value)
        fail_msg("%s: %s", error.text, text);
    return value;
}

/* The member of an object by a path of keys. */
static inline json_t *get(const json_t *from, const char *path)
{
    char copy[256];
    assert_true(strlen(path) < sizeof copy);
    memcpy(copy, path, strlen(path) + 1);
    char *rest = copy;
    json_t *at = (json_t *)from;
    for (const char *key; at && (key = strsep(&rest, "/"));)
        at = json_object_get(at, key);
    return at;
}

static inline void assert_json(const json_t *value, const char *expected)
{
    json_t *other = load(expected);
    if (!json_equal(value, other)) {
        char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        fail_msg("%s, expected %s", text ? text : "absent", expected);
    }
    json_decref(other);
}

#define SMALLEST                                                                                   \
    "{'ociVersion':'1.2.0','root':{'path':'rootfs'},'process':{'cwd':'/','args':['sh']},'linux':{" \
    "'namespaces':[{'type':'mount'}]}}"

/* The smallest bundle with the members of `changes` in place of its own; a change of "process" or
 * "linux" is merged member by member. */
static inline json_t *changed(const char *changes)
{
    json_t *document = load(SMALLEST);
    json_t *other = load(changes);
    if (!json_is_object(other)) {
        json_decref(document);
        return other;
    }
    const char *key;
    json_t *value;
    json_object_foreach(other, key, value)
    {
        json_t *own = json_object_get(document, key);
        if (json_is_object(own) && json_is_object(value))
            json_object_update(own, value);
        else
            json_object_set(document, key, value);
    }
    json_decref(other);
    return document;
}

#endif
