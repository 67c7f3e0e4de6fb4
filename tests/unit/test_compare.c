/* compare: statistics, traces, and what is made of a document. */
/* link: compare cgroup program */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/compare/lab.h"
#include "runtime/compare/stats.h"
#include "runtime/compare/trace.h"
#include "runtime/compare/wrap.h"

static void test_stats(void **state)
{
    int64_t many[200], one[] = { 7 }, two[] = { 9, 4 };
    (void)state;
    for (int i = 0; i < 200; i++)
        many[i] = 200 - i;
    struct stats stats = stats_of(many, 200);
    assert_int_equal(stats.minimum, 1);
    assert_int_equal(stats.p50, 100);
    assert_int_equal(stats.p90, 180);
    assert_int_equal(stats.p99, 198);
    assert_int_equal(stats.maximum, 200);
    assert_int_equal(many[0], 1); /* sorted */
    stats = stats_of(one, 1);
    assert_int_equal(stats.p50, 7);
    assert_int_equal(stats.p99, 7);
    stats = stats_of(two, 2);
    assert_int_equal(stats.p50, 4);
    assert_int_equal(stats.p99, 9);
    assert_int_equal(stats_of(NULL, 0).count, 0);
}

static void test_formats(void **state)
{
    static const struct {
        int64_t value;
        const char *time, *bytes;
    } cases[] = {
        { 0, "0 ns", "0 B" },
        { 999, "999 ns", "999 B" },
        { 1024, "1.02 us", "1.00 KiB" },
        { 12345, "12.3 us", "12.1 KiB" },
        { 123456, "123 us", "121 KiB" },
        { 99960, "100 us", "97.6 KiB" },
        { 9996, "10.0 us", "9.76 KiB" },
        { 5000000000, "5.00 s", "4.66 GiB" },
    };
    char text[64];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stats_format_time(cases[i].value, text, sizeof text);
        assert_string_equal(text, cases[i].time);
        stats_format_bytes(cases[i].value, text, sizeof text);
        assert_string_equal(text, cases[i].bytes);
    }
    stats_format_time(-1, text, sizeof text);
    assert_string_equal(text, "-");
    stats_format_pair(500, 1500000, text, sizeof text);
    assert_string_equal(text, "500 ns/1.50 ms");
    stats_format_pair(500000, 1500000, text, sizeof text);
    assert_string_equal(text, "0.50/1.50 ms");
    stats_format_pair(0, 0, text, sizeof text);
    assert_string_equal(text, "0/0 ns");
}

static void test_trace_lines(void **state)
{
    static const char *const lines[] = {
        "# tracer: function\n",
        "          hybrid-42      [001] .....  1234.567890: sys_enter: NR 39 (0, 0, 0, 0, 0, 0)\n",
        "          hybrid-42      [001] .....  1234.567891: sys_enter: NR 39 (0, 0, 0, 0, 0, 0)\n",
        "     odd-name 7-43       [000] d..1.  1234.567892: sys_enter: NR 1 (1, 2, 3)\n",
        "           vcpu0-44      [000] .....  1234.567893: kvm_exit: vcpu 0 reason EXIT_IO\n",
        "          hybrid-42      [001] .....  1234.567894: do_sys_poll <-__x64_sys_poll\n",
        "          hybrid-42      [001] .....  1234.567895: do_sys_poll <-do_syscall_64\n",
        "no trace at all\n",
        " [",
        "",
    };
    const pid_t ours[] = { 42 };
    struct trace_counts counts;
    (void)state;
    assert_int_equal(trace_counts_make(&counts), 0);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[256];
        (void)snprintf(line, sizeof line, "%s", lines[i]);
        trace_read_line(line, ours, 1, &counts);
    }
    assert_int_equal(json_object_size(counts.calls), 2);
    assert_int_equal(json_integer_value(json_object_get(counts.calls, "39")), 2);
    assert_int_equal(json_object_size(counts.our_calls), 1);
    assert_int_equal(json_integer_value(json_object_get(counts.exits, "EXIT_IO")), 1);
    assert_int_equal(json_object_size(counts.functions), 1);
    assert_int_equal(json_integer_value(json_object_get(counts.functions, "do_sys_poll")), 2);
    trace_counts_free(&counts);
}

