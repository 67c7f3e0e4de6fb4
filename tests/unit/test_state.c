/* The state directory: made at once, locked, read after a crash, removed. */
/* link: state */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/state/state.h"
#include "runtime/state/tree.h"

struct place {
    char base[64];
    char root[96]; /* does not exist at first */
};

static int make_place(void **context)
{
    struct place *place = calloc(1, sizeof *place);
    (void)snprintf(place->base, sizeof place->base, "/tmp/test-state-XXXXXX");
    if (!place || !mkdtemp(place->base))
        return -1;
    (void)snprintf(place->root, sizeof place->root, "%s/run/hybrid", place->base);
    *context = place;
    return 0;
}

static int remove_place(void **context)
{
    struct place *place = *context;
    int result = tree_remove(place->base, NULL);
    free(place);
    return result;
}

static struct state sample(const char *id)
{
    return (struct state){
        .id = strdup(id),
        .image = strdup("docker.io/library/busybox:latest"),
        .isolation = strdup("vm"),
        .cgroup = strdup(""),
        .status = STATE_RUNNING,
        .pid = 42,
        .pid_start = 1234567890123,
        .created = 1795252476,
        .remove = true,
        .command = json_pack("[s, s]", "sh", "-c"),
        .layers = json_pack("[s]", "aa"),
        .options = json_pack("{s:b}", "stdin", 1),
    };
}

static void test_ids(void **context)
{
    (void)context;
    static const char *const good[] = { "a", "A-b_c.d", "_x", "0", "123456789abc" };
    static const char *const bad[] = { "",    "-a", ".a",    "a/b",    "..",    "a b",
                                       "a\n", "é",  "a\x01", "layers", "cache", "a:b" };
    struct error err = { 0 };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(state_check_id(good[i], &err), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(state_check_id(bad[i], &err), -1);
    char longest[STATE_MAX_ID + 2];
    memset(longest, 'a', sizeof longest);
    longest[STATE_MAX_ID] = '\0';
    assert_int_equal(state_check_id(longest, &err), 0);
    longest[STATE_MAX_ID] = 'a';
    longest[STATE_MAX_ID + 1] = '\0';
    assert_int_equal(state_check_id(longest, &err), -1);
}

static void test_round_trip(void **context)
{
    struct place *place = *context;
    struct error err = { 0 };
    struct state written = sample("one"), read;
    int lock = -1;
    assert_int_equal(state_create(place->root, &written, "{\"a\":1}", &lock, &err), 0);
    assert_int_equal(state_read(place->root, "one", &read, &err), 0);
    assert_false(read.abandoned);
    assert_int_equal(read.status, STATE_RUNNING);
    assert_string_equal(read.image, written.image);
    assert_string_equal(read.isolation, "vm");
    assert_int_equal(read.pid, 42);
    assert_true(read.pid_start == written.pid_start);
    assert_true(read.remove && !read.exited && !read.oom);
    assert_null(read.warning);
    assert_true(json_equal(read.command, written.command));
    assert_true(json_equal(read.options, written.options));
    char *config = state_read_config(place->root, "one", &err);
    assert_string_equal(config, "{\"a\":1}");
    free(config);
    state_free(&read);
    written.status = STATE_STOPPED;
    written.exited = true;
    written.exit_status = 137;
    written.warning = strdup("a disk failed");
    assert_int_equal(state_write(place->root, &written, &err), 0);
    assert_int_equal(state_read(place->root, "one", &read, &err), 0);
    assert_int_equal(read.status, STATE_STOPPED);
    assert_string_equal(read.warning, "a disk failed");
    assert_int_equal(read.exit_status, 137);
    state_free(&read);
    state_free(&written);
    (void)close(lock);
}

static void test_name_in_use(void **context)
{
    struct place *place = *context;
    struct error err = { 0 };
    struct state state = sample("one");
    int lock = -1, other = -1;
    assert_int_equal(state_create(place->root, &state, "{}", &lock, &err), 0);
    assert_int_equal(state_create(place->root, &state, "{}", &other, &err), 1);
    assert_int_equal(other, -1);
    assert_int_equal(state_lock(place->root, "one", &other, &err), 1);
    assert_int_equal(state_remove(place->root, "one", &err), 0);
    (void)close(lock);
    assert_int_equal(state_create(place->root, &state, "{}", &lock, &err), 0);
    (void)close(lock);
    state_free(&state);
}

static void change(const struct place *place, const char *name, const char *text)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", place->root, name);
    if (!text) {
        assert_int_equal(unlink(path), 0);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)close(fd);
}

