/* Control group values, names and counters, on directories of ordinary files. */
/* link: cgroup sandbox plan program */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "runtime/cgroup/hierarchy.h"

static const char *const v1_files[] = {
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "cpu.shares",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
    "pids.max",
    "cpuset.cpus",
    "cpuset.mems",
    "devices.allow",
    "devices.deny",
};
static const char *const v2_files[] = { "memory.max",  "memory.swap.max", "memory.low",
                                        "cpu.weight",  "cpu.max",         "pids.max",
                                        "cpuset.cpus", "cpuset.mems" };

static const struct plan_resources nothing = PLAN_NO_RESOURCES;

struct place {
    char top[64];
    int fd;
};

static void make_files(int fd, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)close(openat(fd, names[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
}

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    strcpy(place->top, "/tmp/hybrid-cgroup-XXXXXX");
    if (!mkdtemp(place->top))
        return -1;
    place->fd = open(place->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", place->top);
    int result = system(command); /* NOLINT(cert-env33-c): of names of our own */
    (void)close(place->fd);
    free(place);
    return result;
}

static void expect(const struct place *place, const char *file, const char *value)
{
    char text[256];
    assert_true(cgroup_read_file(place->fd, file, text, sizeof text) >= 0);
    assert_string_equal(text, value);
}

static struct cgroup v2_cgroup(const struct place *place)
{
    make_files(place->fd, v2_files, sizeof v2_files / sizeof *v2_files);
    return (struct cgroup){ .v2_fd = place->fd };
}

static struct cgroup v1_cgroup(const struct place *place)
{
    make_files(place->fd, v1_files, sizeof v1_files / sizeof *v1_files);
    struct cgroup cgroup = { .v2_fd = -1, .v1_count = 5 };
    static const char *const options[] = { "memory", "pids", "cpu,cpuacct", "cpuset", "devices" };
    for (size_t i = 0; i < cgroup.v1_count; i++) {
        (void)snprintf(cgroup.v1[i].options, CGROUP_OPTIONS_SIZE, "%s", options[i]);
        cgroup.v1[i].fd = place->fd;
    }
    return cgroup;
}

static void test_v2_values(void **state)
{
    struct place *place = *state;
    struct cgroup cgroup = v2_cgroup(place);
    struct plan_resources resources = {
        .memory_limit = 1000000,
        .memory_swap = 3000000,
        .memory_reservation = 4096,
        .cpu_shares = 1024,
        .cpu_quota = 50000,
        .cpu_period = -1,
        .cpuset_cpus = "0-1",
        .cpuset_mems = "0",
        .pids_limit = 20,
    };
    struct error err = { 0 };
    assert_int_equal(resources_apply(&cgroup, &resources, &err), 0);
    expect(place, "memory.max", "1000000");
    expect(place, "memory.swap.max", "2000000"); /* v2 counts swap alone */
    expect(place, "memory.low", "4096");
    expect(place, "cpu.weight", "39");
    expect(place, "cpu.max", "50000 100000");
    expect(place, "cpuset.cpus", "0-1");
    expect(place, "pids.max", "20");
}

static void test_v1_values(void **state)
{
    struct place *place = *state;
    struct cgroup cgroup = v1_cgroup(place);
    const struct plan_device_rule rules[] = {
        { .allow = false,
          .type = 'a',
          .major = -1,
          .minor = -1,
          .read = true,
          .write = true,
          .mknod = true },
        { .allow = true, .type = 'c', .major = 1, .minor = 3, .read = true, .mknod = true },
    };
    struct plan_resources resources = {
        .memory_limit = 1000000,
        .memory_swap = 3000000,
        .memory_reservation = -1,
        .cpu_shares = 1024,
        .cpu_quota = 50000,
        .cpu_period = 200000,
        .pids_limit = 0,
        .devices = rules,
        .device_count = 2,
    };
    struct error err = { 0 };
    assert_int_equal(resources_apply(&cgroup, &resources, &err), 0);
    expect(place, "memory.limit_in_bytes", "1000000");
    expect(place, "memory.memsw.limit_in_bytes", "3000000");
    expect(place, "memory.soft_limit_in_bytes", "");
    expect(place, "cpu.shares", "1024");
    expect(place, "cpu.cfs_period_us", "200000");
    expect(place, "cpu.cfs_quota_us", "50000");
    expect(place, "pids.max", "max");
    expect(place, "devices.deny", "a *:* rwm");
    expect(place, "devices.allow", "c 1:3 rm");
}

static void put(const struct place *place, const char *file, const char *text)
{
    _cleanup_close_ int fd = openat(place->fd, file, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* One number of a pair: the other is the default, or the one in force. */
static void test_updates_of_one_number(void **state)
{
    struct place *place = *state;
    struct cgroup cgroup = v1_cgroup(place);
    struct plan_resources resources = nothing;
    struct error err = { 0 };
    put(place, "cpu.cfs_period_us", "1000");
    resources.cpu_quota = 50000;
    assert_int_equal(resources_apply(&cgroup, &resources, &err), 0);
    expect(place, "cpu.cfs_period_us", "1000");
    expect(place, "cpu.cfs_quota_us", "50000");
    cgroup = v2_cgroup(place);
    put(place, "cpu.max", "max 10000");
    assert_int_equal(resources_apply(&cgroup, &resources, &err), 0);
    expect(place, "cpu.max", "50000 10000");
    resources = nothing;
    put(place, "memory.max", "1000000");
    put(place, "cpu.max", "5000 10000");
    resources.memory_swap = 1500000;
    resources.cpu_period = 20000;
    assert_int_equal(resources_apply(&cgroup, &resources, &err), 0);
    expect(place, "memory.swap.max", "500000");
    expect(place, "cpu.max", "5000 20000");
    resources = nothing;
    resources.memory_limit = 1200000;
    assert_int_equal(resources_apply(&cgroup, &resources, &err), 0);
    expect(place, "memory.max", "1200000");
    expect(place, "memory.swap.max", "300000");
    resources.memory_limit = -1;
    resources.cpu_period = 20000;
    resources.memory_swap = 999999;
    assert_int_equal(resources_apply(&cgroup, &resources, &err), -1);
    put(place, "memory.max", "max");
    put(place, "cpu.max", "max 10000");
    assert_int_equal(resources_apply(&cgroup, &resources, &err), 0);
    expect(place, "memory.swap.max", "999999");
    expect(place, "cpu.max", "max 20000");
}

/* Processes outside of our pid namespace are listed as 0. */
static void test_members(void **state)
{
    struct place *place = *state;
    struct cgroup cgroup = { .v2_fd = place->fd };
    static const char *const files[] = { "cgroup.procs" };
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = 0;
    struct error err = { 0 };
    make_files(place->fd, files, 1);
    put(place, "cgroup.procs", "0\n12\n0\n7\n");
    assert_int_equal(cgroup_list_processes(&cgroup, &pids, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(pids[0], 7);
    assert_int_equal(pids[1], 12);
}

static void test_nothing_sets_nothing(void **state)
{
    struct place *place = *state;
    struct cgroup cgroup = v2_cgroup(place);
    struct error err = { 0 };
    assert_int_equal(resources_apply(&cgroup, &nothing, &err), 0);
    for (size_t i = 0; i < sizeof v2_files / sizeof *v2_files; i++)
        expect(place, v2_files[i], "");
}

static void test_shares_become_weights(void **state)
{
    struct place *place = *state;
    static const struct {
        int64_t shares;
        const char *weight;
    } table[] = { { 1, "1" }, { 2, "1" }, { 512, "20" }, { 262144, "10000" }, { 999999, "10000" } };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct cgroup cgroup = v2_cgroup(place);
        struct plan_resources resources = nothing;
        struct error err = { 0 };
        resources.cpu_shares = table[i].shares;
        int fd = openat(place->fd, "cpu.weight", O_WRONLY | O_TRUNC | O_CLOEXEC);
        (void)close(fd);
        assert_int_equal(resources_apply(&cgroup, &resources, &err), 0);
        expect(place, "cpu.weight", table[i].weight);
    }
}

static void test_absent_controller_is_an_error(void **state)
{
    struct place *place = *state;
    struct cgroup cgroup = { .v2_fd = place->fd };
    struct plan_resources resources = nothing;
    struct error err = { 0 };
    resources.pids_limit = 5;
    assert_int_equal(resources_apply(&cgroup, &resources, &err), -1);
    assert_int_equal(err.exit_code, EXIT_OURS);
    assert_non_null(strstr(err.message, "limit of processes"));
}

static void test_names(void **state)
{
    (void)state;
    static const char *const good[] = { "hybrid-1", "a/b/c", "hybrid-x.y_z" };
    static const char *const bad[] = {
        "", "..", "../x", "a/../b", "a/..", ".", "a//b", "/a", "a/"
    };
    struct error err = { 0 };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(cgroup_check_name(good[i], &err), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(cgroup_check_name(bad[i], &err), -1);
}

static void test_hierarchy_names(void **state)
{
    (void)state;
    assert_true(hierarchy_has("cpu,cpuacct", "cpu"));
    assert_true(hierarchy_has("cpu,cpuacct", "cpuacct"));
    assert_false(hierarchy_has("cpuacct", "cpu"));
    assert_false(hierarchy_has("cpuset", "cpu"));
    assert_false(hierarchy_has("", "cpu"));
}

static void test_counters(void **state)
{
    struct place *place = *state;
    struct cgroup cgroup = { .v2_fd = place->fd };
    static const struct {
        const char *file, *text;
    } files[] = { { "memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n" },
                  { "memory.current", "4096\n" },
                  { "pids.current", "7\n" },
                  { "cpu.stat", "usage_usec 1234\nuser_usec 1000\n" } };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        _cleanup_close_ int fd =
            openat(place->fd, files[i].file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_int_equal(write(fd, files[i].text, strlen(files[i].text)), strlen(files[i].text));
    }
    struct cgroup_stats stats;
    struct error err = { 0 };
    assert_int_equal(cgroup_oom_kills(&cgroup), 2);
    assert_int_equal(cgroup_read_stats(&cgroup, &stats, &err), 0);
    assert_int_equal(stats.memory_bytes, 4096);
    assert_int_equal(stats.pids, 7);
    assert_int_equal(stats.cpu_microseconds, 1234);
}

/*
 * A process in a v1 freezer that is frozen from above dies of its SIGKILL only when that is thawed:
 * the name is another's by then. Returns an exit status.
 */
static int give_away(const struct cgroup *cgroup, int freezer)
{
    const struct timespec moment = { .tv_nsec = 200000000L };
    (void)nanosleep(&moment, NULL);
    int result = fsetxattr(cgroup->v1[0].fd, CGROUP_OWNER, "other", strlen("other"), 0);
    (void)nanosleep(&moment, NULL);
    return cgroup_write_file(freezer, "freezer.state", "THAWED") < 0 || result < 0;
}

/* Whether what was given to another owner during its removal is still there. */
static bool survives_removal(struct cgroup *cgroup, int freezer)
{
    struct error err = { 0 };
    int status = -1;
    pid_t member = fork();
    if (member == 0)
        for (;;)
            (void)pause();
    bool frozen = cgroup_add_process(cgroup, member, &err) == 0 &&
                  cgroup_write_file(freezer, "freezer.state", "FROZEN") == 0;
    pid_t giver = fork();
    if (giver == 0)
        _exit(give_away(cgroup, freezer));
    bool stays = frozen && cgroup_remove(cgroup->name, &err) == 0;
    (void)waitpid(giver, &status, 0);
    (void)kill(member, SIGKILL);
    (void)waitpid(member, NULL, 0);
    return stays && status == 0 && cgroup_belongs_to(cgroup->name, "other");
}

static void test_removal_leaves_another_owners(void **state)
{
    (void)state;
    char outer_name[64], name[80];
    struct error err = { 0 };
    (void)snprintf(outer_name, sizeof outer_name, "hybrid-test-%d", (int)getpid());
    (void)snprintf(name, sizeof name, "%s/inner", outer_name);
    struct cgroup *cgroup = cgroup_create(name, "first", &nothing, &err);
    struct cgroup *outer = cgroup ? cgroup_open(outer_name, &err) : NULL;
    int freezer = outer ? cgroup_v1_fd(outer, "freezer") : -1;
    bool survived = freezer >= 0 && survives_removal(cgroup, freezer);
    cgroup_close(cgroup);
    cgroup_close(outer);
    int removed = cgroup ? cgroup_remove(outer_name, &err) : 0;
    if (freezer < 0)
        skip(); /* no right to make one, or cgroup v2: its frozen processes die at once */
    assert_true(survived);
    assert_int_equal(removed, 0);
}

/* Root of a user namespace, as which a rootless engine would call: a status that tells what is
 * wrong. */
static int ask_as_mapped_root(void)
{
    struct error err = { 0 };
    if (cgroup_root_is_mapped() || unshare(CLONE_NEWUSER) < 0)
        return 77;
    _cleanup_close_ int map = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
    if (map < 0 || write(map, "0 0 1", 5) != 5)
        return 1;
    if (!cgroup_root_is_mapped() || cgroup_create("hybrid-unit-mapped", NULL, &nothing, &err))
        return 2;
    return strstr(err.message, "root of a user namespace") &&
                   strstr(err.message, "run the engine as root")
               ? 0
               : 3;
}

static void test_root_of_a_user_namespace_is_refused(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(ask_as_mapped_root());
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("SKIP: no user namespace can be made here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_v2_values),
        CASE(test_v1_values),
        CASE(test_updates_of_one_number),
        CASE(test_members),
        CASE(test_nothing_sets_nothing),
        CASE(test_shares_become_weights),
        CASE(test_absent_controller_is_an_error),
        CASE(test_counters),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_hierarchy_names),
        cmocka_unit_test(test_removal_leaves_another_owners),
        cmocka_unit_test(test_root_of_a_user_namespace_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