/* Lines of an explanation, none of them wider than a terminal. */
static int count_lines(const char *text)
{
    char *wrapped = NULL;
    size_t length = 0;
    int lines = 0, column = 0;
    FILE *out = open_memstream(&wrapped, &length);
    assert_non_null(out);
    wrap_paragraphs(out, text);
    (void)fclose(out);
    for (const char *at = wrapped; *at; at++) {
        column = *at == '\n' ? 0 : column + 1;
        lines += *at == '\n';
        assert_true(column < 80);
    }
    free(wrapped);
    return lines;
}

/* Every row has a sentence, and a name that no other of its topic has; a topic fits a screen. */
static void test_rows(void **state)
{
    (void)state;
    for (const struct compare_row *row = compare_rows; row->name; row++) {
        assert_true(row->topic < TOPICS && row->text && *row->text);
        assert_true(strlen(row->title) < 23);
        for (const struct compare_row *other = compare_rows; other < row; other++)
            assert_true(other->topic != row->topic || strcmp(other->name, row->name) != 0);
    }
    for (int i = 0; i < TOPICS; i++) {
        assert_in_range(count_lines(compare_topics[i].text), 5, 20);
        assert_int_equal(compare_find_topic(compare_topics[i].name), i);
    }
    assert_int_equal(compare_find_topic("no such topic"), -1);
}

static const char document_text[] =
    "{\"format\":\"hybrid-compare\",\"version\":1,\"time\":\"2026-01-02T03:04:05Z\","
    "\"host\":{\"kernel\":\"6.1.0\",\"processors\":4},\"image\":\"a<b>\",\"command\":[\"x&y\"],"
    "\"runs\":3,\"isolations\":["
    "{\"name\":\"container\",\"title\":\"container\",\"available\":true},"
    "{\"name\":\"vm\",\"title\":\"vm\",\"available\":false,\"reason\":\"no KVM\"}],"
    "\"topics\":[{\"name\":\"start\",\"title\":\"Start\",\"rows\":["
    "{\"name\":\"total\",\"title\":\"start to end\",\"unit\":\"ns\",\"text\":\"all\",\"values\":{"
    "\"container\":{\"n\":3,\"min\":1000000,\"p50\":2000000,\"p90\":4000000,\"p99\":4000000,"
    "\"max\":4000000,\"samples\":[1000000,2000000,4000000]},\"vm\":{\"missing\":\"no KVM\"}}},"
    "{\"name\":\"cli\",\"title\":\" cli\",\"unit\":\"ns\",\"text\":\"part\",\"values\":{"
    "\"container\":{\"n\":1,\"min\":1000,\"p50\":1000,\"p90\":1000,\"p99\":1000,\"max\":1000},"
    "\"vm\":{\"missing\":\"no KVM\"}}},"
    "{\"name\":\"kernel\",\"title\":\" kernel\",\"unit\":\"ns\",\"text\":\"part\",\"values\":{"
    "\"container\":{\"missing\":\"none\"},\"vm\":{\"missing\":\"no KVM\"}}}]},"
    "{\"name\":\"memory\",\"title\":\"Memory\",\"rows\":["
    "{\"name\":\"ours\",\"title\":\"ours\",\"unit\":\"bytes\",\"text\":\"b\",\"values\":{"
    "\"container\":{\"value\":1572864,\"note\":\"<script>\"},\"vm\":{\"missing\":\"no KVM\"}}},"
    "{\"name\":\"who\",\"title\":\"who\",\"unit\":\"text\",\"text\":\"t\",\"values\":{"
    "\"container\":{\"text\":\"bad\\u001b[31m\"},\"vm\":{\"text\":\"its own\"}}}]}],"
    "\"conclusions\":{\"container\":\"short\",\"vm\":\"a sentence that is so long that it has to "
    "be "
    "broken somewhere near its end\"}}";

static const char table_text[] =
    "a<b> x&y\n"
    "host kernel 6.1.0; processors: 4; starts: 3; times are p50/p99\n"
    "\n"
    "START                  container         vm\n"
    "start to end           2.00/4.00 ms      - [1]\n"
    " cli                   1.00/1.00 us      - [1]\n"
    "\n"
    "MEMORY                 container         vm\n"
    "ours                   1.50 MiB          - [1]\n"
    "who                    bad?[31m          its own\n"
    "\n"
    "[1] no KVM\n"
    "\n"
    "container: short\n"
    "vm: a sentence that is so long that it has to be broken somewhere near its end\n"
    "\n"
    "`hybrid explain TOPIC` tells how each was measured, and where it misleads.\n";