/* What rm -f removes without a state must be a workload's, and its state beyond doubt none. */
static void test_lost(void **context)
{
    struct place *place = *context;
    struct error err = { 0 };
    struct state state = sample("one");
    char path[160];
    int lock = -1;
    assert_int_equal(state_is_damaged(place->root, "one", &err), 0);
    assert_int_equal(state_create(place->root, &state, "{}", &lock, &err), 0);
    assert_int_equal(state_is_damaged(place->root, "one", &err), 0);
    change(place, "one/state.json", "{\"id\": \"");
    assert_int_equal(state_is_damaged(place->root, "one", &err), 1);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit few = { .rlim_cur = (rlim_t)lock + 1, .rlim_max = before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0); /* for the directory alone */
    assert_int_equal(state_is_damaged(place->root, "one", &err), -1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    change(place, "one/state.json", NULL);
    assert_int_equal(state_is_damaged(place->root, "one", &err), 1);
    change(place, "one/lock", NULL);
    assert_int_equal(state_is_damaged(place->root, "one", &err), 0);
    /* Somebody else's, such as another runtime's. */
    (void)snprintf(path, sizeof path, "%s/www", place->root);
    assert_int_equal(mkdir(path, 0700), 0);
    change(place, "www/index.html", "hello");
    change(place, "www/state.json", "{\"id\": \"www\"}");
    assert_int_equal(state_is_damaged(place->root, "www", &err), 0);
    change(place, "file", "");
    assert_int_equal(state_is_damaged(place->root, "file", &err), 0);
    (void)close(lock);
    state_free(&state);
}

/* Absent names, and names that are none, read the same: they must not reach the file system. */
static void test_absent(void **context)
{
    struct place *place = *context;
    static const char *const names[] = { "absent", "../run", "", "layers", ".." };
    struct state state;
    int lock = -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct error err = { 0 };
        assert_int_equal(state_read(place->root, names[i], &state, &err), -1);
        assert_int_equal(err.exit_code, EXIT_OURS);
        assert_non_null(strstr(err.message, "no such workload"));
        assert_int_equal(state_lock(place->root, names[i], &lock, &err), -1);
    }
}

