/* Users and groups of an image: strict parsing of files that the image's author wrote. */
/* link: sandbox program */
#include <fcntl.h>
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
#include "runtime/sandbox/passwd.h"

static const char passwd_text[] = "root:x:0:0:root:/root:/bin/sh\n"
                                  "broken line\n"
                                  "short:x:5\n"
                                  "negative:x:-1:0::/:\n"
                                  "trailing:x:7z:0::/:\n"
                                  "huge:x:4294967295:0::/:\n"
                                  "eight:x:1:2:a:/:sh:more\n"
                                  "app:x:1000:1001:App:/home/app:/bin/sh\n"
                                  "second:x:1000:1002::/home/second:/bin/sh\n"
                                  "last:x:33:33:::";
static const char group_text[] = "root:x:0:\n"
                                 "wheel:x:10:root,app\n"
                                 "bad:x:nine:app\n"
                                 "audio:x:29:other,app\n"
                                 "apple:x:30:apple\n"
                                 "app:x:1001:\n";

struct place {
    char top[64];
    int fd;
};

static void write_text(const struct place *place, const char *path, const char *text)
{
    _cleanup_close_ int fd =
        openat(place->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    strcpy(place->top, "/tmp/hybrid-passwd-XXXXXX");
    if (!mkdtemp(place->top))
        return -1;
    place->fd = open(place->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)mkdirat(place->fd, "etc", 0755);
    write_text(place, "etc/passwd", passwd_text);
    write_text(place, "etc/group", group_text);
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

static void test_ids(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
        uint32_t id;
    } table[] = {
        { "0", 0, 0 },
        { "1000", 0, 1000 },
        { "4294967294", 0, 4294967294U },
        { "4294967295", -1, 0 }, /* (uid_t)-1: "leave unchanged" to the kernel */
        { "4294967296", -1, 0 },
        { "18446744073709551616", -1, 0 },
        { "", -1, 0 },
        { " 1", -1, 0 },
        { "1 ", -1, 0 },
        { "+1", -1, 0 },
        { "-1", -1, 0 },
        { "0x10", -1, 0 },
        { "1000x", -1, 0 },
        { "1000\n", -1, 0 },
        { "1e3", -1, 0 },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint32_t id = 0;
        assert_int_equal(id_parse(table[i].text, &id), table[i].result);
        assert_int_equal(id, table[i].id);
    }
}

static void test_users(void **state)
{
    struct place *place = *state;
    static const struct {
        const char *name;
        uid_t number; /* if name is NULL */
        bool found;
        uid_t uid;
        gid_t gid;
        const char *home;
    } table[] = {
        { "root", 0, true, 0, 0, "/root" },
        { "app", 0, true, 1000, 1001, "/home/app" },
        { "last", 0, true, 33, 33, "" },
        { NULL, 1000, true, 1000, 1001, "/home/app" }, /* the first of two */
        { NULL, 77, false, 0, 0, "" },
        { "nobody", 0, false, 0, 0, "" },
        { "broken line", 0, false, 0, 0, "" },
        { "short", 0, false, 0, 0, "" },
        { "negative", 0, false, 0, 0, "" },
        { "trailing", 0, false, 0, 0, "" },
        { "huge", 0, false, 0, 0, "" },
        { "eight", 0, false, 0, 0, "" },
        { "", 0, false, 0, 0, "" },
        { "ap", 0, false, 0, 0, "" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct passwd_entry entry;
        struct error err = { 0 };
        assert_int_equal(passwd_find(place->fd, table[i].name, table[i].number, &entry, &err), 0);
        assert_int_equal(entry.found, table[i].found);
        assert_int_equal(entry.uid, table[i].uid);
        assert_int_equal(entry.gid, table[i].gid);
        assert_string_equal(entry.home, table[i].home);
    }
}

static void test_groups(void **state)
{
    struct place *place = *state;
    struct error err = { 0 };
    gid_t gid = 0;
    assert_int_equal(group_find(place->fd, "audio", &gid, &err), 1);
    assert_int_equal(gid, 29);
    assert_int_equal(group_find(place->fd, "bad", &gid, &err), 0);
    gid_t *groups = NULL;
    size_t count = 0;
    assert_int_equal(group_collect(place->fd, "app", &groups, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(groups[0], 10);
    assert_int_equal(groups[1], 29);
    free(groups);
}

static void test_absent_files_have_no_users(void **state)
{
    struct place *place = *state;
    struct passwd_entry entry;
    struct error err = { 0 };
    assert_int_equal(unlinkat(place->fd, "etc/passwd", 0), 0);
    assert_int_equal(passwd_find(place->fd, "root", 0, &entry, &err), 0);
    assert_false(entry.found);
}

/* A FIFO would block, a device would answer for ever, a link may lead anywhere. */
static void test_other_files_are_refused(void **state)
{
    struct place *place = *state;
    struct passwd_entry entry;
    struct error err = { 0 };
    assert_int_equal(unlinkat(place->fd, "etc/passwd", 0), 0);
    assert_int_equal(mkfifoat(place->fd, "etc/passwd", 0644), 0);
    assert_int_equal(passwd_find(place->fd, "root", 0, &entry, &err), -1);
    assert_non_null(strstr(err.message, "not a regular file"));
    assert_int_equal(unlinkat(place->fd, "etc/passwd", 0), 0);
    assert_int_equal(symlinkat("../../../../../../etc/passwd", place->fd, "etc/passwd"), 0);
    assert_int_equal(passwd_find(place->fd, "root", 0, &entry, &err), -1);
    assert_int_equal(unlinkat(place->fd, "etc/passwd", 0), 0);
    write_text(place, "etc/passwd", passwd_text);
    _cleanup_close_ int fd = openat(place->fd, "etc/passwd", O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 5L * 1024 * 1024), 0);
    assert_int_equal(passwd_find(place->fd, "root", 0, &entry, &err), -1);
    assert_non_null(strstr(err.message, "larger"));
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        CASE(test_users),
        CASE(test_groups),
        CASE(test_absent_files_have_no_users),
        CASE(test_other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
