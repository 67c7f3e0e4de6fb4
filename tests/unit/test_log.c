/* The log: what is written comes back byte by byte, is bounded, and can be followed. */
/* link: monitor state */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/monitor/log.h"
#include "runtime/state/tree.h"

static int make_place(void **context)
{
    char *path = strdup("/tmp/test-log-XXXXXX");
    if (!path || !mkdtemp(path))
        return -1;
    *context = path;
    return 0;
}

static int remove_place(void **context)
{
    int result = tree_remove(*context, NULL);
    free(*context);
    return result;
}

/* What a reader got. */
struct output {
    char *text[2];
    size_t length[2];
    struct log_view view;
};

static void open_output(struct output *output, int64_t tail, bool timestamps)
{
    *output = (struct output){ .view = { .tail = tail, .timestamps = timestamps } };
    output->view.out = open_memstream(&output->text[0], &output->length[0]);
    output->view.error = open_memstream(&output->text[1], &output->length[1]);
    assert_true(output->view.out && output->view.error);
}

static void expect(struct output *output, const char *out, size_t out_length, const char *error)
{
    (void)fflush(output->view.out);
    (void)fflush(output->view.error);
    assert_int_equal(output->length[0], out_length);
    assert_memory_equal(output->text[0], out, out_length);
    assert_string_equal(output->text[1], error);
}

static void close_output(struct output *output)
{
    (void)fclose(output->view.out);
    (void)fclose(output->view.error);
    free(output->text[0]);
    free(output->text[1]);
}

static void print_and_expect(const char *place, int64_t tail, const char *out, size_t out_length,
                             const char *error)
{
    struct output output;
    struct log_reader reader;
    struct error err = { 0 };
    open_output(&output, tail, false);
    assert_int_equal(log_print(place, &output.view, &reader, &err), 0);
    expect(&output, out, out_length, error);
    log_reader_close(&reader);
    close_output(&output);
}

static struct log *open_log(const char *place, uint64_t max_bytes)
{
    struct error err = { 0 };
    struct log *log = log_open(place, max_bytes, &err);
    assert_non_null(log);
    return log;
}

static void write_text(struct log *log, enum log_stream stream, const char *text)
{
    log_write(log, stream, text, strlen(text));
}

static void test_streams_and_parts(void **context)
{
    struct log *log = open_log(*context, LOG_MAX_BYTES);
    write_text(log, LOG_STDOUT, "one\ntw");
    write_text(log, LOG_STDERR, "error\n");
    write_text(log, LOG_STDOUT, "o\n\n\nno newline");
    log_close(log);
    static const char out[] = "one\ntwo\n\n\nno newline";
    print_and_expect(*context, -1, out, sizeof out - 1, "error\n");
}

static void test_every_byte(void **context)
{
    enum { LENGTH = 300000 };
    char *data = malloc(LENGTH);
    for (size_t i = 0; i < LENGTH; i++)
        data[i] = (char)(i * 7 + (i >> 8));
    struct log *log = open_log(*context, LOG_MAX_BYTES);
    for (size_t at = 0, part = 1; at < LENGTH; at += part, part = part * 3 % 70001) {
        if (part > LENGTH - at)
            part = LENGTH - at;
        log_write(log, LOG_STDOUT, data + at, part);
    }
    log_close(log);
    print_and_expect(*context, -1, data, LENGTH, "");
    free(data);
}

static void test_appends(void **context)
{
    for (int start = 0; start < 2; start++) {
        struct log *log = open_log(*context, LOG_MAX_BYTES);
        write_text(log, LOG_STDOUT, "line\n");
        log_close(log);
    }
    print_and_expect(*context, -1, "line\nline\n", 10, "");
}

static void test_tail(void **context)
{
    struct log *log = open_log(*context, LOG_MAX_BYTES);
    write_text(log, LOG_STDOUT, "1\n2\n3\n");
    write_text(log, LOG_STDERR, "4\n");
    write_text(log, LOG_STDOUT, "5");
    log_close(log);
    print_and_expect(*context, 0, "", 0, "");
    print_and_expect(*context, 1, "5", 1, "");
    print_and_expect(*context, 3, "3\n5", 3, "4\n");
    print_and_expect(*context, 100, "1\n2\n3\n5", 7, "4\n");
}

