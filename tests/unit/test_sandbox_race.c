/*
 * A root that changes while it is set up: another process exchanges the target of a mount with a
 * symbolic link that leads out of the root, over and over (CVE-2021-30465, CVE-2024-45310,
 * CVE-2025-31133). Whatever a start ends in, nothing may appear outside of the root.
 */
/* link: sandbox program */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "runtime/sandbox/sandbox.h"

enum { STARTS = 500, MASK_STARTS = 100 };

struct place {
    char top[64], root[96], outside[96];
    int root_fd;
    pid_t racer;
};

/* Exchanges two names of the root until it is killed. */
static pid_t start_racer(int root_fd, const char *a, const char *b)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    for (;;)
        (void)renameat2(root_fd, a, root_fd, b, RENAME_EXCHANGE);
}

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    if (!place)
        return -1;
    strcpy(place->top, "/tmp/hybrid-race-XXXXXX");
    if (!mkdtemp(place->top))
        return -1;
    (void)snprintf(place->root, sizeof place->root, "%s/root", place->top);
    (void)snprintf(place->outside, sizeof place->outside, "%s/outside", place->top);
    if (mkdir(place->root, 0755) < 0 || mkdir(place->outside, 0755) < 0)
        return -1;
    place->root_fd = open(place->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = place;
    return place->root_fd < 0 ? -1 : 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    if (place->racer > 0) {
        (void)kill(place->racer, SIGKILL);
        (void)waitpid(place->racer, NULL, 0);
    }
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", place->top);
    int result = system(command); /* NOLINT(cert-env33-c): of names of our own */
    (void)close(place->root_fd);
    free(place);
    return result;
}

static size_t count_entries(const char *path)
{
    _cleanup_closedir_ DIR *directory = opendir(path);
    size_t count = 0;
    while (directory && readdir(directory))
        count++;
    return count;
}

/* Whether the child has a mount on something below `path`. It has not entered its root: it sees the
 * host's paths. */
static bool has_mount_below(pid_t pid, const char *path)
{
    char name[64], line[4096], point[4096];
    (void)snprintf(name, sizeof name, "/proc/%d/mountinfo", (int)pid);
    _cleanup_fclose_ FILE *file = fopen(name, "re");
    assert_non_null(file);
    /* In the root there may be something of the same path: where the link leads in there. */
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%*s %*s %*s %*s %4095s", point) == 1 &&
            strncmp(point, path, strlen(path)) == 0)
            return true;
    return false;
}

/* How many sysfs mounts of the root nothing read-only lies on. The child sees it below the place
 * where it is set up, as "root". */
static int count_writable_sysfs(pid_t pid)
{
    char name[64], line[4096];
    int writable = 0;
    (void)snprintf(name, sizeof name, "/proc/%d/mountinfo", (int)pid);
    _cleanup_fclose_ FILE *file = fopen(name, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        char *super = strstr(line, " - sysfs ");
        if (!super || !strstr(line, "/root/"))
            continue;
        *super = '\0';
        writable += strstr(line, " ro") ? -1 : 1;
    }
    return writable;
}

static struct sandbox_request request_of(const struct plan *plan, const struct sandbox_root *root)
{
    return (struct sandbox_request){ .plan = plan,
                                     .root = root,
                                     .stdio = { 0, 1, 2 },
                                     .cgroup_fd = -1,
                                     .join_pidfd = -1,
                                     .death_signal = SIGKILL };
}

/* Sets one plan up as far as the command, and ends it. Returns whether that worked. */
static bool set_up_once(const struct place *place, const struct plan *plan)
{
    const struct sandbox_root root = { 0 };
    const struct sandbox_request request = request_of(plan, &root);
    struct sandbox_child child;
    struct error err;
    if (sandbox_spawn(&request, &child, &err) < 0)
        return false;
    bool done = sandbox_set_up(&child, &err) == 0;
    if (done) {
        assert_false(has_mount_below(child.pid, place->outside));
        assert_int_equal(count_writable_sysfs(child.pid), 0);
    }
    sandbox_abandon(&child);
    return done;
}

/* Runs the plan many times while `name` and a link to a place outside are exchanged. */
static void race(struct place *place, const char *name, struct plan_step *steps, size_t count,
                 int starts)
{
    static const char *const argv[] = { "/none", NULL };
    steps[count - 1] = (struct plan_step){ .kind = PLAN_EXEC, .exec = { .argv = argv } };
    struct plan plan = { .steps = steps,
                         .step_count = count,
                         .root_path = place->root,
                         .namespaces = { .create = CLONE_NEWNS } };
    size_t before = count_entries(place->outside);
    unsigned int worked = 0;
    place->racer = start_racer(place->root_fd, name, "b");
    for (int i = 0; i < starts; i++) {
        worked += set_up_once(place, &plan);
        assert_int_equal(count_entries(place->outside), before);
    }
    print_message("%u of %d starts worked, the others were refused\n", worked, starts);
}

