/* link: helper image plan */
/* Links tell what goes with an image, and whether they can be relied upon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/image/helper/collect.h"
#include "runtime/image/helper/links.h"
#include "runtime/image/helper/remove.h"
#include "runtime/image/names.h"

#define SIXTEEN(digit)                                                                             \
    digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit
#define HEX(digit)     SIXTEEN(digit) SIXTEEN(digit) SIXTEEN(digit) SIXTEEN(digit)
#define BASE           HEX("b") /* blob and layer that both images have */
#define LAYER(diff_id) "layers/" diff_id ".erofs"
#define BLOB(hex)      "blobs/sha256/" hex

/* Two images: ids 1 and 2, manifests 3 and 4, layers b and 5, b and 6. */
static const struct {
    const char *reference, *config, *manifest, *layer;
} given[] = {
    { "docker.io/library/one:1", HEX("1"), HEX("3"), HEX("5") },
    { "docker.io/library/two:1", HEX("2"), HEX("4"), HEX("6") },
};

struct world {
    char top[64];
    struct store store;
    struct error err;
};

static void write_file(const struct world *world, const char *name, const char *text)
{
    int fd = openat(world->store.fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static bool exists(const struct world *world, const char *name)
{
    return faccessat(world->store.fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static nlink_t links_of(const struct world *world, const char *name)
{
    struct stat status;
    assert_int_equal(fstatat(world->store.fd, name, &status, 0), 0);
    return status.st_nlink;
}

static void write_image(const struct world *world, size_t i)
{
    char name[300];
    char text[1000];
    (void)snprintf(name, sizeof name, "layers/%s.erofs", given[i].layer);
    write_file(world, name, "own layer");
    (void)snprintf(name, sizeof name, "blobs/sha256/%s", given[i].layer);
    write_file(world, name, "own blob");
    (void)snprintf(name, sizeof name, "blobs/sha256/%s", given[i].manifest);
    (void)snprintf(text, sizeof text,
                   "{\"config\":{\"digest\":\"sha256:%s\"},\"layers\":[{\"digest\":\"sha256:" BASE
                   "\"},{\"digest\":\"sha256:%s\"}]}",
                   given[i].config, given[i].layer);
    write_file(world, name, text);
    (void)snprintf(name, sizeof name, "blobs/sha256/%s", given[i].config);
    (void)snprintf(text, sizeof text,
                   "{\"rootfs\":{\"diff_ids\":[\"sha256:" BASE "\",\"sha256:%s\"]}}",
                   given[i].layer);
    write_file(world, name, text);
    (void)snprintf(name, sizeof name, "index/docker.io%%library%%%s",
                   strrchr(given[i].reference, '/') + 1);
    (void)snprintf(text, sizeof text,
                   "{\"reference\":\"%s\",\"manifest\":\"%s\",\"config\":\"%s\",\"size\":1}",
                   given[i].reference, given[i].manifest, given[i].config);
    write_file(world, name, text);
}

/* As an earlier version left it: without links. */
static int make_store(void **state)
{
    static struct world world;
    world = (struct world){ .top = "/tmp/hybrid-unit-XXXXXX" };
    if (!mkdtemp(world.top) || store_open(world.top, &world.store, &world.err) < 0)
        return -1;
    write_file(&world, LAYER(BASE), "shared layer");
    write_file(&world, BLOB(BASE), "shared blob");
    write_image(&world, 0);
    write_image(&world, 1);
    *state = &world;
    return 0;
}

static int remove_store(void **state)
{
    struct world *world = *state;
    store_close(&world->store);
    return tree_remove(AT_FDCWD, world->top);
}

/* Makes the links. Returns the lock. */
static int collect(struct world *world)
{
    int64_t bytes = 0;
    int lock = store_lock(&world->store, &world->err);
    assert_true(lock >= 0);
    if (collect_garbage(&world->store, lock, world->top, &bytes, NULL, &world->err) < 0)
        fail_msg("%s", world->err.message);
    return lock;
}

static struct index_entry entry_of(size_t i)
{
    struct index_entry entry = { .reference = (char *)given[i].reference };
    memcpy(entry.config, given[i].config, sizeof entry.config);
    memcpy(entry.manifest, given[i].manifest, sizeof entry.manifest);
    return entry;
}

/* Returns the bytes that it freed. */
static int64_t release_image(struct world *world, size_t i, const struct users *users)
{
    int64_t bytes = 0;
    const struct index_entry entry = entry_of(i);
    assert_int_equal(links_remove_name(&world->store, &entry, &world->err), 0);
    if (links_remove_image(&world->store, &entry, users, &bytes, &world->err) < 0)
        fail_msg("%s", world->err.message);
    return bytes;
}

static void test_what_goes(void **state)
{
    struct world *world = *state;
    const struct users nobody = { 0 };
    _cleanup_close_ int lock = collect(world);
    (void)lock; /* held to the end */
    assert_int_equal(links_of(world, LAYER(BASE)), 3);
    assert_int_equal(links_of(world, LAYER(HEX("5"))), 2);
    assert_true(exists(world, "images/" HEX("1") "/" HEX("3") "/docker.io%library%one:1"));
    assert_true(release_image(world, 0, &nobody) > (int64_t)strlen("own layer"
                                                                   "own blob"));
    assert_false(exists(world, LAYER(HEX("5"))));
    assert_false(exists(world, BLOB(HEX("5"))));
    assert_false(exists(world, BLOB(HEX("3"))));
    assert_false(exists(world, "images/" HEX("1")));
    assert_int_equal(links_of(world, LAYER(BASE)), 2);
    assert_int_equal(release_image(world, 0, &nobody), 0); /* once more is no harm */
    (void)release_image(world, 1, &nobody);
    assert_false(exists(world, LAYER(BASE)));
    assert_false(exists(world, BLOB(BASE)));
    assert_false(exists(world, "images/" HEX("2")));
}

static void test_what_workloads_keep(void **state)
{
    int64_t bytes = 0;
    struct world *world = *state;
    const struct users nobody = { 0 };
    struct users users = { 0 };
    _cleanup_close_ int lock = collect(world);
    (void)lock; /* held to the end */
    assert_int_equal(marks_add(&users.layers, HEX("5"), &world->err), 0);
    assert_int_equal(marks_add(&users.layers, BASE, &world->err), 0);
    marks_sort(&users.layers);
    (void)release_image(world, 0, &users);
    assert_int_equal(links_of(world, LAYER(HEX("5"))), 2);
    assert_false(exists(world, BLOB(HEX("5"))));
    assert_int_equal(links_remove_kept(&world->store, &users, &bytes, &world->err), 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(links_remove_kept(&world->store, &nobody, &bytes, &world->err), 0);
    assert_int_equal(bytes, strlen("own layer"));
    assert_false(exists(world, LAYER(HEX("5"))));
    assert_int_equal(links_of(world, LAYER(BASE)), 2); /* of the other image */
    assert_false(exists(world, "images/" LINKS_KEPT));
    marks_free(&users.layers);
}

static void test_what_is_held(void **state)
{
    bool swept;
    struct staging staging;
    struct world *world = *state;
    const struct users nobody = { 0 };
    int lock = collect(world);
    cleanup_close(&lock);
    assert_int_equal(staging_begin(&world->store, &staging, &swept, &world->err), 0);
    assert_int_equal(staging_hold(&staging, world->store.layers_fd, HEX("5") ".erofs", &world->err),
                     1);
    assert_int_equal(staging_hold(&staging, world->store.layers_fd, BASE ".erofs", &world->err), 1);
    (void)release_image(world, 0, &nobody);
    assert_true(exists(world, LAYER(HEX("5"))));
    assert_int_equal(links_release_staging(&staging, &world->err), 0);
    assert_false(exists(world, LAYER(HEX("5"))));
    assert_int_equal(links_of(world, LAYER(BASE)), 2);
    assert_int_equal(staging_end(&staging, &world->err), 0);
}

static void test_whether_they_are_right(void **state)
{
    struct world *world = *state;
    const struct store *store = &world->store;
    int first = store_lock(store, &world->err);
    assert_false(links_are_right(store, first)); /* there are none */
    cleanup_close(&first);
    _cleanup_close_ int lock = collect(world);
    (void)lock; /* held to the end */
    assert_true(links_are_right(store, lock));
    assert_true(names_are_kept_in(world->top));
    assert_int_equal(links_begin_change(store, lock, &world->err), 0);
    assert_false(links_are_right(store, lock));
    links_end_change(store, lock);
    assert_true(links_are_right(store, lock));
    (void)usleep(20000); /* as long as the clock of files may stand still */
    write_file(world, "index/docker.io%library%three:1", "{}");
    assert_false(links_are_right(store, lock)); /* who wrote it knows of no links */
    links_end_change(store, lock);
    assert_int_equal(unlinkat(store->images_fd, LINKS_LOCK, 0), 0);
    assert_false(links_are_right(store, lock)); /* a copy */
}

/* Whoever copies or packs a store may give all of it the same times. */
static void test_times_made_alike(void **state)
{
    struct world *world = *state;
    const struct store *store = &world->store;
    const struct timespec alike[][2] = { { { 0 }, { 0 } }, { { .tv_sec = 7 }, { .tv_sec = 7 } } };
    _cleanup_close_ int lock = collect(world);
    (void)lock; /* held to the end */
    for (size_t i = 0; i < sizeof alike / sizeof *alike; i++) {
        links_end_change(store, lock);
        assert_true(links_are_right(store, lock));
        assert_int_equal(futimens(lock, alike[i]), 0);
        assert_int_equal(futimens(store->index_fd, alike[i]), 0);
        assert_false(links_are_right(store, lock));
        assert_false(names_are_kept_in(world->top));
    }
    const struct timespec zero = { 0 };
    struct stat status = { .st_nlink = 2, .st_mtim = zero, .st_ctim = zero };
    assert_false(names_are_kept(&status, &status)); /* a clock that begins with 0 */
}

static void test_image_that_has_a_name(void **state)
{
    int64_t bytes = 0;
    struct world *world = *state;
    const struct users nobody = { 0 };
    const struct index_entry entry = entry_of(0);
    _cleanup_close_ int lock = collect(world);
    (void)lock; /* held to the end */
    assert_int_equal(links_remove_image(&world->store, &entry, &nobody, &bytes, &world->err), -1);
    assert_non_null(strstr(world->err.message, "docker.io%library%one:1 still leads to it"));
    assert_int_equal(bytes, 0);
    assert_int_equal(links_of(world, LAYER(HEX("5"))), 2);
    assert_int_equal(links_of(world, BLOB(HEX("3"))), 2);
    (void)release_image(world, 0, &nobody);
    assert_false(exists(world, LAYER(HEX("5"))));
}

static bool were_touched(struct world *world, const char *id)
{
    struct timespec index;
    assert_int_equal(links_last_change(&world->store, &index, &world->err), 0);
    return links_were_touched(&world->store, &index, id);
}

/* Also where one of them is still there: what else was in the directory nobody knows. */
static void test_name_removed_by_hand(void **state)
{
    static const struct timespec tick = { .tv_nsec = 20000000L };
    struct removed removed = { 0 };
    struct world *world = *state;
    write_file(world, "index/docker.io%library%first:1",
               "{\"reference\":\"docker.io/library/first:1\",\"manifest\":\"" HEX(
                   "3") "\",\"config\":\"" HEX("1") "\",\"size\":1}");
    int lock = collect(world);
    assert_false(were_touched(world, HEX("1")));
    (void)nanosleep(&tick, NULL); /* of the file system's clock */
    assert_int_equal(
        unlinkat(world->store.images_fd, HEX("1") "/" HEX("3") "/docker.io%library%first:1", 0), 0);
    assert_true(were_touched(world, HEX("1")));
    assert_false(were_touched(world, HEX("2")));
    assert_true(links_are_right(&world->store, lock));
    cleanup_close(&lock);
    int result = remove_image(&world->store, world->top, "one:1", false, &removed, &world->err);
    free(removed.text);
    if (result < 0)
        fail_msg("%s", world->err.message);
    assert_true(exists(world, LAYER(HEX("5"))));
    assert_true(exists(world, "index/docker.io%library%first:1"));
    assert_true(exists(world, "images/" HEX("1") "/" HEX("3") "/docker.io%library%first:1"));
    assert_false(were_touched(world, HEX("1")));
}

/* The first that goes changes the index, which makes the second no newer than it. */
static void test_names_of_two_removed_by_hand(void **state)
{
    static const struct timespec tick = { .tv_nsec = 20000000L };
    struct removed removed = { 0 };
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        char name[300];
        char text[300];
        (void)snprintf(name, sizeof name, "index/@%s", given[i].manifest);
        (void)snprintf(text, sizeof text, "{\"manifest\":\"%s\",\"config\":\"%s\",\"size\":1}",
                       given[i].manifest, given[i].config);
        write_file(world, name, text);
    }
    int lock = collect(world);
    (void)nanosleep(&tick, NULL); /* of the file system's clock */
    assert_int_equal(
        unlinkat(world->store.images_fd, HEX("1") "/" HEX("3") "/docker.io%library%one:1", 0), 0);
    assert_int_equal(
        unlinkat(world->store.images_fd, HEX("2") "/" HEX("4") "/docker.io%library%two:1", 0), 0);
    (void)nanosleep(&tick, NULL);
    assert_true(links_are_right(&world->store, lock));
    cleanup_close(&lock);
    int result = remove_unused(&world->store, world->top, false, &removed, &world->err);
    free(removed.text);
    if (result < 0)
        fail_msg("%s", world->err.message);
    assert_false(exists(world, "index/@" HEX("3")));
    assert_false(exists(world, "index/@" HEX("4")));
    assert_true(exists(world, LAYER(HEX("5"))));
    assert_true(exists(world, LAYER(HEX("6"))));
    assert_true(exists(world, "images/" HEX("1") "/" HEX("3") "/docker.io%library%one:1"));
    assert_true(exists(world, "images/" HEX("2") "/" HEX("4") "/docker.io%library%two:1"));
}

static void test_users_unknown(void **state)
{
    int64_t bytes = 0;
    struct world *world = *state;
    _cleanup_close_ int lock = store_lock(&world->store, &world->err);
    write_file(world, LAYER(HEX("8")), "of a workload");
    assert_int_equal(collect_garbage(&world->store, lock, NULL, &bytes, NULL, &world->err), -1);
    assert_true(exists(world, LAYER(HEX("8"))));
    assert_int_equal(mkdirat(world->store.fd, "torn", 0700), 0);
    write_file(world, "torn/state.json", "{\"layers\":[\"");
    assert_int_equal(collect_garbage(&world->store, lock, world->top, &bytes, NULL, &world->err),
                     -1);
    assert_non_null(strstr(world->err.message, "workload torn"));
    assert_true(exists(world, LAYER(HEX("8"))));
    assert_int_equal(unlinkat(world->store.fd, "torn/state.json", 0), 0);
    assert_int_equal(collect_garbage(&world->store, lock, world->top, &bytes, NULL, &world->err),
                     0);
    assert_false(exists(world, LAYER(HEX("8"))));
}

static void test_making_them_anew(void **state)
{
    struct world *world = *state;
    const struct store *store = &world->store;
    int first = collect(world);
    cleanup_close(&first);
    assert_int_equal(unlinkat(store->images_fd, HEX("1") "/" HEX("3") "/" BASE, 0), 0);
    write_file(world, "images/" HEX("1") "/" HEX("3") "/" BASE, "a copy");
    write_file(world, "images/" HEX("1") "/" HEX("3") "/docker.io%library%other:1", "");
    write_file(world, "images/" HEX("1") "/" HEX("3") "/" HEX("7"), "");
    write_file(world, "images/stray", "");
    write_file(world, BLOB(HEX("7")), "unused");
    assert_int_equal(mkdirat(store->images_fd, HEX("7"), 0700), 0);
    assert_int_equal(mkdirat(store->images_fd, HEX("1") "/" HEX("7"), 0700), 0);
    assert_int_equal(unlinkat(store->images_fd, HEX("2") "/" HEX("4") "/" HEX("6") ".erofs", 0), 0);
    _cleanup_close_ int lock = collect(world);
    (void)lock; /* held to the end */
    assert_true(links_are_right(store, lock));
    assert_int_equal(links_of(world, BLOB(BASE)), 3);
    assert_int_equal(links_of(world, LAYER(HEX("6"))), 2);
    static const char *const gone[] = {
        "images/stray",
        "images/" HEX("7"),
        "images/" HEX("1") "/" HEX("7"),
        "images/" HEX("1") "/" HEX("3") "/" HEX("7"),
        "images/" HEX("1") "/" HEX("3") "/docker.io%library%other:1",
        BLOB(HEX("7")),
    };
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        if (exists(world, gone[i]))
            fail_msg("%s is still there", gone[i]);
}

static void test_names(void **state)
{
    struct world *world = *state;
    struct index_list list;
    char id[STORE_DIGEST_HEX + 1];
    struct index_entry second = entry_of(0);
    second.reference = (char *)"docker.io/library/first:1";
    _cleanup_close_ int lock = collect(world);
    (void)lock; /* held to the end */
    write_file(world, "index/docker.io%library%first:1",
               "{\"reference\":\"docker.io/library/first:1\",\"manifest\":\"" HEX(
                   "3") "\",\"config\":\"" HEX("1") "\",\"size\":1}");
    assert_int_equal(links_add_name(&world->store, &second, &world->err), 0);
    write_file(world, "images/" HEX("1") "/" HEX("3") "/docker.io%library%two:1", ""); /* moved */
    for (int kept = 0; kept <= 1; kept++) {
        assert_int_equal(names_of_image(world->top, HEX("1"), kept, &list, &world->err), 0);
        assert_int_equal(list.count, 2);
        assert_string_equal(list.entries[0].reference, "docker.io/library/first:1");
        assert_string_equal(list.entries[1].reference, "docker.io/library/one:1");
        index_list_free(&list);
        assert_int_equal(names_of_image(world->top, HEX("9"), kept, &list, &world->err), 0);
        assert_int_equal(list.count, 0);
    }
    assert_int_equal(names_find_id(world->top, "2222", id, &world->err), 1);
    assert_string_equal(id, HEX("2"));
    assert_int_equal(names_find_id(world->top, "9999", id, &world->err), 0);
    assert_int_equal(
        mkdirat(world->store.images_fd, SIXTEEN("2") SIXTEEN("2") SIXTEEN("2") SIXTEEN("3"), 0700),
        0);
    assert_int_equal(names_find_id(world->top, "2222", id, &world->err), -1);
    assert_non_null(strstr(world->err.message, "ambiguous"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_goes, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_what_workloads_keep, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_what_is_held, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_whether_they_are_right, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_times_made_alike, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_image_that_has_a_name, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_name_removed_by_hand, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_names_of_two_removed_by_hand, make_store,
                                        remove_store),
        cmocka_unit_test_setup_teardown(test_users_unknown, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_making_them_anew, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_names, make_store, remove_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
