/* Names, numbers and small option values: signals, capabilities, sizes, limits, ids, near misses.
 */
/* link: plan */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>

#include "runtime/plan/compose.h"
#include "runtime/plan/rlimit.h"

#define ROWS(table) (sizeof(table) / sizeof *(table))

static void test_signals(void **state)
{
    static const struct {
        const char *name;
        int number;
    } rows[] = {
        { "TERM", SIGTERM },
        { "SIGTERM", SIGTERM },
        { "sigterm", SIGTERM },
        { "15", 15 },
        { "9", SIGKILL },
        { "WINCH", SIGWINCH },
        { "IOT", SIGABRT },
        { "RTMIN", 34 },
        { "RTMIN+3", 37 },
        { "SIGRTMAX", 64 },
        { "RTMAX-1", 63 },
        { "64", 64 },
        { "", -1 },
        { "0", -1 },
        { "65", -1 },
        { "-1", -1 },
        { "15x", -1 },
        { " 15", -1 },
        { "015", -1 },
        { "TREM", -1 },
        { "SIG", -1 },
        { "SIGSIGTERM", -1 },
        { "RTMIN-1", -1 },
        { "RTMIN+31", -1 },
        { "RTMAX-31", -1 },
        { "RTMIN+", -1 },
        { "RTMINx", -1 },
        { "99999999999", -1 },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        if (signal_from_name(rows[i].name) != rows[i].number)
            fail_msg("\"%s\": %d", rows[i].name, signal_from_name(rows[i].name));
    assert_string_equal(signal_nearest("SIGTREM"), "TERM");
    assert_string_equal(signal_nearest("kil"), "KILL");
    assert_null(signal_nearest("nothing-like-it"));
}

static void test_capabilities(void **state)
{
    static const struct {
        const char *name;
        int number;
    } rows[] = {
        { "CAP_CHOWN", 0 },
        { "chown", 0 },
        { "cap_net_raw", 13 },
        { "NET_ADMIN", 12 },
        { "CAP_SYS_ADMIN", 21 },
        { "BPF", 39 },
        { "CAP_CHECKPOINT_RESTORE", 40 },
        { "", -1 },
        { "CAP_", -1 },
        { "ALL", -1 },
        { "CAP_CAP_CHOWN", -1 },
        { "NET_ADMI", -1 },
        { "0", -1 },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        if (capability_from_name(rows[i].name) != rows[i].number)
            fail_msg("\"%s\": %d", rows[i].name, capability_from_name(rows[i].name));
    for (int i = 0; i <= 40; i++)
        assert_int_equal(capability_from_name(capability_name(i)), i);
    assert_null(capability_name(41));
    assert_null(capability_name(-1));
    assert_string_equal(capability_nearest("NET_ADMN"), "NET_ADMIN");
    assert_string_equal(capability_nearest("CAP_SYSADMIN"), "CAP_SYS_ADMIN");
    assert_string_equal(capability_nearest("AL"), "ALL");
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } rows[] = {
        { "0", 0 },
        { "1", 1 },
        { "64b", 64 },
        { "64k", 65536 },
        { "64m", 67108864 },
        { "64M", 67108864 },
        { "64MB", 67108864 },
        { "64MiB", 67108864 },
        { "1g", 1073741824 },
        { "1GiB", 1073741824 },
        { "2t", INT64_C(2199023255552) },
        { "9223372036854775806", INT64_MAX - 1 },
        { "1.5g", 1610612736 },
        { "0.25k", 256 },
        { "1.000001m", 1048577 },
        { "8388607t", INT64_C(8388607) << 40 },
        { "", -1 },
        { "m", -1 },
        { "-1", -1 },
        { "+1", -1 },
        { " 1", -1 },
        { "1 m", -1 },
        { "64q", -1 },
        { "1mm", -1 },
        { "0x10", -1 },
        { "9223372036854775807", -1 },
        { "9223372036854775808", -1 },
        { "1.5", -1 },
        { "1.g", -1 },
        { ".5g", -1 },
        { "1.1234567g", -1 },
        { "1.5.5g", -1 },
        { "8388608t", -1 },
        { "99999999999999999999g", -1 },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct error error = { 0 };
        int64_t bytes = size_parse(rows[i].text, "--memory", &error);
        if (bytes != rows[i].bytes)
            fail_msg("\"%s\": %lld", rows[i].text, (long long)bytes);
        assert_int_equal(error.exit_code, rows[i].bytes < 0 ? EXIT_OURS : 0);
    }
    struct error error = { 0 };
    (void)size_parse("64q", "--memory", &error);
    assert_string_equal(error.message, "--memory: \"64q\" has an unknown unit; write a number with "
                                       "b, k, m, g or t, such as 512m");
}

static void test_nearest(void **state)
{
    static const char *const names[] = { "--memory", "--name", "--env", "--env-file", NULL };
    static const struct {
        const char *word, *nearest;
    } rows[] = {
        { "--memroy", "--memory" },
        { "--enviroment", "--env" },
        { "--memory-limit", "--memory" },
        { "--na", "--name" },
        { "--mem", "--memory" },
        { "--nam", "--name" },
        { "--ENV", "--env" },
        { "--envfile", "--env-file" },
        { "", NULL },
        { "x", NULL },
        { "--completely-different", NULL },
        { "a-word-that-is-longer-than-any-name-that-could-be-meant-by-a-typing-error", NULL },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        const char *near = nearest_name(rows[i].word, names);
        if ((near == NULL) != (rows[i].nearest == NULL) ||
            (near && strcmp(near, rows[i].nearest) != 0))
            fail_msg("\"%s\": %s", rows[i].word, near ? near : "nothing");
    }
}

static void test_ulimits(void **state)
{
    static const struct {
        const char *text;
        int resource; /* -1: refused */
        uint64_t soft, hard;
    } rows[] = {
        { "nofile=1024:2048", RLIMIT_NOFILE, 1024, 2048 },
        { "nofile=1024", RLIMIT_NOFILE, 1024, 1024 },
        { "NOFILE=0", RLIMIT_NOFILE, 0, 0 },
        { "core=-1", RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY },
        { "core=5:-1", RLIMIT_CORE, 5, RLIM_INFINITY },
        { "rttime=9", RLIMIT_RTTIME, 9, 9 },
        { "stack=8388608", RLIMIT_STACK, 8388608, 8388608 },
        { "nofile", -1, 0, 0 },
        { "nofile=", -1, 0, 0 },
        { "nofile=:5", -1, 0, 0 },
        { "nofile=5:", -1, 0, 0 },
        { "nofile=5:6:7", -1, 0, 0 },
        { "nofile=6:5", -1, 0, 0 },
        { "nofile=-2", -1, 0, 0 },
        { "nofile=-1:5", -1, 0, 0 },
        { "nofile=1k", -1, 0, 0 },
        { "nofile= 5", -1, 0, 0 },
        { "nofile=99999999999999999999", -1, 0, 0 },
        { "RLIMIT_NOFILE=5", -1, 0, 0 },
        { "=5", -1, 0, 0 },
        { "a-name-that-is-much-longer-than-any-limit=5", -1, 0, 0 },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct error error = { 0 };
        struct plan_rlimit limit = { 0 };
        int result = rlimit_parse(rows[i].text, &limit, &error);
        if (result != (rows[i].resource < 0 ? -1 : 0))
            fail_msg("%s: %d %s", rows[i].text, result, error.message);
        if (result < 0)
            continue;
        assert_int_equal(limit.resource, rows[i].resource);
        assert_true(limit.soft == rows[i].soft && limit.hard == rows[i].hard);
        assert_int_equal(rlimit_from_name(limit.name), limit.resource);
        assert_string_equal(rlimit_name(limit.resource), limit.name);
    }
    struct error error = { 0 };
    struct plan_rlimit limit;
    (void)rlimit_parse("nofiles=5", &limit, &error);
    assert_string_equal(error.message, "--ulimit nofiles=5: unknown limit; did you mean nofile");
}

static void test_userns(void **state)
{
    static const struct {
        const char *text;
        uint32_t host, size;
        const char *refused; /* part of the message */
    } rows[] = {
        { "host", 0, 0, NULL },
        { "0:100000:65536", 100000, 65536, NULL },
        { "0:1:4294967294", 1, 4294967294U, NULL },
        { "", 0, 0, "not an id range" },
        { "auto", 0, 0, "not an id range" },
        { "0:100000", 0, 0, "not an id range" },
        { "0:100000:65536x", 0, 0, "not an id range" },
        { "0:100000:-1", 0, 0, "not an id range" },
        { "0:100000: 1", 0, 0, "not an id range" },
        { "0:99999999999:1", 0, 0, "not an id range" },
        { "0:100000:0", 0, 0, "an empty range" },
        { "1:100000:5", 0, 0, "must begin at id 0" },
        { "0:0:65536", 0, 0, "root of the container would be root of the host" },
        { "0:4294967290:10", 0, 0, "ends above id" },
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct error error = { 0 };
        struct plan_id_map map;
        int result = userns_parse(rows[i].text, &map, &error);
        if (result != (rows[i].refused ? -1 : 0))
            fail_msg("%s: %d %s", rows[i].text, result, error.message);
        if (rows[i].refused)
            assert_non_null(strstr(error.message, rows[i].refused));
        else
            assert_true(map.host == rows[i].host && map.size == rows[i].size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals), cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_sizes),   cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_ulimits), cmocka_unit_test(test_userns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
