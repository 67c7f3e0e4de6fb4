/* link: helper image plan */
/* What confines hybrid-image: Landlock's places, and the table of system calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/image/helper/confine.h"

enum { LANDLOCK_CREATE_RULESET = 444, NO_RENAMING = 2 };

static bool opens(int dir_fd, const char *path, int flags)
{
    int fd = openat(dir_fd, path, flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

/* In a child: the number of what is not as it should be, or 0. */
static int live_confined(int inside_fd, int outside_fd)
{
    struct error err = { 0 };
    const struct landlock_place places[] = {
        { .access = LANDLOCK_CHANGE, .fd = inside_fd },
        { .access = LANDLOCK_READ, .path = "/etc" },
        { .access = LANDLOCK_EXECUTE, .path = "/no/such/place" },
    };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        landlock_enter(places, sizeof places / sizeof *places, false, &err) < 0)
        return 1;
    if (!opens(inside_fd, "file", O_WRONLY | O_CREAT) || mkdirat(inside_fd, "d", 0700) < 0 ||
        renameat(inside_fd, "file", inside_fd, "d/file") < 0 ||
        unlinkat(inside_fd, "d/file", 0) < 0 || unlinkat(inside_fd, "d", AT_REMOVEDIR) < 0)
        return 2;
    if (!opens(AT_FDCWD, "/etc/passwd", O_RDONLY) || opens(AT_FDCWD, "/etc/passwd", O_WRONLY))
        return 3;
    if (opens(outside_fd, "there", O_RDONLY) || opens(outside_fd, "new", O_WRONLY | O_CREAT) ||
        errno != EACCES || mkdirat(outside_fd, "d", 0700) == 0 ||
        unlinkat(outside_fd, "there", 0) == 0)
        return 4;
    return 0;
}

static void test_places(void **state)
{
    int status = 0;
    char inside[] = "/tmp/confine-XXXXXX";
    char outside[] = "/tmp/confine-XXXXXX";
    (void)state;
    if (syscall(LANDLOCK_CREATE_RULESET, NULL, 0, 1) < NO_RENAMING)
        skip();
    assert_true(mkdtemp(inside) && mkdtemp(outside));
    int inside_fd = open(inside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int outside_fd = open(outside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(opens(outside_fd, "there", O_WRONLY | O_CREAT));
    pid_t child = fork();
    if (child == 0)
        _exit(live_confined(inside_fd, outside_fd));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(unlinkat(outside_fd, "there", 0), 0);
    assert_int_equal(rmdir(outside), 0);
    assert_int_equal(rmdir(inside), 0);
    (void)close(inside_fd);
    (void)close(outside_fd);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static bool is_same(const struct confine_call *a, const struct confine_call *b)
{
    return (a->kinds & b->kinds) && a->call == b->call && a->condition == b->condition &&
           a->argument == b->argument && a->value == b->value;
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < confine_call_count; i++) {
        const struct confine_call *call = &confine_calls[i];
        if (seccomp_syscall_resolve_name(call->name) != call->call || !*call->reason)
            fail_msg("%s: another number, or no reason", call->name);
        for (size_t n = 0; n < i; n++)
            if (is_same(call, &confine_calls[n]))
                fail_msg("%s stands there twice", call->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_places),
                                        cmocka_unit_test(test_table) };
    return cmocka_run_group_tests_name("image_confine", tests, NULL, NULL);
}
