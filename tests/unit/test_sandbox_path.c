/* Paths inside an untrusted root: what is resolved, made and refused. */
/* link: sandbox program */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "runtime/sandbox/path.h"

/* A directory `outside` beside the root, which nothing may reach. */
struct place {
    char top[64];
    int root_fd;
    int top_fd;
};

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    strcpy(place->top, "/tmp/hybrid-path-XXXXXX");
    if (!place || !mkdtemp(place->top))
        return -1;
    place->top_fd = open(place->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)mkdirat(place->top_fd, "root", 0755);
    (void)mkdirat(place->top_fd, "outside", 0755);
    place->root_fd = openat(place->top_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = place;
    return place->root_fd < 0 ? -1 : 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", place->top);
    int result = system(command); /* NOLINT(cert-env33-c): of names of our own */
    (void)close(place->root_fd);
    (void)close(place->top_fd);
    free(place);
    return result;
}

static bool is_empty(const struct place *place, const char *name)
{
    return unlinkat(place->top_fd, name, AT_REMOVEDIR) == 0 &&
           mkdirat(place->top_fd, name, 0755) == 0;
}

static void test_makes_directories(void **state)
{
    struct place *place = *state;
    struct error err = { 0 };
    _cleanup_close_ int made = path_make_directory(place->root_fd, "/a/b/./c", &err);
    assert_true(made >= 0);
    struct stat status, expected;
    assert_int_equal(fstat(made, &status), 0);
    assert_int_equal(fstatat(place->root_fd, "a/b/c", &expected, 0), 0);
    assert_int_equal(status.st_ino, expected.st_ino);
}

static void test_links_stay_inside(void **state)
{
    struct place *place = *state;
    struct error err = { 0 };
    static const char *const targets[] = { "../outside", "../../../../outside", "/outside" };
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        assert_int_equal(symlinkat(targets[i], place->root_fd, "link"), 0);
        assert_int_equal(mkdirat(place->root_fd, "outside", 0755), 0);
        _cleanup_close_ int made = path_make_directory(place->root_fd, "/link/made", &err);
        assert_true(made >= 0);
        /* The link means the root's own directory of that name. */
        assert_int_equal(faccessat(place->root_fd, "outside/made", F_OK, 0), 0);
        assert_true(is_empty(place, "outside"));
        assert_int_equal(unlinkat(place->root_fd, "outside/made", AT_REMOVEDIR), 0);
        assert_int_equal(unlinkat(place->root_fd, "outside", AT_REMOVEDIR), 0);
        assert_int_equal(unlinkat(place->root_fd, "link", 0), 0);
    }
}

