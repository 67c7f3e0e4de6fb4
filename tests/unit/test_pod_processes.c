/* Whose processes a container of a pod of VMs may share: by what is recorded, not by what it says.
 */
/* link: engine state plan */
#include "runtime/engine/pod.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/state/tree.h"

enum { MEMBERS = 5 };

struct place {
    char root[64];
    pid_t members[MEMBERS]; /* processes that stand in for containers */
};

static void record(const struct place *place, const char *id, const char *pod, pid_t pid,
                   uint64_t start)
{
    int lock = -1;
    struct error err = { 0 };
    struct state state = {
        .id = (char *)id,
        .isolation = (char *)(pod ? "vm" : "sandbox"),
        .bundle = (char *)"/bundle",
        .cgroup = (char *)"",
        .pod = (char *)pod,
        .status = STATE_RUNNING,
        .pid = pid,
        .pid_start = start,
        .command = json_pack("[s]", "sh"),
    };
    if (state_create(place->root, &state, "{}", &lock, &err) != 0)
        fail_msg("%s", err.message);
    (void)close(lock);
    json_decref(state.command);
}

static pid_t stand_in(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        for (;;)
            (void)pause();
    return pid;
}

static void end(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

static int make_place(void **context)
{
    struct place *place = calloc(1, sizeof *place);
    (void)snprintf(place->root, sizeof place->root, "/tmp/test-pod-XXXXXX");
    if (!mkdtemp(place->root))
        return -1;
    for (int i = 0; i < MEMBERS; i++)
        place->members[i] = stand_in();
    *context = place;
    return 0;
}

static int remove_place(void **context)
{
    struct place *place = *context;
    int result = tree_remove(place->root, NULL);
    for (int i = 0; i < MEMBERS; i++)
        end(place->members[i]);
    free(place);
    return result;
}

static struct workload_processes find(const struct place *place, pid_t sandbox, const char *path,
                                      bool refused)
{
    const struct runtime runtime = { .root = (char *)place->root };
    const struct state state = { .id = (char *)"ours", .pid = sandbox };
    struct workload_processes found = { 0 };
    struct error err = { 0 };
    int result = pod_find_processes(&runtime, &state, path, &found, &err);
    if ((result < 0) != refused)
        fail_msg("%s: %d, %s", path, result, err.message);
    if (refused)
        assert_non_null(strstr(err.message, "linux.namespaces: pid: "));
    return found;
}

static const char *path_of(char path[static 64], pid_t pid)
{
    (void)snprintf(path, 64, "/proc/%d/ns/pid", (int)pid);
    return path;
}

static bool names_container(const struct place *place, enum pod_role role, const char *sandbox,
                            pid_t pid)
{
    char path[64];
    const struct runtime runtime = { .root = (char *)place->root };
    const struct pod pod = { .role = role, .sandbox = sandbox };
    json_t *document = json_pack("{s:{s:[{s:s}, {s:s, s:s}]}}", "linux", "namespaces", "type",
                                 "ipc", "type", "pid", "path", path_of(path, pid));
    bool result = pod_names_container(&runtime, &pod, document);
    json_decref(document);
    return result;
}

/* All stand-ins, and whatever else runs here, are in one namespace: the number is what counts, of a
 * process that was recorded, and lives, in this pod. */
static void test_containers(void **context)
{
    const struct place *place = *context;
    const pid_t *members = place->members;
    char path[64], other[80];
    record(place, "a", "ours", members[0], state_process_start(members[0]));
    record(place, "b", "theirs", members[1], state_process_start(members[1]));
    record(place, "c", "ours", members[2], state_process_start(members[2]) + 1); /* reused */
    record(place, "d", NULL, members[3], state_process_start(members[3]));
    pid_t gone = -1; /* no sandbox whose namespace would be ours */
    struct workload_processes found = find(place, gone, path_of(path, members[0]), false);
    assert_int_equal(found.kind, WORKLOAD_OF_CONTAINER);
    assert_int_equal(found.monitor, members[0]);
    assert_int_equal(found.monitor_start, state_process_start(members[0]));
    for (int i = 1; i < MEMBERS; i++)
        (void)find(place, gone, path_of(path, members[i]), true);
    static const char *const before[] = { "/", "/proc/..", "/proc/self/root" };
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        (void)snprintf(other, sizeof other, "%s%s", before[i], path_of(path, members[0]));
        (void)find(place, gone, other, true);
    }
    (void)find(place, gone, "/proc/self/ns/pid", true);
    (void)find(place, gone, "", true);
    assert_true(names_container(place, POD_CONTAINER, "ours", members[0]));
    assert_false(names_container(place, POD_CONTAINER, "theirs", members[0]));
    assert_false(names_container(place, POD_CONTAINER, "ours", members[2]));
    assert_false(names_container(place, POD_NONE, "ours", members[0]));
    end(members[0]); /* and once more by remove_place, in vain */
    (void)find(place, gone, path_of(path, members[0]), true);
}

/* The sandbox's is known by what it is, whatever its path is called. */
static void test_sandbox(void **context)
{
    const struct place *place = *context;
    char path[64];
    struct workload_processes found =
        find(place, place->members[0], path_of(path, place->members[0]), false);
    assert_int_equal(found.kind, WORKLOAD_OF_POD);
    found = find(place, place->members[0], "/proc/self/ns/pid", false);
    assert_int_equal(found.kind, WORKLOAD_OF_POD);
    (void)find(place, place->members[0], "/proc/self/ns/net", true);
    (void)find(place, place->members[0], "/nonexistent", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_containers, make_place, remove_place),
        cmocka_unit_test_setup_teardown(test_sandbox, make_place, remove_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
