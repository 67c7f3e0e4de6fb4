/* Scopes of systemd's: their names, and limits as properties. */
/* link: cgroup sandbox plan program */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cgroup/scope.h"

static const struct plan_resources nothing = PLAN_NO_RESOURCES;

static void test_names(void **state)
{
    static const struct {
        const char *given, *slice, *unit, *path;
    } cases[] = {
        { "machine.slice:libpod:1f", "machine.slice", "libpod-1f.scope",
          "machine.slice/libpod-1f.scope" },
        { "a-b-c.slice:cri:x", "a-b-c.slice", "cri-x.scope",
          "a.slice/a-b.slice/a-b-c.slice/cri-x.scope" },
        { ":runc:x", "system.slice", "runc-x.scope", "system.slice/runc-x.scope" },
        { "user.slice::x", "user.slice", "-x.scope", "user.slice/-x.scope" },
        { "-.slice:p:x", "-.slice", "p-x.scope", "p-x.scope" },
        { NULL, "system.slice", "hybrid-id.scope", "system.slice/hybrid-id.scope" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cgroup_scope scope;
        struct error err = { 0 };
        assert_int_equal(cgroup_scope_make(cases[i].given, "id", NULL, &scope, &err), 0);
        assert_string_equal(scope.slice, cases[i].slice);
        assert_string_equal(scope.unit, cases[i].unit);
        assert_string_equal(scope.path, cases[i].path);
        assert_null(scope.properties[0]);
        cgroup_scope_free(&scope);
    }
}

static void test_wrong_names(void **state)
{
    static const char *const cases[] = {
        "/a/b",           "a.slice:b",         "a.slice:b:c:d",  "a:b:c",         "a.slice:b:",
        "../x.slice:b:c", "a.slice:b/../..:c", "a--b.slice:b:c", "-a.slice:b:c",  "a-.slice:b:c",
        ".slice:b:c",     "a.slice:b:c.slice", "a.slice:b c:d",  "a/b.slice:b:c",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cgroup_scope scope;
        struct error err = { 0 };
        assert_int_equal(cgroup_scope_make(cases[i], "id", NULL, &scope, &err), -1);
        assert_non_null(strstr(err.message, cases[i]));
        cgroup_scope_free(&scope);
    }
    struct cgroup_scope scope;
    struct error err = { 0 };
    char name[600] = "a.slice:b:";
    memset(name + strlen(name), 'x', 300);
    assert_int_equal(cgroup_scope_make(name, "id", NULL, &scope, &err), -1);
    cgroup_scope_free(&scope);
}

/* The property that one annotation makes; NULL: it is refused, by its name. */
static void check_property(const char *name, const char *value, const char *expected)
{
    char key[128];
    struct cgroup_scope scope;
    struct error err = { 0 };
    (void)snprintf(key, sizeof key, "org.systemd.property.%s", name);
    json_t *annotations = json_pack("{s:s, s:s}", "other", "x", key, value);
    int result = cgroup_scope_make(NULL, "id", annotations, &scope, &err);
    assert_int_equal(result, expected ? 0 : -1);
    if (expected)
        assert_string_equal(scope.properties[0], expected);
    else
        assert_non_null(strstr(err.message, key));
    cgroup_scope_free(&scope);
    json_decref(annotations);
}

static void test_properties(void **state)
{
    (void)state;
    check_property("TimeoutStopUSec", "uint64 123456789", "TimeoutStopSec=123456789us");
    check_property("TimeoutStopUSec", "1", "TimeoutStopSec=1us");
    check_property("TimeoutStopSec", "30", "TimeoutStopSec=30s");
    check_property("RuntimeMaxSec", "double 1.5", "RuntimeMaxSec=1.5s");
    check_property("RuntimeMaxUSec", "'2min'", "RuntimeMaxSec=2min");
    check_property("CollectMode", "'inactive-or-failed'", "CollectMode=inactive-or-failed");
    check_property("Delegate", "true", "Delegate=true");
    check_property("DefaultDependencies", "true", "DefaultDependencies=true");
    check_property("After", "['crio.service']", "After=crio.service");
    check_property("After", "@as [\"crio.service\"]", "After=crio.service");
    check_property("Mem-ory", "1", NULL);
    check_property("ab", "1", NULL);
    check_property("After", "['a b']", NULL);
    check_property("After", "['a',", NULL);
    check_property("After", "['a' 'b']", NULL);
    check_property("CollectMode", "'a\nb'", NULL);
    check_property("CollectMode", "plain", NULL);
    check_property("TimeoutStopUSec", "(1, 2)", NULL);
    check_property("TimeoutStopUSec", "0x10", NULL);
    check_property("TimeoutStopUSec", "12 kg", NULL);
    check_property("TimeoutStopUSec", "", NULL);
}

/* What would reach other units, the host, or what other containers get. */
static void test_properties_of_others(void **state)
{
    static const char *const cases[][2] = {
        { "Conflicts", "['ssh.service']" },
        { "Conflicts", "'ssh.service'" },
        { "Wants", "['debug-shell.service']" },
        { "OnSuccess", "['x.service']" },
        { "OnFailure", "['x.service']" },
        { "SuccessAction", "'reboot-immediate'" },
        { "FailureAction", "'poweroff-force'" },
        { "JobTimeoutAction", "'reboot'" },
        { "Before", "['ssh.service']" },
        { "After", "['ssh.service']" },
        { "After", "['crio.service', 'ssh.service']" },
        { "After", "@as []" },
        { "DefaultDependencies", "false" },
        { "Delegate", "false" },
        { "DeviceAllow", "'char-* rwm'" },
        { "MemoryMin", "uint64 99999999999" },
        { "KillMode", "'none'" },
        { "collectMode", "'inactive'" },
        { "CollectModeX", "'inactive'" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_property(cases[i][0], cases[i][1], NULL);
}

/* A cgroup is a scope's only if all of its path is where systemd puts the scope. */
static void test_places(void **state)
{
    static const struct {
        const char *path, *slice;
        bool expected;
    } cases[] = {
        { "machine.slice/libpod-1f.scope", "machine.slice", true },
        { "a.slice/a-b.slice/cri-x.scope", "a-b.slice", true },
        { "x.scope", "-.slice", true },
        { "x/machine.slice/libpod-1f.scope", "machine.slice", false },
        { "a-b.slice/cri-x.scope", "a-b.slice", false },
        { "xmachine.slice/libpod-1f.scope", "machine.slice", false },
        { "y/x.scope", "-.slice", false },
        { "-.slice/x.scope", "-.slice", false },
        { "user.slice/user-0.slice/session-*.scope", "user-0.slice", false },
        { "a.slice/[ab].scope", "a.slice", false },
        { "a.slice/?.scope", "a.slice", false },
        { "a.slice/x.service", "a.slice", false },
        { "a.slice/.scope", "a.slice", false },
        { "a.slice/x.scope", "", false },
        { "a.slice/x.scope", "b.slice", false },
        { "a.slice/x.scope", "slice", false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (scope_path_is(cases[i].path, cases[i].slice) != cases[i].expected)
            fail_msg("%s in %s", cases[i].path, cases[i].slice);
}

/* All words in one line. */
static void check_limits(const struct plan_resources *resources, bool v1, const char *expected)
{
    char line[2048] = "";
    struct scope_words words = { 0 };
    scope_words_add_limits(&words, resources, v1);
    if (v1)
        scope_words_add_devices(&words, resources);
    for (size_t i = 0; i < words.count; i++) {
        size_t used = strlen(line);
        (void)snprintf(line + used, sizeof line - used, "%s%s", i ? ";" : "", words.words[i]);
    }
    assert_string_equal(line, expected);
    scope_words_free(&words);
}

static void test_limits(void **state)
{
    (void)state;
    struct plan_resources resources = nothing;
    check_limits(&resources, false, "");
    check_limits(&resources, true, "");
    resources.memory_limit = 64 << 20;
    resources.memory_swap = 96 << 20;
    resources.memory_reservation = 32 << 20;
    resources.cpu_shares = 1024;
    resources.cpu_quota = 12345;
    resources.cpu_period = 50000;
    resources.pids_limit = 20;
    resources.cpuset_cpus = "0-1,3";
    resources.cpuset_mems = "0";
    check_limits(&resources, false,
                 "MemoryMax=67108864;MemorySwapMax=33554432;MemoryLow=33554432;CPUWeight=39;"
                 "CPUQuota=25%;CPUQuotaPeriodSec=50000us;TasksMax=20;AllowedCPUs=0-1,3;"
                 "AllowedMemoryNodes=0");
    check_limits(&resources, true,
                 "MemoryLimit=67108864;CPUShares=1024;TasksMax=20;CPUQuota=25%;"
                 "CPUQuotaPeriodSec=50000us");
}

static void test_no_limits(void **state)
{
    (void)state;
    struct plan_resources resources = nothing;
    resources.memory_limit = resources.memory_swap = resources.pids_limit = PLAN_UNLIMITED;
    resources.cpu_quota = PLAN_UNLIMITED;
    resources.cpu_period = 20000;
    check_limits(&resources, false,
                 "MemoryMax=infinity;MemorySwapMax=infinity;CPUQuota=;CPUQuotaPeriodSec=20000us;"
                 "TasksMax=infinity");
    check_limits(&resources, true,
                 "MemoryLimit=infinity;TasksMax=infinity;CPUQuota=;CPUQuotaPeriodSec=20000us");
}

/* linux.resources.unified, block I/O, and what systemd has no word for. */
static void test_settings(void **state)
{
    (void)state;
    const struct plan_cgroup_setting settings[] = {
        { .controller = "memory", .v2_file = "memory.high", .v2_value = "max" },
        { .controller = "cpu", .v2_file = "cpu.max", .v2_value = "10000 20000" },
        { .controller = "cpu",
          .v1_file = "cpu.idle",
          .v1_value = "1",
          .v2_file = "cpu.idle",
          .v2_value = "1" },
        { .controller = "cpu", .v2_file = "cpu.idle", .v2_value = "0" },
        { .controller = "blkio",
          .v1_file = "blkio.weight",
          .v1_value = "300",
          .v2_file = "io.weight",
          .v2_value = "default 2930" },
        { .controller = "blkio", .v2_file = "io.weight", .v2_value = "8:0 100" },
        { .controller = "hugetlb", .v2_file = "hugetlb.2MB.max", .v2_value = "0" },
    };
    struct plan_resources resources = nothing;
    resources.settings = settings;
    resources.setting_count = sizeof settings / sizeof *settings;
    check_limits(
        &resources, false,
        "MemoryHigh=infinity;CPUQuota=50%;CPUQuotaPeriodSec=20000us;CPUWeight=idle;IOWeight=2930");
    check_limits(&resources, true, "BlockIOWeight=300");
}

static void test_devices(void **state)
{
    (void)state;
    const struct plan_device_rule rules[] = {
        { 7, 7, 'b', true, true, true, true },     { -1, -1, 'a', false, true, true, true },
        { -1, -1, 'c', true, false, false, true }, { 1, 3, 'c', true, true, true, false },
        { 8, -1, 'b', true, true, false, false },  { 1, 3, 'c', false, true, true, false },
    };
    struct plan_resources resources = nothing;
    resources.devices = rules;
    resources.device_count = sizeof rules / sizeof *rules;
    check_limits(&resources, true,
                 "DevicePolicy=strict;DeviceAllow=char-* m;DeviceAllow=/dev/char/1:3 rw;"
                 "DeviceAllow=block-8 r");
    const struct plan_device_rule open = { -1, -1, 'a', true, true, true, true };
    resources.devices = &open;
    resources.device_count = 1;
    check_limits(&resources, true, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),      cmocka_unit_test(test_wrong_names),
        cmocka_unit_test(test_properties), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_no_limits),  cmocka_unit_test(test_settings),
        cmocka_unit_test(test_devices),    cmocka_unit_test(test_properties_of_others),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
