/* Reading directories: every descriptor is closed again, also where the stream cannot be made. */
/* link: cgroup sandbox plan state program */
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "directory.h"
#include "runtime/cgroup/hierarchy.h"
#include "runtime/sandbox/context.h"
#include "runtime/state/tree.h"

enum { DESCRIPTORS = 64 };

static bool fails;

/* In place of the C library's, whose memory does not run out when it should. */
DIR *fdopendir(int fd)
{
    DIR *(*real)(int) = (DIR * (*)(int)) dlsym(RTLD_NEXT, "fdopendir");
    errno = ENOMEM;
    return fails ? NULL : real(fd);
}

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

struct place {
    char path[64], inner[80];
    int fd;
};

static void make_place(struct place *place)
{
    (void)snprintf(place->path, sizeof place->path, "/tmp/hybrid-test-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    (void)snprintf(place->inner, sizeof place->inner, "%s/inner", place->path);
    assert_int_equal(mkdir(place->inner, 0700), 0);
    place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(place->fd >= 0);
}

static void remove_place(struct place *place)
{
    assert_int_equal(close(place->fd), 0);
    assert_int_equal(rmdir(place->inner), 0);
    assert_int_equal(rmdir(place->path), 0);
}

static void test_entries(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    DIR *directory = directory_open(place.fd, ".");
    assert_non_null(directory);
    assert_string_equal(directory_next(directory)->d_name, "inner");
    assert_null(directory_next(directory));
    assert_int_equal(errno, 0);
    assert_int_equal(closedir(directory), 0);
    assert_null(directory_open(place.fd, "none"));
    assert_int_equal(errno, ENOENT);
    assert_int_equal(symlinkat("inner", place.fd, "link"), 0);
    assert_null(directory_open(place.fd, "link"));
    assert_int_equal(errno, ENOTDIR);
    assert_int_equal(unlinkat(place.fd, "link", 0), 0);
    remove_place(&place);
}

/* Whoever gave the descriptor keeps it where no stream was made of it, and only there. */
static void test_taking(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    int fd = dup(place.fd);
    fails = true;
    assert_null(directory_take(&fd));
    fails = false;
    assert_true(fd >= 0 && fcntl(fd, F_GETFD) >= 0);
    DIR *directory = directory_take(&fd);
    assert_non_null(directory);
    assert_int_equal(fd, -1);
    assert_int_equal(closedir(directory), 0);
    remove_place(&place);
}

static void open_one(const struct place *place)
{
    assert_null(directory_open(place->fd, "."));
    assert_int_equal(errno, ENOMEM);
}

static void copy(const struct place *place)
{
    assert_int_equal(directory_copy_up(place->fd, place->fd), -1);
}

static void look_for_processes(const struct place *place)
{
    assert_false(cgroup_tree_is_populated(place->fd));
}

static void signal_processes(const struct place *place)
{
    cgroup_signal_tree(place->fd, SIGCONT);
}

static void remove_tree(const struct place *place)
{
    struct error err;
    assert_int_equal(tree_remove(place->path, &err), -1);
}

static void test_no_memory(void **state)
{
    static void (*const readers[])(const struct place *) = { open_one, copy, look_for_processes,
                                                             signal_processes, remove_tree };
    (void)state;
    struct place place;
    make_place(&place);
    int before = count_descriptors();
    fails = true;
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        readers[i](&place);
        assert_int_equal(count_descriptors(), before);
    }
    fails = false;
    remove_place(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_taking),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
