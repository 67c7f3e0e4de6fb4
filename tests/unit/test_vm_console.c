/* link: vm sandbox cgroup program */
/* The tail of a guest's console: bounded, whole lines, harmless for a terminal. */
#include "runtime/vm/console.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int open_console(struct console *console)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    *console = (struct console){ .fd = ends[0] };
    return ends[1];
}

static void feed(struct console *console, int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    console_read(console);
}

static void test_few_lines(void **state)
{
    (void)state;
    char text[100];
    struct console console;
    int fd = open_console(&console);
    console_tail(&console, text, sizeof text);
    assert_string_equal(text, "");
    feed(&console, fd, "one\r\ntwo\r\n\r\n");
    console_tail(&console, text, sizeof text);
    assert_string_equal(text, "one\ntwo");
    assert_true(console_contains(&console, "two"));
    assert_false(console_contains(&console, "three"));
    (void)close(fd);
    console_read(&console);
    assert_int_equal(console.fd, -1);
}

static void test_hostile_bytes(void **state)
{
    (void)state;
    char text[100];
    struct console console;
    int fd = open_console(&console);
    feed(&console, fd, "a\033]0;title\007b\x9b\x7f\tc");
    console_tail(&console, text, sizeof text);
    assert_string_equal(text, "a?]0;title?b???c");
    (void)close(fd);
    (void)close(console.fd);
}

static void test_many_lines(void **state)
{
    (void)state;
    char text[4096], line[32];
    struct console console;
    int fd = open_console(&console);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(line, sizeof line, "line %d\n", i);
        feed(&console, fd, line);
    }
    console_tail(&console, text, sizeof text);
    assert_non_null(strstr(text, "line 4999"));
    assert_memory_equal(text, "line 4980\n", 10); /* the last twenty */
    assert_false(console_contains(&console, "line 0\n"));
    char small[24];
    console_tail(&console, small, sizeof small);
    assert_string_equal(small, "line 4998\nline 4999"); /* whole lines that fit */
    (void)close(fd);
    (void)close(console.fd);
}

/* The reason of a panic stands before its trace, however long that is. */
static void test_panic(void **state)
{
    (void)state;
    char text[100], line[32];
    struct console console;
    int fd = open_console(&console);
    feed(&console, fd, "before\n[ 1.0] Kernel panic - not syncing: why\n");
    console_tail(&console, text, sizeof text);
    assert_string_equal(text, "before\n[ 1.0] Kernel panic - not syncing: why");
    for (int i = 0; i < 100; i++) {
        (void)snprintf(line, sizeof line, "trace %02d\n", i);
        feed(&console, fd, line);
    }
    console_tail(&console, text, sizeof text);
    assert_string_equal(text, "[ 1.0] Kernel panic - not syncing: why\n...\n"
                              "trace 94\ntrace 95\ntrace 96\ntrace 97\ntrace 98\ntrace 99");
    for (size_t size = 1; size < sizeof text; size++) {
        console_tail(&console, text, size);
        assert_true(strlen(text) < size);
    }
    (void)close(fd);
    (void)close(console.fd);
}

/* However much there is, one call takes a bounded part of it. */
static void test_flood(void **state)
{
    (void)state;
    static char bytes[2 * CONSOLE_TURN];
    struct console console;
    int fd = open_console(&console);
    assert_true(fcntl(fd, F_SETPIPE_SZ, (int)sizeof bytes) >= (int)sizeof bytes);
    assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
    console_read(&console);
    assert_in_range(console.total, CONSOLE_TURN, CONSOLE_TURN + 4096);
    console_read(&console);
    assert_int_equal(console.total, sizeof bytes);
    (void)close(fd);
    (void)close(console.fd);
}

static void test_endless_line(void **state)
{
    (void)state;
    char text[50];
    struct console console;
    int fd = open_console(&console);
    for (int i = 0; i < CONSOLE_KEPT; i++)
        feed(&console, fd, "xy");
    console_tail(&console, text, sizeof text);
    assert_int_equal(strlen(text), sizeof text - 1);
    (void)close(fd);
    (void)close(console.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_lines),    cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_many_lines),   cmocka_unit_test(test_flood),
        cmocka_unit_test(test_endless_line), cmocka_unit_test(test_panic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