static char *print(void (*printer)(const json_t *document, FILE *out))
{
    char *text = NULL;
    size_t length = 0;
    json_t *document = json_loads(document_text, 0, NULL);
    FILE *out = open_memstream(&text, &length);
    assert_non_null(document);
    assert_non_null(out);
    printer(document, out);
    (void)fclose(out);
    json_decref(document);
    return text;
}

static void test_table(void **state)
{
    char *text = print(compare_print_table);
    (void)state;
    assert_string_equal(text, table_text);
    free(text);
}

static size_t count(const char *text, const char *what)
{
    size_t found = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        found++;
    return found;
}

/* What a page must have and must not: the look of it is for eyes. */
static void test_page(void **state)
{
    static const struct {
        const char *text;
        size_t times;
    } cases[] = {
        { "<!DOCTYPE html>", 1 },
        { "a&lt;b&gt;", 2 },
        { "a<b>", 0 },
        { "<script", 0 },
        { "title=\"&lt;script&gt;\"", 1 },
        { "2.00/4.00 ms", 2 },    /* the cell, and the bar's label */
        { "width=\"120.0\"", 1 }, /* half of the row's p99 */
        { "no KVM", 1 },
        { "http", 0 },
        { "src=", 0 },
        { "href=", 0 },
        { "@import", 0 },
        { "url(", 0 },
        { "<details>", 2 },
        { "</html>", 1 },
    };
    char *text = print(compare_print_html);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (count(text, cases[i].text) != cases[i].times)
            fail_msg("%zu times %s", count(text, cases[i].text), cases[i].text);
    assert_int_equal(count(text, "<svg"), count(text, "</svg>"));
    assert_int_equal(count(text, "<svg role=\"img\""), count(text, "<svg"));
    assert_int_equal(count(text, "<tr>"), count(text, "</tr>"));
    free(text);
}

/* The values that measuring parts leave: what compare.h says of them. */
static void test_values(void **state)
{
    enum { MANY = 250 };
    struct lab lab = { .values = json_object() };
    int64_t samples[MANY];
    (void)state;
    for (int i = 0; i < MANY; i++)
        samples[i] = (i * 7) % MANY;
    lab_set_samples(&lab, "cost.stat", IN_VM, samples, MANY);
    lab_set_number(&lab, "cost.stat", IN_CONTAINER, INT64_MAX);
    lab_set_text(&lab, "reach.release", IN_VM, "6.1");
    lab_set_note(&lab, "reach.release", IN_VM, "of the guest");
    lab_set_note(&lab, "reach.release", IN_CONTAINER, "there is no value");
    lab_set_topic_missing(&lab, TOPIC_COST, IN_VM, "no time");
    const json_t *value = lab_value(&lab, "cost.stat", IN_VM);
    size_t count;
    int64_t *kept = lab_numbers(json_object_get(value, "samples"), &count);
    assert_in_range(count, 50, 100);
    for (size_t i = 1; i < count; i++)
        assert_true(kept[i - 1] < kept[i]);
    free(kept);
    assert_int_equal(json_integer_value(json_object_get(value, "n")), MANY);
    assert_int_equal(json_integer_value(json_object_get(value, "min")), 0);
    assert_int_equal(json_integer_value(json_object_get(value, "p50")), 124);
    assert_int_equal(json_integer_value(json_object_get(value, "max")), MANY - 1);
    assert_null(json_object_get(value, "missing"));
    value = lab_value(&lab, "cost.stat", IN_CONTAINER);
    assert_true(json_integer_value(json_object_get(value, "value")) == INT64_MAX);
    value = lab_value(&lab, "reach.release", IN_VM);
    assert_string_equal(json_string_value(json_object_get(value, "note")), "of the guest");
    assert_null(lab_value(&lab, "reach.release", IN_CONTAINER));
    value = lab_value(&lab, "cost.tcp", IN_VM);
    assert_string_equal(json_string_value(json_object_get(value, "missing")), "no time");
    assert_null(lab_value(&lab, "reach.calls", IN_VM));
    json_decref(lab.values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats),       cmocka_unit_test(test_formats),
        cmocka_unit_test(test_trace_lines), cmocka_unit_test(test_rows),
        cmocka_unit_test(test_table),       cmocka_unit_test(test_page),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