/* What it means is made, in the root: as wherever else a link leads. */
static void test_dangling_links(void **state)
{
    static const struct {
        const char *link, *target, *path, *made;
    } cases[] = {
        { "absolute", "/nowhere", "/absolute/made", "nowhere/made" },
        { "up", "../../outside/x", "/up", "outside/x" },
        { "second", "absolute2", "/second/a/b", "there/a/b" },
    };
    struct place *place = *state;
    struct error err = { 0 };
    assert_int_equal(symlinkat("there", place->root_fd, "absolute2"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(symlinkat(cases[i].target, place->root_fd, cases[i].link), 0);
        _cleanup_close_ int made = path_make_directory(place->root_fd, cases[i].path, &err);
        assert_true(made >= 0);
        assert_int_equal(faccessat(place->root_fd, cases[i].made, F_OK, AT_SYMLINK_NOFOLLOW), 0);
    }
    assert_true(is_empty(place, "outside"));
    assert_int_equal(symlinkat("loop", place->root_fd, "loop"), 0);
    assert_int_equal(path_make_directory(place->root_fd, "/loop/made", &err), -1);
    assert_int_equal(err.exit_code, EXIT_OURS);
    assert_non_null(strstr(err.message, "/loop/made"));
}

static void test_nothing_is_made_above_the_root(void **state)
{
    struct place *place = *state;
    struct error err = { 0 };
    assert_int_equal(path_make_directory(place->root_fd, "/new/../../../escaped", &err), -1);
    assert_int_equal(faccessat(place->top_fd, "escaped", F_OK, 0), -1);
    _cleanup_close_ int fd = path_open(place->root_fd, "../outside", O_PATH);
    assert_int_equal(fd, -1);
}

static void test_magic_links_are_refused(void **state)
{
    struct place *place = *state;
    /* As CVE-2024-21626: a path through a descriptor that the caller leaked. */
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", place->top_fd);
    _cleanup_close_ int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct error err = { 0 };
    assert_int_equal(path_make_directory(host, path, &err), -1);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(path_open(host, path, O_PATH), -1);
    assert_int_equal(errno, ELOOP);
}

static void test_real_directories(void **state)
{
    struct place *place = *state;
    struct error err = { 0 };
    assert_int_equal(mkdirat(place->root_fd, "elsewhere", 0755), 0);
    assert_int_equal(symlinkat("elsewhere", place->root_fd, "proc"), 0);
    assert_int_equal(path_make_real_directory(place->root_fd, "/proc", &err), -1);
    assert_non_null(strstr(err.message, "real directory"));
    int file = openat(place->root_fd, "sys", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    (void)close(file);
    assert_int_equal(path_make_real_directory(place->root_fd, "/sys", &err), -1);
    _cleanup_close_ int made = path_make_real_directory(place->root_fd, "/dev", &err);
    assert_true(made >= 0);
}

static void test_files(void **state)
{
    struct place *place = *state;
    struct error err = { 0 };
    _cleanup_close_ int made = path_make_file(place->root_fd, "/etc/hosts", &err);
    assert_true(made >= 0);
    _cleanup_close_ int again = path_make_file(place->root_fd, "/etc/hosts", &err);
    assert_true(again >= 0);
    assert_int_equal(path_make_file(place->root_fd, "/etc", &err), -1);
    assert_non_null(strstr(err.message, "directory"));
    /* A link to a file outside: it is made in the root. */
    assert_int_equal(symlinkat("../outside/file", place->root_fd, "link"), 0);
    _cleanup_close_ int linked = path_make_file(place->root_fd, "/link", &err);
    assert_true(linked >= 0);
    assert_int_equal(faccessat(place->root_fd, "outside/file", F_OK, 0), 0);
    assert_true(is_empty(place, "outside"));
}

static void test_parents(void **state)
{
    struct place *place = *state;
    static const char *const bad[] = { "/", "/a/", "/a/..", "/a/.", "" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = { 0 };
        const char *leaf;
        assert_int_equal(path_make_parent(place->root_fd, bad[i], &leaf, &err), -1);
    }
    struct error err = { 0 };
    const char *leaf;
    _cleanup_close_ int parent = path_make_parent(place->root_fd, "/dev/x/null", &leaf, &err);
    assert_true(parent >= 0);
    assert_string_equal(leaf, "null");
}

static void test_beneath(void **state)
{
    struct place *place = *state;
    assert_int_equal(symlinkat("outside", place->top_fd, "link"), 0);
    assert_int_equal(path_open_beneath(place->root_fd, "../outside", O_PATH), -1);
    assert_int_equal(path_open_beneath(place->root_fd, "/etc", O_PATH), -1);
    assert_int_equal(path_open_beneath(place->top_fd, "link", O_PATH), -1);
    _cleanup_close_ int fd = path_open_beneath(place->top_fd, "outside", O_PATH);
    assert_true(fd >= 0);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_makes_directories),
        CASE(test_links_stay_inside),
        CASE(test_dangling_links),
        CASE(test_nothing_is_made_above_the_root),
        CASE(test_magic_links_are_refused),
        CASE(test_real_directories),
        CASE(test_files),
        CASE(test_parents),
        CASE(test_beneath),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
