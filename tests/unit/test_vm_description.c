/* link: vm sandbox cgroup program */
/* What a VM looks like: RAM, processors, limits on the host, the kernel's command line. */
#include "include/machine.h"
#include "runtime/vm/description.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t MIB = 1 << 20, GIB = 1 << 30;

static struct plan_resources nothing(void)
{
    return (struct plan_resources){ .memory_limit = -1,
                                    .memory_swap = -1,
                                    .memory_reservation = -1,
                                    .cpu_shares = -1,
                                    .cpu_quota = -1,
                                    .cpu_period = -1,
                                    .pids_limit = -1 };
}

static void test_memory(void **state)
{
    (void)state;
    struct plan_resources resources = nothing();
    assert_int_equal(vm_memory_limit(&resources), 256 * MIB);
    resources.memory_limit = 64 * (int64_t)MIB + 1;
    assert_int_equal(vm_memory_limit(&resources), 64 * MIB + 1);
    const uint64_t limits[] = { 6 * MIB, 64 * MIB + 1, 256 * MIB, 3 * GIB, 64 * GIB };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        uint64_t ram = vm_ram_size(limits[i]);
        assert_int_equal(ram % (2 * MIB), 0);
        assert_true(ram >= limits[i] + limits[i] / 64 + 32 * MIB);
        assert_true(ram <= limits[i] + limits[i] / 16 + 64 * MIB);
    }
}

static void test_cpus(void **state)
{
    (void)state;
    const struct {
        int64_t quota, period;
        int expected;
    } cases[] = {
        { -1, -1, 1 },         { 0, 100000, 1 },        { 50000, 100000, 1 },
        { 100000, 100000, 1 }, { 100001, 100000, 2 },   { 150000, 100000, 2 },
        { 200000, 100000, 2 }, { 6400000, 100000, 64 }, { 6400001, 100000, -1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = { 0 };
        struct plan_resources resources = nothing();
        resources.cpu_quota = cases[i].quota;
        resources.cpu_period = cases[i].period;
        assert_int_equal(vm_cpu_count(&resources, &err), cases[i].expected);
        assert_int_equal(err.exit_code, cases[i].expected < 0 ? EXIT_OURS : 0);
    }
}

static void test_host_limits(void **state)
{
    (void)state;
    struct plan_resources resources = nothing();
    resources.cpu_quota = 150000;
    resources.cpu_period = 100000;
    resources.cpuset_cpus = "0-1";
    resources.pids_limit = 5;
    struct plan_resources host = vm_host_resources(&resources, 320 * MIB, 2, false);
    assert_int_equal(host.cpu_quota, 150000);
    assert_string_equal(host.cpuset_cpus, "0-1");
    assert_true(host.memory_limit > (int64_t)(320 * MIB));
    /* The workload's own limit holds in the guest; hybrid-vmm needs its threads. */
    assert_true(host.pids_limit > 5);
}

static void test_command_line(void **state)
{
    (void)state;
    struct error err = { 0 };
    const uint64_t sizes[] = { 4096, 8192, 1048576 };
    char *text = vm_command_line(sizes, 3, NULL, &err);
    assert_non_null(text);
    assert_non_null(strstr(text, "root=/dev/vda1 rootfstype=erofs ro init=/hybrid-init"));
    const char *partitions = strstr(text, " blkdevparts=vda:4k,8k,1024k");
    assert_non_null(partitions);
    assert_string_equal(partitions, " blkdevparts=vda:4k,8k,1024k");
    free(text);
    text = vm_command_line(sizes, 1, "loglevel=7 init=/x", &err);
    assert_non_null(strstr(text, "blkdevparts=vda:4k loglevel=7 init=/x"));
    free(text);
}

static void test_bad_sizes(void **state)
{
    (void)state;
    const uint64_t odd[] = { 4096, 4097 }, empty[] = { 0 };
    struct error err = { 0 };
    assert_null(vm_command_line(odd, 2, NULL, &err));
    assert_non_null(strstr(err.message, "4097"));
    assert_null(vm_command_line(empty, 1, NULL, &err));
}

static void test_many_layers(void **state)
{
    (void)state;
    struct error err = { 0 };
    uint64_t sizes[MACHINE_MAX_DISK_FILES];
    for (size_t i = 0; i < MACHINE_MAX_DISK_FILES; i++)
        sizes[i] = 1024 * MIB;                            /* 1048576k */
    char *text = vm_command_line(sizes, 129, NULL, &err); /* as many as Docker allows, and more */
    assert_non_null(text);
    assert_true(strlen(text) <= VM_COMMAND_LINE_MAX);
    free(text);
    assert_null(vm_command_line(sizes, MACHINE_MAX_DISK_FILES, NULL, &err));
    assert_non_null(strstr(err.message, "254 layers"));
    assert_non_null(strstr(err.message, "--isolation=container"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),      cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_host_limits), cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_bad_sizes),   cmocka_unit_test(test_many_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