static void test_timestamps(void **context)
{
    struct log *log = open_log(*context, LOG_MAX_BYTES);
    write_text(log, LOG_STDOUT, "a");
    write_text(log, LOG_STDOUT, "b\n");
    log_close(log);
    struct output output;
    struct log_reader reader;
    struct error err = { 0 };
    open_output(&output, -1, true);
    assert_int_equal(log_print(*context, &output.view, &reader, &err), 0);
    (void)fflush(output.view.out);
    /* 2016-10-06T00:17:09.669794202Z, once a line */
    assert_int_equal(output.length[0], strlen("2016-10-06T00:17:09.669794202Z ab\n"));
    assert_int_equal(output.text[0][10], 'T');
    assert_string_equal(output.text[0] + 29, "Z ab\n");
    log_reader_close(&reader);
    close_output(&output);
}

static void test_parse(void **context)
{
    (void)context;
    static const char *const bad[] = {
        "",           "x", "T stdout", "T stdout ", "T stdout X a", "T stdin F a", " stdout F a",
        "T stdout Fa"
    };
    struct log_line line;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(log_parse(bad[i], strlen(bad[i]), &line));
    static const char good[] = "T stderr P a b ";
    assert_true(log_parse(good, sizeof good - 1, &line));
    assert_true(line.stream == LOG_STDERR && !line.whole);
    assert_int_equal(line.length, 4);
    assert_memory_equal(line.text, "a b ", 4);
    assert_true(log_parse("T stdout F ", 11, &line));
    assert_int_equal(line.length, 0);
}

static void test_bounded(void **context)
{
    enum { LIMIT = 20000 };
    struct log *log = open_log(*context, LIMIT);
    char text[32];
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(text, sizeof text, "line %d\n", i);
        write_text(log, LOG_STDOUT, text);
    }
    log_close(log);
    char path[64];
    struct stat status;
    (void)snprintf(path, sizeof path, "%s/" LOG_NAME, (const char *)*context);
    assert_int_equal(stat(path, &status), 0);
    assert_true(status.st_size <= LIMIT + 128);
    (void)snprintf(path, sizeof path, "%s/" LOG_OLD_NAME, (const char *)*context);
    assert_int_equal(stat(path, &status), 0);
    assert_true(status.st_size <= LIMIT + 128);
    print_and_expect(*context, 2, "line 1998\nline 1999\n", 20, "");
}

/* Also over a rotation, and not before a line is whole in the file. */
static void test_follow(void **context)
{
    struct log *log = open_log(*context, 200);
    struct output output;
    struct log_reader reader;
    struct error err = { 0 };
    open_output(&output, -1, false);
    write_text(log, LOG_STDOUT, "begin\n");
    assert_int_equal(log_print(*context, &output.view, &reader, &err), 0);
    expect(&output, "begin\n", 6, "");
    char expected[1024] = "begin\n", text[32];
    for (int i = 0; i < 40; i++) {
        (void)snprintf(text, sizeof text, "%d\n", i);
        write_text(log, LOG_STDOUT, text);
        size_t used = strlen(expected);
        (void)snprintf(expected + used, sizeof expected - used, "%s", text);
        assert_int_equal(log_follow(&output.view, &reader, &err), 0);
        expect(&output, expected, strlen(expected), "");
    }
    log_close(log);
    log_reader_close(&reader);
    close_output(&output);
}

static void test_absent(void **context)
{
    struct output output;
    struct log_reader reader;
    struct error err = { 0 };
    open_output(&output, -1, false);
    assert_int_equal(log_print(*context, &output.view, &reader, &err), -1);
    assert_non_null(strstr(err.message, *context));
    log_reader_close(&reader);
    close_output(&output);
    assert_null(log_open("/nonexistent/directory", LOG_MAX_BYTES, &err));
}

static void test_full_disk(void **context)
{
    char path[64];
    (void)snprintf(path, sizeof path, "%s/" LOG_NAME, (const char *)*context);
    assert_int_equal(symlink("/dev/full", path), 0);
    struct log *log = open_log(*context, LOG_MAX_BYTES);
    assert_int_equal(log_failure(log), 0);
    write_text(log, LOG_STDOUT, "lost\n");
    assert_int_equal(log_failure(log), ENOSPC);
    write_text(log, LOG_STDOUT, "lost\n");
    assert_int_equal(log_failure(log), 0);
    log_close(log);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_streams_and_parts),
        TEST(test_every_byte),
        TEST(test_appends),
        TEST(test_tail),
        TEST(test_timestamps),
        TEST(test_parse),
        TEST(test_bounded),
        TEST(test_follow),
        TEST(test_absent),
        TEST(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