/* The lock is the monitor's life: it survives a fork, and its end is seen without taking it. */
static void test_abandoned(void **context)
{
    struct place *place = *context;
    struct error err = { 0 };
    struct state state = sample("one"), seen;
    int lock = -1, gate[2];
    assert_int_equal(pipe(gate), 0);
    assert_int_equal(state_create(place->root, &state, "{}", &lock, &err), 0);
    pid_t monitor = fork();
    if (monitor == 0) {
        char byte;
        (void)close(gate[1]);
        (void)!read(gate[0], &byte, 1);
        _exit(0);
    }
    (void)close(gate[0]);
    (void)close(lock);
    assert_int_equal(state_read(place->root, "one", &seen, &err), 0);
    assert_false(seen.abandoned);
    state_free(&seen);
    assert_int_equal(state_lock(place->root, "one", &lock, &err), 1);
    assert_int_equal(kill(monitor, SIGKILL), 0);
    assert_int_equal(waitpid(monitor, NULL, 0), monitor);
    (void)close(gate[1]);
    assert_int_equal(state_read(place->root, "one", &seen, &err), 0);
    assert_true(seen.abandoned);
    assert_int_equal(seen.status, STATE_STOPPED);
    state_free(&seen);
    assert_int_equal(state_lock(place->root, "one", &lock, &err), 0);
    /* The holder's own lock is no living monitor. */
    assert_int_equal(state_read_locked(place->root, "one", &seen, &err), 0);
    assert_true(seen.abandoned);
    state_free(&seen);
    (void)close(lock);
    state_free(&state);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_damaged(void **context)
{
    struct place *place = *context;
    static const char *const documents[] = {
        "",
        "{",
        "[]",
        "{\"status\":\"running\"}",
        "{\"status\":\"dancing\",\"id\":\"one\",\"isolation\":\"vm\"}",
        "{\"status\":\"running\",\"id\":1,\"isolation\":\"vm\"}",
        "{\"status\":\"running\",\"id\":\"one\",\"isolation\":\"vm\",\"pid\":\"1\"}",
        "{\"status\":\"running\",\"id\":\"one\",\"isolation\":\"vm\",\"remove\":1}",
    };
    struct error err = { 0 };
    struct state state = sample("one"), read;
    struct state_list list;
    int lock = -1;
    char path[160];
    assert_int_equal(state_create(place->root, &state, "{}", &lock, &err), 0);
    (void)snprintf(path, sizeof path, "%s/one/state.json", place->root);
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        write_text(path, documents[i]);
        err = (struct error){ 0 };
        assert_int_equal(state_read(place->root, "one", &read, &err), -1);
        assert_non_null(strstr(err.message, "state.json"));
        assert_int_equal(state_list_read(place->root, &list, &err), 0);
        assert_int_equal(list.count, 0);
        state_list_free(&list);
    }
    (void)close(lock);
    state_free(&state);
}

static void test_list(void **context)
{
    struct place *place = *context;
    struct error err = { 0 };
    struct state_list list;
    int locks[3];
    static const char *const names[] = { "old", "young", "middle" };
    static const int64_t ages[] = { 1, 3, 2 };
    assert_int_equal(state_list_read(place->root, &list, &err), 0);
    assert_int_equal(list.count, 0);
    for (size_t i = 0; i < 3; i++) {
        struct state state = sample(names[i]);
        state.created = ages[i];
        assert_int_equal(state_create(place->root, &state, "{}", &locks[i], &err), 0);
        state_free(&state);
    }
    char path[160];
    (void)snprintf(path, sizeof path, "%s/layers", place->root);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(state_list_read(place->root, &list, &err), 0);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.states[0].id, "young");
    assert_string_equal(list.states[2].id, "old");
    state_list_free(&list);
    for (size_t i = 0; i < 3; i++)
        (void)close(locks[i]);
}

/* What a state_create that was killed leaves is removed by the next listing, once it is old. */
static void test_remains(void **context)
{
    struct place *place = *context;
    struct error err = { 0 };
    struct state state = sample("one");
    struct state_list list;
    int lock = -1;
    assert_int_equal(state_create(place->root, &state, "{}", &lock, &err), 0);
    char young[160], old[160], orphan[160];
    pid_t dead = fork();
    if (dead == 0)
        _exit(0);
    assert_int_equal(waitpid(dead, NULL, 0), dead);
    (void)snprintf(orphan, sizeof orphan, "%s/.four.%d", place->root, dead);
    assert_int_equal(mkdir(orphan, 0700), 0);
    (void)snprintf(young, sizeof young, "%s/.two.1", place->root);
    (void)snprintf(old, sizeof old, "%s/.three.1", place->root);
    assert_int_equal(mkdir(young, 0700), 0);
    assert_int_equal(mkdir(old, 0700), 0);
    const struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
    assert_int_equal(state_list_read(place->root, &list, &err), 0);
    assert_int_equal(list.count, 1);
    state_list_free(&list);
    assert_int_equal(access(young, F_OK), 0);
    assert_int_equal(access(old, F_OK), -1);
    assert_int_equal(access(orphan, F_OK), -1);
    (void)close(lock);
    state_free(&state);
}

