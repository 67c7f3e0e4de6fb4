/* link: image helper */
/* Bounded JSON, printable names, and the paths of archive entries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/image/document.h"
#include "runtime/image/helper/archive.h"

static void refuse(const char *text, size_t length, const char *word)
{
    struct error err = { 0 };
    assert_null(document_parse(text, length, "document", &err));
    assert_int_equal(err.exit_code, EXIT_OURS);
    if (!strstr(err.message, word))
        fail_msg("\"%s\" does not say \"%s\"", err.message, word);
}

static void test_parse(void **state)
{
    struct error err = { 0 };
    static const char text[] = "{\"a\": [\"[[[[[[\\\"[[[[[[\", {\"b\": 1}]}";
    (void)state;
    json_t *value = document_parse(text, sizeof text - 1, "document", &err);
    assert_non_null(value);
    json_decref(value);
}

static void test_parse_refuses(void **state)
{
    (void)state;
    refuse("", 0, "JSON");
    refuse("{", 1, "JSON");
    refuse("{} {}", 5, "JSON");
    refuse("{\"a\":1,\"a\":2}", 13, "duplicate");
    refuse("\"\\u0000\"", 8, "JSON");
    refuse("\"\xff\"", 3, "JSON");
    size_t length = 100000;
    char *deep = malloc(length);
    assert_non_null(deep);
    memset(deep, '[', length);
    refuse(deep, length, "deeper");
    memset(deep, ']', length);
    refuse(deep, length, "JSON");
    free(deep);
    char *large = calloc(1, DOCUMENT_MAX_BYTES + 1);
    assert_non_null(large);
    refuse(large, DOCUMENT_MAX_BYTES + 1, "larger");
    free(large);
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * (DOCUMENT_MAX_DEPTH + 1)];
    struct error err = { 0 };
    memset(text, '[', DOCUMENT_MAX_DEPTH);
    memset(text + DOCUMENT_MAX_DEPTH, ']', DOCUMENT_MAX_DEPTH);
    json_t *value = document_parse(text, (size_t)2 * DOCUMENT_MAX_DEPTH, "document", &err);
    assert_non_null(value);
    json_decref(value);
    memset(text, '[', DOCUMENT_MAX_DEPTH + 1);
    memset(text + DOCUMENT_MAX_DEPTH + 1, ']', DOCUMENT_MAX_DEPTH + 1);
    refuse(text, sizeof text, "deeper");
}

static void test_getters(void **state)
{
    (void)state;
    struct error err = { 0 };
    json_t *object = json_pack("{s:s, s:n, s:[s,s], s:[s,i], s:{}}", "text", "t", "null", "list",
                               "x", "y", "mixed", "x", 1, "object");
    const char *text;
    const json_t *value;
    assert_int_equal(document_get_string(object, "text", "w", &text, &err), 0);
    assert_string_equal(text, "t");
    assert_int_equal(document_get_string(object, "null", "w", &text, &err), 0);
    assert_null(text);
    assert_int_equal(document_get_string(object, "absent", "w", &text, &err), 0);
    assert_null(text);
    assert_int_equal(document_get_string(object, "list", "w", &text, &err), -1);
    assert_int_equal(document_get_array(object, "list", "w", &value, &err), 0);
    assert_non_null(value);
    assert_int_equal(document_get_array(object, "text", "w", &value, &err), -1);
    assert_int_equal(document_get_object(object, "object", "w", &value, &err), 0);
    assert_int_equal(document_get_object(object, "list", "w", &value, &err), -1);
    assert_non_null(strstr(err.message, "\"list\""));
    assert_int_equal(document_check_strings(object, "list", "w", &err), 0);
    assert_int_equal(document_check_strings(object, "absent", "w", &err), 0);
    assert_int_equal(document_check_strings(object, "mixed", "w", &err), -1);
    assert_int_equal(document_check_strings(NULL, "any", "w", &err), 0);
    json_decref(object);
}

static void test_printable(void **state)
{
    (void)state;
    char text[16];
    assert_string_equal(document_printable("plain", text, sizeof text), "plain");
    assert_string_equal(document_printable("a\x1b\\", text, sizeof text), "a\\x1b\\x5c");
    assert_string_equal(document_printable("\xff", text, sizeof text), "\\xff");
    assert_string_equal(document_printable("0123456789abcdefghij", text, sizeof text),
                        "012345678...");
    for (size_t length = 8; length <= sizeof text; length++) {
        document_printable("\x01\x02\x03\x04\x05\x06\x07", text, length);
        assert_true(strlen(text) < length);
    }
}

static void test_clean_path(void **state)
{
    static const struct {
        const char *name, *expected; /* NULL: refused */
    } rows[] = {
        { "a", "a" },       { "./a/b/", "a/b" }, { "a//b/./c", "a/b/c" },  { ".", "" },
        { "./", "" },       { "...", "..." },    { "..a/b..", "..a/b.." }, { "a\nb", "a\nb" },
        { "\xff", "\xff" }, { "", NULL },        { "/a", NULL },           { "..", NULL },
        { "a/..", NULL },   { "a/../b", NULL },  { "./../a", NULL },       { "/", NULL },
        { NULL, NULL },
    };
    char path[ARCHIVE_MAX_PATH + 1];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = { 0 };
        int result = archive_clean_path(rows[i].name, path, &err);
        assert_int_equal(result, rows[i].expected ? 0 : -1);
        if (rows[i].expected)
            assert_string_equal(path, rows[i].expected);
    }
}

static void test_clean_path_bounds(void **state)
{
    (void)state;
    struct error err = { 0 };
    char path[ARCHIVE_MAX_PATH + 1];
    static char name[2 * ARCHIVE_MAX_PATH];
    memset(name, 'x', ARCHIVE_MAX_PATH);
    assert_int_equal(archive_clean_path(name, path, &err), 0);
    memset(name, 'x', ARCHIVE_MAX_PATH + 1);
    assert_int_equal(archive_clean_path(name, path, &err), -1);
    for (size_t i = 0; i < ARCHIVE_MAX_DEPTH; i++)
        memcpy(name + 2 * i, "d/", 3);
    assert_int_equal(archive_clean_path(name, path, &err), 0);
    memcpy(name + (size_t)2 * ARCHIVE_MAX_DEPTH, "d", 2);
    assert_int_equal(archive_clean_path(name, path, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_clean_path),
        cmocka_unit_test(test_clean_path_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
