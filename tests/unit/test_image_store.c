/* link: image */
/* The index and the reader, on stores written by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/image/index.h"

#define A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B32 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ONE A32 A32
#define TWO A32 B32
#define LOW B32 B32
#define TOP B32 A32

static void write_file(const char *top, const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", top, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make_store(void **state)
{
    static const char *const directories[] = { "blobs", "blobs/sha256", "layers", "index" };
    static char top[64];
    (void)snprintf(top, sizeof top, "/tmp/hybrid-unit-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s", top, directories[i]);
        if (mkdir(path, 0700) < 0)
            return -1;
    }
    write_file(top, "layers/" LOW ".erofs", "");
    write_file(top, "layers/" TOP ".erofs", "");
    write_file(top, "blobs/sha256/" ONE,
               "{\"rootfs\":{\"diff_ids\":[\"sha256:" LOW "\",\"sha256:" TOP "\",\"sha256:" LOW
               "\"]}}");
    write_file(top, "blobs/sha256/" TWO, "{\"rootfs\":{\"diff_ids\":[\"sha256:" ONE "\"]}}");
    write_file(top, "index/docker.io%library%one:latest",
               "{\"reference\":\"docker.io/library/one:latest\",\"manifest\":\"" LOW
               "\",\"config\":\"" ONE "\",\"size\":7,\"created\":\"2024-01-01T00:00:00Z\"}");
    write_file(top, "index/localhost%two:v1",
               "{\"reference\":\"localhost/two:v1\",\"manifest\":\"" TOP "\",\"config\":\"" TWO
               "\",\"size\":8}");
    write_file(top, "index/.new", "an update in progress");
    *state = top;
    return 0;
}

static int remove_store(void **state)
{
    char command[600];
    (void)snprintf(command, sizeof command, "rm -rf %s", (char *)*state);
    return system(command); /* NOLINT(bugprone-command-processor,cert-env33-c) */
}

static void test_open(void **state)
{
    struct store_image image;
    struct error err = { 0 };
    static const char *const names[] = {
        "one",         "one:latest", "docker.io/library/one", "one@sha256:" LOW, ONE,
        "sha256:" ONE, A32 "aaaa"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (store_open_image(*state, names[i], &image, &err) < 0)
            fail_msg("%s: %s", names[i], err.message);
        assert_string_equal(image.reference, "docker.io/library/one:latest");
        assert_string_equal(image.id, ONE);
        assert_string_equal(image.manifest, LOW);
        assert_non_null(image.config);
        /* A layer that comes twice counts where it is topmost. */
        assert_int_equal(image.layer_count, 2);
        assert_string_equal(image.layer_ids[0], TOP);
        assert_string_equal(image.layer_ids[1], LOW);
        assert_non_null(strstr(image.layer_files[1], "/layers/" LOW ".erofs"));
        store_image_free(&image);
    }
}

static void test_open_refuses(void **state)
{
    static const struct {
        const char *name, *word;
    } rows[] = {
        { "absent", "no such image: absent" },
        { "one:other", "no such image" },
        { "one@sha256:" TOP, "no such image" },
        { A32, "ambiguous" },
        { "aaa", "no such image" },           /* too short for an id */
        { "two:v1", "load the image again" }, /* its layer's file is missing */
        { "Bad", "invalid image reference" },
        { "a\x1b", "\\x1b" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct store_image image;
        struct error err = { 0 };
        assert_int_equal(store_open_image(*state, rows[i].name, &image, &err), -1);
        assert_int_equal(err.exit_code, EXIT_OURS);
        if (!strstr(err.message, rows[i].word))
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].name, err.message, rows[i].word);
    }
}

static void test_find(void **state)
{
    struct index_entry entry;
    struct error err = { 0 };
    bool exact;
    assert_int_equal(index_find(*state, "two:v1", &entry, &exact, &err), 1);
    assert_string_equal(entry.reference, "localhost/two:v1");
    assert_true(exact);
    assert_int_equal(entry.size, 8);
    assert_null(entry.created);
    index_entry_free(&entry);
    assert_int_equal(index_find(*state, A32 "b", &entry, &exact, &err), 1);
    assert_false(exact);
    index_entry_free(&entry);
}

static void test_list(void **state)
{
    struct index_list list;
    struct error err = { 0 };
    write_file(*state, "index/@" LOW,
               "{\"manifest\":\"" LOW "\",\"config\":\"" ONE "\",\"size\":1}");
    assert_int_equal(index_list(*state, &list, &err), 0);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.entries[0].reference, "docker.io/library/one:latest");
    assert_string_equal(list.entries[1].reference, "localhost/two:v1");
    assert_null(list.entries[2].reference);
    index_list_free(&list);
    assert_int_equal(index_list("/nonexistent", &list, &err), 0);
    assert_int_equal(list.count, 0);
}

static void test_damaged(void **state)
{
    struct index_list list;
    struct error err = { 0 };
    write_file(*state, "index/docker.io%library%bad:latest", "{\"manifest\":\"../x\"}");
    assert_int_equal(index_list(*state, &list, &err), -1);
    assert_non_null(strstr(err.message, "damaged"));
    struct index_entry entry;
    assert_int_equal(index_find(*state, "one", &entry, NULL, &err), 1); /* the others work on */
    index_entry_free(&entry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_open_refuses, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_find, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_list, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_damaged, make_store, remove_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