/* Every step that makes something by path. */
static void test_exchanged_targets(void **state)
{
    if (geteuid() != 0) {
        print_message("SKIP: needs root, to make namespaces and mounts\n");
        skip();
    }
    struct place *place = *state;
    assert_int_equal(mkdirat(place->root_fd, "a", 0755), 0);
    assert_int_equal(symlinkat(place->outside, place->root_fd, "b"), 0);
    struct plan_step steps[] = {
        { .kind = PLAN_MOUNT, .mount = { .type = "tmpfs", .target = "/a" } },
        { .kind = PLAN_MOUNT, .mount = { .type = "tmpfs", .target = "/a/mount/deep" } },
        { .kind = PLAN_FILE,
          .file = { .target = "/a/file/hosts", .content = "x", .length = 1, .mode = 0644 } },
        { .kind = PLAN_DEVICE,
          .device = { .path = "/a/node/null", .mode = S_IFCHR | 0666, .major = 1, .minor = 3 } },
        { .kind = PLAN_SYMLINK, .symlink = { .path = "/a/link/x", .target = "y" } },
        { .kind = PLAN_CWD_MAKE, .path = "/a/cwd/made" },
        { .kind = PLAN_CWD, .path = "/a/cwd/made" },
        { .kind = PLAN_EXEC },
    };
    race(place, "a", steps, sizeof steps / sizeof *steps, STARTS);
}

/* What hides a path or makes it read-only must not do so to the host's. */
static void test_exchanged_masks(void **state)
{
    if (geteuid() != 0) {
        print_message("SKIP: needs root, to make namespaces and mounts\n");
        skip();
    }
    struct place *place = *state;
    assert_int_equal(mkdirat(place->root_fd, "a", 0755), 0);
    assert_int_equal(symlinkat(place->outside, place->root_fd, "b"), 0);
    struct plan_step steps[] = {
        { .kind = PLAN_MASK, .path = "/a" },
        { .kind = PLAN_READONLY_PATH, .path = "/a" },
        { .kind = PLAN_EXEC },
    };
    race(place, "a", steps, sizeof steps / sizeof *steps, MASK_STARTS);
}

/* sysfs becomes read-only wherever it is by then. */
static void test_exchanged_sys(void **state)
{
    if (geteuid() != 0) {
        print_message("SKIP: needs root, to make namespaces and mounts\n");
        skip();
    }
    struct place *place = *state;
    assert_int_equal(mkdirat(place->root_fd, "sys", 0755), 0);
    assert_int_equal(symlinkat(place->outside, place->root_fd, "b"), 0);
    struct plan_step steps[] = {
        { .kind = PLAN_MOUNT, .mount = { .type = "sysfs", .source = "sysfs", .target = "/sys" } },
        { .kind = PLAN_READONLY_PATH, .path = "/sys" },
        { .kind = PLAN_EXEC },
    };
    race(place, "sys", steps, sizeof steps / sizeof *steps, MASK_STARTS);
}

/* Whether a directory of the place lies on another of it, as the child sees the host's. */
static bool covers_another(pid_t pid, const struct place *place)
{
    char name[64], line[4096], root[4096], point[4096];
    (void)snprintf(name, sizeof name, "/proc/%d/mountinfo", (int)pid);
    _cleanup_fclose_ FILE *file = fopen(name, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) == 2 &&
            strncmp(point, place->top, strlen(place->top)) == 0 &&
            strcmp(strrchr(root, '/'), strrchr(point, '/')) != 0)
            return true;
    return false;
}

/* A root whose path leads through an exchanged link is one directory, where it lies. */
static void test_exchanged_root(void **state)
{
    if (geteuid() != 0) {
        print_message("SKIP: needs root, to make namespaces and mounts\n");
        skip();
    }
    char way[96];
    struct place *place = *state;
    static const char *const argv[] = { "/none", NULL };
    struct plan_step step = { .kind = PLAN_EXEC, .exec = { .argv = argv } };
    const struct plan plan = {
        .steps = &step, .step_count = 1, .root_path = way, .namespaces = { .create = CLONE_NEWNS }
    };
    const struct sandbox_root root = { 0 };
    const struct sandbox_request request = request_of(&plan, &root);
    (void)snprintf(way, sizeof way, "%s/a", place->top);
    _cleanup_close_ int top = open(place->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(symlinkat("root", top, "a") | symlinkat("outside", top, "b"), 0);
    place->racer = start_racer(top, "a", "b");
    for (int i = 0; i < STARTS; i++) {
        struct error err;
        struct sandbox_child child;
        assert_int_equal(sandbox_spawn(&request, &child, &err), 0);
        if (sandbox_set_up(&child, &err) < 0)
            fail_msg("%s", err.message);
        assert_false(covers_another(child.pid, place));
        sandbox_abandon(&child);
    }
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_exchanged_targets),
        CASE(test_exchanged_masks),
        CASE(test_exchanged_sys),
        CASE(test_exchanged_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