static void test_process_start(void **context)
{
    (void)context;
    assert_true(state_process_start(getpid()) > 0);
    assert_true(state_process_start(getpid()) >= state_process_start(1));
    assert_true(state_process_start(0) == 0);
}

/* Deeper than a path can be long, wide, with links out of it that must not be followed. */
static void test_tree(void **context)
{
    struct place *place = *context;
    char outside[128], top[128], link[160];
    (void)snprintf(outside, sizeof outside, "%s/outside", place->base);
    (void)snprintf(top, sizeof top, "%s/top", place->base);
    assert_int_equal(mkdir(outside, 0700), 0);
    assert_int_equal(mkdir(top, 0700), 0);
    (void)snprintf(link, sizeof link, "%s/link", top);
    assert_int_equal(symlink(outside, link), 0);
    int directory = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int depth = 0; depth < 1500; depth++) {
        assert_int_equal(mkdirat(directory, "directory", 0700), 0);
        int file = openat(directory, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0);
        assert_true(file >= 0);
        (void)close(file);
        int next = openat(directory, "directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        (void)close(directory);
        directory = next;
    }
    (void)close(directory);
    struct error err = { 0 };
    assert_int_equal(tree_remove(top, &err), 0);
    assert_int_equal(access(top, F_OK), -1);
    assert_int_equal(access(outside, F_OK), 0);
    assert_int_equal(tree_remove(top, &err), 0);
    (void)snprintf(link, sizeof link, "%s/link", place->base);
    assert_int_equal(symlink(outside, link), 0);
    assert_int_equal(tree_remove(link, &err), -1);
    assert_int_equal(access(outside, F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

/*
 * A container of a bundle has no monitor: it is what its process is, whoever holds the lock; one
 * that was never finished is left over.
 */
static void test_bundle(void **context)
{
    const struct place *place = *context;
    struct error err = { 0 };
    int lock = -1;
    struct state state = sample("bundle");
    struct state seen;
    state.bundle = strdup("/bundle");
    state.status = STATE_CREATING;
    assert_int_equal(state_create(place->root, &state, "{}", &lock, &err), 0);
    assert_int_equal(state_read(place->root, "bundle", &seen, &err), 0);
    assert_int_equal(seen.status, STATE_CREATING);
    assert_false(seen.abandoned);
    state_free(&seen);
    assert_int_equal(state_read_locked(place->root, "bundle", &seen, &err), 0);
    assert_true(seen.abandoned);
    state_free(&seen);

    state.status = STATE_CREATED;
    state.pid = getpid();
    state.pid_start = state_process_start(getpid());
    assert_int_equal(state_write(place->root, &state, &err), 0);
    (void)close(lock);
    assert_int_equal(state_read(place->root, "bundle", &seen, &err), 0);
    assert_int_equal(seen.status, STATE_CREATED);
    assert_false(seen.abandoned);
    state_free(&seen);

    state.pid_start++; /* another process by now */
    assert_int_equal(state_write(place->root, &state, &err), 0);
    assert_int_equal(state_read(place->root, "bundle", &seen, &err), 0);
    assert_int_equal(seen.status, STATE_STOPPED);
    assert_false(seen.abandoned);
    state_free(&seen);
    state_free(&state);
}

/* A zombie has ended, though its number is still taken. */
static void test_process_lives(void **context)
{
    (void)context;
    assert_true(state_process_lives(getpid(), state_process_start(getpid())));
    assert_false(state_process_lives(getpid(), 1));
    assert_false(state_process_lives(0, 0));
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    uint64_t start = state_process_start(pid);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_false(state_process_lives(pid, start));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ids),           TEST(test_round_trip), TEST(test_name_in_use),
        TEST(test_lost),          TEST(test_absent),     TEST(test_abandoned),
        TEST(test_damaged),       TEST(test_list),       TEST(test_remains),
        TEST(test_process_start), TEST(test_tree),       TEST(test_bundle),
        TEST(test_process_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
