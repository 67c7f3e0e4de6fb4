/* link: image */
/* References: Docker's grammar and its short forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/image/index.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_normalize(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        { "busybox", "docker.io/library/busybox:latest" },
        { "busybox:1.36", "docker.io/library/busybox:1.36" },
        { "user/app", "docker.io/user/app:latest" },
        { "docker.io/busybox", "docker.io/library/busybox:latest" },
        { "index.docker.io/user/app:1", "docker.io/user/app:1" },
        { "registry-1.docker.io/library/app:1", "docker.io/library/app:1" },
        { "docker.iox/app", "docker.iox/app:latest" },
        { "localhost/app", "localhost/app:latest" },
        { "localhost:5000/app", "localhost:5000/app:latest" },
        { "registry.example/a/b/c:v1.0-rc_1", "registry.example/a/b/c:v1.0-rc_1" },
        { "REGISTRY/app", "REGISTRY/app:latest" },
        { "x/a--b__c.d_e", "docker.io/x/a--b__c.d_e:latest" },
        { "app@sha256:" HEX64, "docker.io/library/app@sha256:" HEX64 },
        { "app:1@sha256:" HEX64, "docker.io/library/app@sha256:" HEX64 },
        { "latest", "docker.io/library/latest:latest" },
        { "1.36", "docker.io/library/1.36:latest" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = { 0 };
        char *result = reference_normalize(rows[i].text, &err);
        if (!result)
            fail_msg("%s: %s", rows[i].text, err.message);
        assert_string_equal(result, rows[i].expected);
        char *again = reference_normalize(result, &err);
        assert_non_null(again);
        assert_string_equal(again, result);
        free(again);
        free(result);
    }
}

static void test_refuse(void **state)
{
    static const char *const rows[] = {
        "",         "Busybox",   "a b",   "a:",     ":a",          "a::b",         "a:b:c",
        "/a",       "a/",        "a//b",  "-a",     "a-",          "a..b",         "a___b",
        "../a",     "a/../b",    "a\nb",  "a\x1b",  "a:\x7f",      "a:-b",         "a@",
        "a@sha1",   "a@md5:123", "a%b",   "@a",     "a.b:port/c",  "a.b:123456/c", "..b/c",
        "\xc3\xa9", HEX64,       "a/B:1", "a:b/c:", "a@sha256:12", "_a",
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = { 0 };
        char *result = reference_normalize(rows[i], &err);
        if (result)
            fail_msg("\"%s\" was taken as %s", rows[i], result);
        assert_int_equal(err.exit_code, EXIT_OURS);
        assert_null(strpbrk(err.message, "\x1b\n\x7f"));
    }
}

static void test_length(void **state)
{
    (void)state;
    char tag[200] = "app:";
    memset(tag + 4, 't', 128);
    struct error err = { 0 };
    char *result = reference_normalize(tag, &err);
    assert_non_null(result);
    free(result);
    tag[4 + 128] = 't';
    assert_null(reference_normalize(tag, &err));
    char name[400] = { 0 };
    memset(name, 'a', 300);
    assert_null(reference_normalize(name, &err));
    assert_non_null(strstr(err.message, "longer"));
}

static void test_familiar(void **state)
{
    (void)state;
    assert_string_equal(reference_familiar("docker.io/library/busybox:latest"), "busybox:latest");
    assert_string_equal(reference_familiar("docker.io/user/app:1"), "user/app:1");
    assert_string_equal(reference_familiar("localhost/app:1"), "localhost/app:1");
}

static void test_file_name(void **state)
{
    char name[NAME_MAX + 1];
    (void)state;
    index_file_name("docker.io/library/busybox:latest", NULL, name);
    assert_string_equal(name, "docker.io%library%busybox:latest");
    index_file_name(NULL, HEX64, name);
    assert_string_equal(name, "@" HEX64);
}

static void test_digest(void **state)
{
    (void)state;
    assert_string_equal(digest_hex("sha256:" HEX64), HEX64);
    assert_null(digest_hex(HEX64));
    assert_null(digest_hex("sha256:" HEX64 "0"));
    assert_null(digest_hex("sha256:../../etc/passwd"));
    assert_null(digest_hex("sha512:" HEX64));
    assert_false(digest_is_hex("0123"));
    assert_false(digest_is_hex("0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalize), cmocka_unit_test(test_refuse),
        cmocka_unit_test(test_length),    cmocka_unit_test(test_familiar),
        cmocka_unit_test(test_file_name), cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
