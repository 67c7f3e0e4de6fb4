/* link: vm sandbox cgroup program */
/* What a program that the VM back end starts gets, and what it does not. */
#include "cleanup.h"
#include "runtime/vm/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

/* Runs a line of sh; what it writes to its output is in text. Returns its status. */
static int run(const char *line, int namespaces, char *text, size_t size)
{
    char *argv[] = { (char *)"sh", (char *)"-c", (char *)line, NULL };
    int ends[2], fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct error err;
    struct spawned spawned;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct spawn_request request = { .path = "/bin/sh",
                                     .argv = argv,
                                     .fds = &fd,
                                     .fd_count = 1,
                                     .stdout_fd = ends[1],
                                     .stderr_fd = ends[1],
                                     .namespaces = namespaces };
    if (spawn_program(&request, &spawned, &err) < 0)
        fail_msg("%s", err.message);
    (void)close(ends[1]);
    (void)close(fd);
    ssize_t n, have = 0;
    while ((n = read(ends[0], text + have, size - 1 - (size_t)have)) > 0)
        have += n;
    text[have] = '\0';
    (void)close(ends[0]);
    return spawn_wait(&spawned);
}

static void test_descriptors_and_environment(void **state)
{
    (void)state;
    char text[4096];
    int leaked = open("/dev/zero", O_RDONLY); /* as a careless caller leaves it */
    assert_true(leaked >= 0);
    assert_int_equal(setenv("HYBRID_TEST_SECRET", "geheim", 1), 0);
    assert_int_equal(run("/usr/bin/env", 0, text, sizeof text), 0);
    assert_null(strstr(text, "geheim"));
    assert_int_equal(
        run("for f in /proc/$$/fd/*; do readlink $f; done; true", 0, text, sizeof text), 0);
    assert_null(strstr(text, "/dev/zero"));
    assert_non_null(strstr(text, "/dev/null"));
    (void)close(leaked);
}

/* Whoever stops the cgroup that it is in, as systemd does, does not end it before its time. */
static void test_sigterm(void **state)
{
    (void)state;
    char text[64];
    int status =
        run("kill -TERM $$; echo alive; kill -INT $$; sleep 5; echo still", 0, text, sizeof text);
    assert_string_equal(text, "alive\n");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}

static void test_process_one(void **state)
{
    (void)state;
    char text[256];
    if (geteuid() != 0) {
        print_message("SKIP: a pid namespace needs root\n");
        skip();
    }
    assert_int_equal(run("echo $$", CLONE_NEWPID, text, sizeof text), 0);
    assert_string_equal(text, "1\n");
    int status = run("exit 7", CLONE_NEWPID, text, sizeof text);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void test_no_such_program(void **state)
{
    (void)state;
    char *argv[] = { (char *)"nothing", NULL };
    struct error err;
    struct spawned spawned;
    struct spawn_request request = {
        .path = "/nonexistent/nothing", .argv = argv, .stdout_fd = -1, .stderr_fd = -1
    };
    assert_int_equal(spawn_program(&request, &spawned, &err), -1);
    assert_non_null(strstr(err.message, "cannot execute /nonexistent/nothing: No such file"));
    assert_int_equal(spawned.pidfd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptors_and_environment),
        cmocka_unit_test(test_sigterm),
        cmocka_unit_test(test_process_one),
        cmocka_unit_test(test_no_such_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
