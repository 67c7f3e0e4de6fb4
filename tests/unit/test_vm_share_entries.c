/* Shares that come and go while their server, in its jail, serves: what it can do there. */
/* link: vm sandbox cgroup program */
#include "include/wire_io.h"
#include "runtime/vm/share_jail.h"
#include "runtime/vm/shares.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What the jailed process is asked to do, by a number; it answers with 0 or the errno. */
static const struct attempt {
    const char *path;
    int flags;
} ATTEMPTS[] = {
    { "/7/file", O_RDONLY },
    { "/7/new", O_WRONLY | O_CREAT },
    { "/8", O_RDONLY },
    { "/8", O_WRONLY },
    { "/made", O_WRONLY | O_CREAT },
    { "", 0 }, /* no file: its input is changed */
};

enum { ATTEMPT_COUNT = sizeof ATTEMPTS / sizeof ATTEMPTS[0] };

struct fixture {
    char directory[40];
    struct share_server server;
    int ask, answer;
};

/* Only calls of the jail's filter, and no errno of a library's. */
__attribute__((noreturn)) static void serve(const char *place, int ask, int answer)
{
    unsigned char number;
    struct share_jail jail = { .place = place };
    if (dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO) < 0 ||
        unshare(CLONE_NEWNS) < 0 || share_jail_close(&jail) < 0 ||
        syscall(SYS_chroot, SHARE_JAIL_DIRECTORY) < 0 || syscall(SYS_chdir, "/") < 0)
        _exit(1);
    while (syscall(SYS_read, ask, &number, 1L) == 1) {
        const struct attempt *attempt = &ATTEMPTS[number];
        long fd = *attempt->path ? syscall(SYS_openat, (long)AT_FDCWD, attempt->path,
                                           (long)attempt->flags, 0644L)
                                 : syscall(SYS_fchmod, (long)STDIN_FILENO, 0666L);
        number = fd < 0 ? (unsigned char)errno : 0;
        (void)syscall(SYS_write, answer, &number, 1L); /* what it has opened stays open */
    }
    (void)syscall(SYS_exit_group, 0L);
    __builtin_unreachable();
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    int questions[2], answers[2];
    (void)snprintf(f->directory, sizeof f->directory, "/tmp/share-entries-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    assert_int_equal(chdir(f->directory), 0);
    assert_int_equal(mkdir("place", 0700) | mkdir("data", 0755), 0);
    assert_int_equal(mknod("data/file", S_IFREG | 0644, 0) | mknod("single", S_IFREG | 0644, 0), 0);
    assert_int_equal(pipe2(questions, O_CLOEXEC) | pipe2(answers, O_CLOEXEC), 0);
    f->server = (struct share_server){ .process.pidfd = -1, .log_fd = -1 };
    char place[64];
    (void)snprintf(place, sizeof place, "%s/place", f->directory);
    f->server.process.pid = fork();
    if (f->server.process.pid == 0)
        serve(place, questions[0], answers[1]);
    f->server.process.pidfd = (int)syscall(SYS_pidfd_open, f->server.process.pid, 0);
    (void)close(questions[0]);
    (void)close(answers[1]);
    f->ask = questions[1];
    f->answer = answers[0];
    *state = f;
    return f->server.process.pidfd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    (void)close(f->ask);
    (void)close(f->answer);
    share_server_stop(&f->server);
    (void)unlink("data/new");
    (void)unlink("data/file");
    (void)unlink("single");
    (void)rmdir("data");
    (void)rmdir("place");
    (void)chdir("/");
    (void)rmdir(f->directory);
    free(f);
    return 0;
}

static int attempt(const struct fixture *f, int flags, const char *path)
{
    unsigned char number = 0;
    while (strcmp(ATTEMPTS[number].path, path) != 0 || ATTEMPTS[number].flags != flags)
        assert_true(++number < ATTEMPT_COUNT);
    assert_int_equal(write(f->ask, &number, 1), 1);
    assert_int_equal(read(f->answer, &number, 1), 1); /* or it could not enter its jail */
    return number;
}

static int clone_of(const char *path, bool read_only)
{
    struct error err = { 0 };
    const struct share share = { .path = (char *)path, .read_only = read_only };
    int fd = share_clone(&share, &err);
    if (fd < 0)
        fail_msg("%s", err.message);
    return fd;
}

static void add_two(const struct fixture *f)
{
    char data[64], single[64];
    struct error err = { 0 };
    (void)snprintf(data, sizeof data, "%s/data", f->directory);
    (void)snprintf(single, sizeof single, "%s/single", f->directory);
    const int mounts[] = { clone_of(data, false), clone_of(single, true) };
    if (share_server_add(&f->server, 7, mounts, 2, &err) < 0)
        fail_msg("%s", err.message);
    (void)close(mounts[0]);
    (void)close(mounts[1]);
}

