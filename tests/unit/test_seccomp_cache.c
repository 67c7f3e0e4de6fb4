/* The cache of compiled filters: what it returns is what a compilation returns, whatever is on
 * disk. */
/* link: launch plan state */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/launch/seccomp_cache.h"
#include "runtime/plan/compose.h"
#include "runtime/state/tree.h"

struct place {
    char directory[64];
    json_t *profile;
    uint8_t *expected;
    size_t length;
    unsigned int flags;
};

static int make_place(void **context)
{
    struct place *place = calloc(1, sizeof *place);
    struct error err = { 0 };
    if (!place)
        return -1;
    (void)snprintf(place->directory, sizeof place->directory, "/tmp/test-cache-XXXXXX");
    place->profile = json_pack("{s:s, s:[s], s:[{s:[s, s], s:s}]}", "defaultAction",
                               "SCMP_ACT_ALLOW", "architectures", "SCMP_ARCH_X86_64", "syscalls",
                               "names", "mkdir", "mount", "action", "SCMP_ACT_ERRNO");
    *context = place;
    return mkdtemp(place->directory) && place->profile
               ? seccomp_compile(place->profile, &place->expected, &place->length, &place->flags,
                                 &err)
               : -1;
}

static int remove_place(void **context)
{
    struct place *place = *context;
    int result = tree_remove(place->directory, NULL);
    json_decref(place->profile);
    free(place->expected);
    free(place);
    return result;
}

static void expect(const struct place *place, const char *directory)
{
    uint8_t *program = NULL;
    size_t length = 0;
    unsigned int flags = 0;
    struct error err = { 0 };
    assert_int_equal(seccomp_cache_get(directory, place->profile, &program, &length, &flags, &err),
                     0);
    assert_int_equal(length, place->length);
    assert_int_equal(flags, place->flags);
    assert_memory_equal(program, place->expected, length);
    free(program);
}

/* The path of the only file; its number of files is the result. */
static int find_file(const char *directory, char *path, size_t size)
{
    int count = 0;
    DIR *entries = opendir(directory);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, size, "%s/%s", directory, entry->d_name);
        count++;
    }
    (void)closedir(entries);
    return count;
}

static void test_kept(void **context)
{
    const struct place *place = *context;
    char path[400];
    struct stat before, after;
    expect(place, place->directory);
    assert_int_equal(find_file(place->directory, path, sizeof path), 1);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(before.st_mode & 0777, 0600);
    expect(place, place->directory);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino); /* read, not written again */
}

/* Every damage is noticed, and repaired. */
static void test_damaged(void **context)
{
    const struct place *place = *context;
    char path[400];
    expect(place, place->directory);
    assert_int_equal(find_file(place->directory, path, sizeof path), 1);
    struct stat whole, status;
    assert_int_equal(stat(path, &whole), 0);
    for (off_t at = 0; at < whole.st_size; at += 7) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        (void)close(fd);
        expect(place, place->directory);
    }
    for (off_t length = 0; length < whole.st_size; length += 97) {
        assert_int_equal(truncate(path, length), 0);
        expect(place, place->directory);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_size, whole.st_size);
    }
    assert_int_equal(find_file(place->directory, path, sizeof path), 1);
}

static void test_not_usable(void **context)
{
    const struct place *place = *context;
    expect(place, "/nonexistent/directory");
    char path[400], elsewhere[100];
    expect(place, place->directory);
    assert_int_equal(find_file(place->directory, path, sizeof path), 1);
    (void)snprintf(elsewhere, sizeof elsewhere, "%s/.elsewhere", place->directory);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0); /* not followed */
    expect(place, place->directory);
}

static void test_other_profiles(void **context)
{
    struct place *place = *context;
    char path[400];
    uint8_t *program = NULL;
    size_t length = 1;
    unsigned int flags = 0;
    struct error err = { 0 };
    expect(place, place->directory);
    assert_int_equal(
        json_object_set_new(place->profile, "defaultAction", json_string("SCMP_ACT_KILL_PROCESS")),
        0);
    assert_int_equal(
        seccomp_cache_get(place->directory, place->profile, &program, &length, &flags, &err), 0);
    assert_false(length == place->length && memcmp(program, place->expected, length) == 0);
    assert_int_equal(find_file(place->directory, path, sizeof path), 2);
    free(program);
    assert_int_equal(seccomp_cache_get(place->directory, NULL, &program, &length, &flags, &err), 0);
    assert_null(program);
    assert_int_equal(length, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_kept),
        TEST(test_damaged),
        TEST(test_not_usable),
        TEST(test_other_profiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
