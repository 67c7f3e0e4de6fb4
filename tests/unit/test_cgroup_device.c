/* Devices for hybrid itself, in cgroups whose rules deny them: real ones, where this host has any.
 */
/* link: container cgroup sandbox plan state program */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "runtime/cgroup/hierarchy.h"
#include "runtime/container/loop.h"

static const struct plan_device_rule nothing_at_all = {
    .type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true
};

/* A cgroup of one hierarchy that denies all devices. */
struct place {
    int root;
    int fd;
    char name[32];
};

static int open_devices_v1(void)
{
    char options[CGROUP_OPTIONS_SIZE];
    int root;
    for (size_t n = 0; (root = hierarchy_open_v1(n, options)) != -2; n++) {
        if (root >= 0 && hierarchy_has(options, "devices"))
            return root;
        cleanup_close(&root);
    }
    return -1;
}

static void begin(struct place *place, bool v2)
{
    struct error err;
    place->root = v2 ? hierarchy_open_any_v2() : open_devices_v1();
    (void)snprintf(place->name, sizeof place->name, "hybrid-unit-%d", (int)getpid());
    if (place->root < 0 || mkdirat(place->root, place->name, 0700) < 0) {
        cleanup_close(&place->root);
        print_message("SKIP: no cgroup %s in which this user may make one\n", v2 ? "v2" : "v1");
        skip();
    }
    place->fd = openat(place->root, place->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(place->fd >= 0);
    int applied = (v2 ? devices_apply_v2 : devices_apply_v1)(place->fd, &nothing_at_all, 1, &err);
    if (applied < 0) {
        print_message("SKIP: %s\n", err.message);
        (void)unlinkat(place->root, place->name, AT_REMOVEDIR);
        skip();
    }
}

static void end(struct place *place)
{
    assert_int_equal(unlinkat(place->root, place->name, AT_REMOVEDIR), 0);
    (void)close(place->fd);
    (void)close(place->root);
}

/* In a child that is in that cgroup: the status that says what is wrong, 0 if nothing is. */
static int run_inside(const struct place *place, int (*judge)(void))
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(cgroup_write_file(place->fd, "cgroup.procs", "0") < 0 ? 100 : judge());
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool is_denied(void)
{
    int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    cleanup_close(&fd);
    return fd < 0 && errno == EPERM;
}

static size_t count_descriptors(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static int judge_root(void)
{
    struct stat status;
    if (!is_denied())
        return 1;
    size_t before = count_descriptors();
    (void)signal(SIGCHLD, SIG_IGN);
    int fd = cgroup_open_device("/dev/full", O_RDWR | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &status) < 0 || status.st_rdev != makedev(1, 7))
        return 2;
    if (fcntl(fd, F_GETFD) != FD_CLOEXEC || fcntl(fd, F_GETFL) != (O_RDWR | O_NONBLOCK | 0100000))
        return 3;
    if (write(fd, "", 1) != -1 || errno != ENOSPC || count_descriptors() != before + 1)
        return 4;
    if (cgroup_open_device("/dev/nosuchdevice", O_RDWR) != -1 || errno != ENOENT)
        return 5;
    return is_denied() ? 0 : 6; /* we ourselves have not moved */
}

/* A loop device, which mount(2) opens itself: what is on it is no file system, but it is read. */
static int judge_loop(void)
{
    struct error err;
    char device[32], name[] = "/tmp/hybrid-unit-XXXXXX";
    _cleanup_close_ int file = mkstemp(name);
    if (file < 0 || ftruncate(file, 1 << 16) < 0)
        return 1;
    _cleanup_close_ int loop = loop_attach(name, device, sizeof device, &err);
    (void)unlink(name);
    if (loop < 0)
        return 2;
    if (open(device, O_RDONLY | O_CLOEXEC) != -1 || errno != EPERM)
        return 3;
    if (mount(device, "/tmp", "erofs", MS_RDONLY, NULL) != -1 || errno != EPERM)
        return 4;
    return cgroup_mount_device(device, "/tmp", "erofs", MS_RDONLY) == -1 && errno != EPERM ? 0 : 5;
}

/* Whoever may not move a process to the root gets what the kernel said at first. */
static int judge_others(void)
{
    if (setgid(65534) < 0 || setuid(65534) < 0)
        return 1;
    if (!is_denied())
        return 2;
    size_t before = count_descriptors();
    int fd = cgroup_open_device("/dev/full", O_RDWR);
    return fd == -1 && errno == EPERM && count_descriptors() == before ? 0 : 3;
}

static void check(bool v2, int (*judge)(void))
{
    struct place place;
    begin(&place, v2);
    int found = run_inside(&place, judge);
    end(&place);
    assert_int_equal(found, 0);
}

static void opens_what_v1_denies(void **state)
{
    (void)state;
    check(false, judge_root);
}

static void opens_what_v2_denies(void **state)
{
    (void)state;
    check(true, judge_root);
}

static void need_loops(void)
{
    if (access("/dev/loop-control", F_OK) == 0)
        return;
    print_message("SKIP: this host has no loop devices\n");
    skip();
}

static void mounts_what_v1_denies(void **state)
{
    (void)state;
    need_loops();
    check(false, judge_loop);
}

static void mounts_what_v2_denies(void **state)
{
    (void)state;
    need_loops();
    check(true, judge_loop);
}

static void opens_nothing_for_others_on_v1(void **state)
{
    (void)state;
    check(false, judge_others);
}

static void opens_nothing_for_others_on_v2(void **state)
{
    (void)state;
    check(true, judge_others);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_v1_denies),
        cmocka_unit_test(opens_what_v2_denies),
        cmocka_unit_test(mounts_what_v1_denies),
        cmocka_unit_test(mounts_what_v2_denies),
        cmocka_unit_test(opens_nothing_for_others_on_v1),
        cmocka_unit_test(opens_nothing_for_others_on_v2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
