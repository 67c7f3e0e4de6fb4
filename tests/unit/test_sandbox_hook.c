/* Hooks: what they are given, what becomes of what they say, and how long they may take. */
/* link: sandbox program */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "runtime/sandbox/sandbox.h"

static int run(const char *script, int timeout, const char *const *env, struct error *err)
{
    static const char *const nothing[] = { NULL };
    const char *const argv[] = { "sh", "-c", script, NULL };
    const struct plan_hook hook = {
        .kind = "prestart",
        .path = "/bin/sh",
        .argv = argv,
        .env = env ? env : nothing,
        .timeout = timeout,
    };
    return hook_run(&hook, "{\"id\":\"x\"}", err);
}

static void test_given(void **state)
{
    (void)state;
    static const char *const env[] = { "A=b", NULL };
    struct error err = { 0 };
    assert_int_equal(run("[ \"$(cat)\" = '{\"id\":\"x\"}' ]", 0, NULL, &err), 0);
    assert_int_equal(run("[ \"$A\" = b ] && [ -z \"$HOME\" ]", 0, env, &err), 0);
    assert_int_equal(run("exec 1>&- 2>&-", 0, NULL, &err), 0);
    /* More than a pipe would hold, and nobody reads it. */
    assert_int_equal(
        run("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done", 20, NULL, &err),
        0);
}

static void test_failures(void **state)
{
    (void)state;
    struct error err = { 0 };
    assert_int_equal(run("echo first; echo reason >&2; exit 3", 0, NULL, &err), -1);
    assert_string_equal(err.message,
                        "the prestart hook /bin/sh failed with exit status 3: first\nreason");
    assert_int_equal(run("kill -9 $$", 0, NULL, &err), -1);
    assert_string_equal(err.message, "the prestart hook /bin/sh was ended by signal 9");
    /* A terminal that shows it must not obey it. */
    assert_int_equal(
        run("printf 'a\\033[2Jb\\tc\\302\\233d\\303\\244\\377'; exit 1", 0, NULL, &err), -1);
    assert_string_equal(err.message, "the prestart hook /bin/sh failed with exit status 1: "
                                     "a\\x1b[2Jb\\x09c\\xc2\\x9bd\303\244\\xff");
    const char *const argv[] = { "x", NULL };
    const struct plan_hook absent = {
        .kind = "poststop", .path = "/nosuch", .argv = argv, .env = argv + 1
    };
    assert_int_equal(hook_run(&absent, "{}", &err), -1);
    assert_non_null(strstr(err.message, "the poststop hook /nosuch failed with exit status 127: "
                                        "cannot execute it: No such file"));
}

static void test_timeout(void **state)
{
    (void)state;
    struct error err = { 0 };
    time_t start = time(NULL);
    assert_int_equal(run("sleep 60", 1, NULL, &err), -1);
    assert_string_equal(err.message, "the prestart hook /bin/sh did not end within 1 seconds");
    assert_true(time(NULL) - start < 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_given),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