static void test_entries(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    struct share_mounts mounts;
    assert_int_equal(attempt(f, O_RDONLY, "/7/file"), ENOENT);
    add_two(f);
    assert_int_equal(attempt(f, O_RDONLY, "/7/file"), 0);
    assert_int_equal(attempt(f, O_WRONLY | O_CREAT, "/7/new"), 0);
    assert_int_equal(access("data/new", F_OK), 0);
    assert_int_equal(attempt(f, O_RDONLY, "/8"), 0);
    assert_int_equal(attempt(f, O_WRONLY, "/8"), EROFS);
    assert_int_equal(attempt(f, O_WRONLY | O_CREAT, "/made"), EROFS); /* no entry of its own */
    assert_int_equal(attempt(f, 0, ""), EROFS);                       /* nor the host's /dev/null */
    /* A number is given once. */
    const int again = clone_of("/tmp", false);
    assert_int_equal(share_server_add(&f->server, 7, &again, 1, &err), -1);
    (void)close(again);

    assert_int_equal(share_mounts_list(&f->server, 7, 2, &mounts), 0);
    assert_int_equal(mounts.count, 2);
    assert_int_equal(share_server_remove(&f->server, 7, 3, &err), 0); /* 9 never was */
    assert_int_equal(attempt(f, O_RDONLY, "/7/file"), ENOENT);
    assert_int_equal(attempt(f, O_RDONLY, "/8"), ENOENT);
    /* What it opened it still has: its guest has not forgotten it. */
    assert_false(share_mounts_await_release(&mounts, 20));
    (void)kill(f->server.process.pid, SIGKILL);
    assert_true(share_mounts_await_release(&mounts, 5000));
    share_mounts_free(&mounts);
}

static int64_t time_release(const int *id, int milliseconds, bool released)
{
    const struct share_mounts mounts = { .pid = getpid(), .ids = (int *)id, .count = 1 };
    int64_t start = wire_clock_milliseconds();
    assert_int_equal(share_mounts_await_release(&mounts, milliseconds), released);
    return wire_clock_milliseconds() - start;
}

/* A guest can have its server hold so much that one look takes longer than the wait is to take. */
static void test_release_of_much(void **state)
{
    (void)state;
    struct rlimit limit;
    struct statx status;
    const int nobodys = -2;
    enum { PATIENCE = 50 };
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int first = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    for (rlim_t i = 100; i < 15000 && i < limit.rlim_cur; i++)
        assert_true(fcntl(first, F_DUPFD_CLOEXEC, first) >= 0);
    int held = open("/", O_PATH | O_CLOEXEC); /* the last to be looked at */
    assert_int_equal(statx(held, "", AT_EMPTY_PATH, STATX_MNT_ID, &status), 0);
    const int mount = (int)status.stx_mnt_id;
    int64_t look = time_release(&nobodys, 60000, true), best = INT64_MAX;
    /* Were pauses counted, of 5 ms each, it would take ten looks. */
    for (int i = 0; i < 3; i++) {
        int64_t taken = time_release(&mount, PATIENCE, false);
        best = taken < best ? taken : best;
    }
    (void)close_range((unsigned int)first, ~0U, 0);
    if (best > PATIENCE + look)
        fail_msg("waited %d ms, where one look takes %d ms", (int)best, (int)look);
}

/* With so many processes of a user who has no others: 0, or what is wrong. */
static int hold_with_limit(rlim_t processes, int expected)
{
    int ids[] = { 1 }, pair[2];
    char end;
    const struct rlimit limit = { processes, processes };
    const struct share_mounts mounts = { .pid = getpid(), .ids = ids, .count = 1 };
    if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0 || setrlimit(RLIMIT_NPROC, &limit) < 0 ||
        setuid(1900000000 + (uid_t)getpid()) < 0)
        return 1;
    int result = share_mounts_hold_until_release(&mounts, 1000, pair[1]);
    if (result != expected || (result < 0 && errno != EAGAIN))
        return 2;
    (void)close(pair[1]);
    struct pollfd hung_up = { .fd = pair[0] };
    return poll(&hung_up, 1, 10000) == 1 && read(pair[0], &end, 1) == 0 ? 0 : 3;
}

/* Whoever is told of the release by the descriptor is not told at once for want of a process. */
static void test_release_without_processes(void **state)
{
    (void)state;
    static const struct {
        rlim_t processes;
        int expected;
    } LIMITS[] = { { 1, -1 }, { 2, -1 }, { 3, 0 } };
    for (size_t i = 0; i < sizeof LIMITS / sizeof LIMITS[0]; i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            _exit(hold_with_limit(LIMITS[i].processes, LIMITS[i].expected));
        assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    if (geteuid() != 0) {
        (void)fprintf(stderr, "SKIP: needs root\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_entries, set_up, tear_down),
        cmocka_unit_test(test_release_of_much),
        cmocka_unit_test(test_release_without_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
