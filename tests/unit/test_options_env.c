/* -e and --env-file. */
/* link: cli plan */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/cli/env.h"

static char path[] = "/tmp/test-env-XXXXXX";

static void write_file(const char *text, size_t length)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static int read_env(const char *text, size_t length, const char *option, struct env *env,
                    struct error *err)
{
    const char *files[] = { path }, *values[] = { option };
    const struct option_list file_list = { files, 1 }, list = { values, option ? 1 : 0 };
    write_file(text, length);
    return env_read(&list, &file_list, env, err);
}

static void test_file(void **context)
{
    (void)context;
    static const char text[] = "\xef\xbb\xbf"
                               "A=1\n"
                               "# comment\n"
                               "\n"
                               "   B=two words # kept\n"
                               "C=\"quotes stay\"\r\n"
                               "D=\n"
                               "E=a=b\n"
                               "TEST_SET_HERE\n"
                               "TEST_NOT_SET_HERE\n"
                               "LAST=no newline";
    static const char *const expected[] = {
        "A=1",   "B=two words # kept",          "C=\"quotes stay\"", "D=",
        "E=a=b", "TEST_SET_HERE=of the caller", "LAST=no newline",   "OPTION=1"
    };
    struct env env;
    struct error err = { 0 };
    assert_int_equal(read_env(text, sizeof text - 1, "OPTION=1", &env, &err), 0);
    assert_int_equal(env.list.count, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < env.list.count; i++)
        assert_string_equal(env.list.values[i], expected[i]);
    env_free(&env);
}

static void test_refused(void **context)
{
    (void)context;
    static const struct {
        const char *text;
        size_t length;
        const char *named;
    } rows[] = {
        { "A=1\n=x\n", 7, "line 2" },
        { "A B=1\n", 6, "\"A B\"" },
        { "A=1\0B=2\n", 8, "NUL" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct env env;
        struct error err = { 0 };
        assert_int_equal(read_env(rows[i].text, rows[i].length, NULL, &env, &err), -1);
        assert_non_null(strstr(err.message, path));
        assert_non_null(strstr(err.message, rows[i].named));
        env_free(&env);
    }
}

static void test_missing_file(void **context)
{
    (void)context;
    const char *files[] = { "/no/such/file" };
    const struct option_list file_list = { files, 1 }, none = { NULL, 0 };
    struct env env;
    struct error err = { 0 };
    assert_int_equal(env_read(&none, &file_list, &env, &err), -1);
    assert_non_null(strstr(err.message, "/no/such/file"));
    env_free(&env);
}

/* NAME alone: the caller's value, or taken away. */
static void test_options(void **context)
{
    (void)context;
    const char *values[] = { "TEST_SET_HERE", "TEST_NOT_SET_HERE", "X=", "Y=a b" };
    const struct option_list list = { values, 4 }, none = { NULL, 0 };
    struct env env;
    struct error err = { 0 };
    assert_int_equal(env_read(&list, &none, &env, &err), 0);
    assert_int_equal(env.list.count, 4);
    assert_string_equal(env.list.values[0], "TEST_SET_HERE=of the caller");
    assert_string_equal(env.list.values[1], "TEST_NOT_SET_HERE");
    assert_string_equal(env.list.values[2], "X=");
    assert_string_equal(env.list.values[3], "Y=a b");
    env_free(&env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_options),
    };
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) < 0 || setenv("TEST_SET_HERE", "of the caller", 1) < 0 ||
        unsetenv("TEST_NOT_SET_HERE") < 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return failed;
}
