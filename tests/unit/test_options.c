/* The command line's parser: every way to write an option, and what is refused. */
/* link: cli plan */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cli/cli.h"

struct settings {
    bool all, interactive, tty;
    const char *name, *kind;
    struct option_list env;
    int64_t memory, count;
    double cpus;
};

static const char *const kinds[] = { "container", "vm", NULL };

static const struct cli_option options[] = {
    { .name = "all", .letter = 'a', .kind = CLI_FLAG, .offset = offsetof(struct settings, all) },
    { .name = "interactive",
      .letter = 'i',
      .kind = CLI_FLAG,
      .offset = offsetof(struct settings, interactive) },
    { .name = "tty", .letter = 't', .kind = CLI_FLAG, .offset = offsetof(struct settings, tty) },
    { .name = "name", .kind = CLI_TEXT, .offset = offsetof(struct settings, name) },
    { .name = "kind",
      .kind = CLI_CHOICE,
      .choices = kinds,
      .offset = offsetof(struct settings, kind) },
    { .name = "env", .letter = 'e', .kind = CLI_LIST, .offset = offsetof(struct settings, env) },
    { .name = "memory",
      .letter = 'm',
      .kind = CLI_SIZE,
      .offset = offsetof(struct settings, memory) },
    { .name = "count",
      .kind = CLI_NUMBER,
      .minimum = -1,
      .maximum = 100,
      .offset = offsetof(struct settings, count) },
    { .name = "cpus", .kind = CLI_DECIMAL, .offset = offsetof(struct settings, cpus) },
    { .name = "volume", .letter = 'v', .kind = CLI_REFUSED, .help = "use something else" },
    { 0 },
};

static const struct settings defaults = { .kind = "container", .memory = -1 };

static struct verb verb = {
    .name = "try",
    .synopsis = "[OPTIONS] IMAGE",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .max_operands = -1,
};

enum { MAX_WORDS = 12 };

/* What one command line gives. */
struct result {
    char *words[MAX_WORDS + 1];
    struct settings settings;
    size_t count;
    int status;
    struct error err;
};

static void parse(struct result *result, bool command_follows, const char *const *words)
{
    memset(result, 0, sizeof *result);
    for (size_t i = 0; i < MAX_WORDS && words[i]; i++)
        result->words[i] = (char *)words[i];
    verb.operand_ends_options = command_follows;
    result->status =
        cli_parse(&verb, result->words, &result->settings, &result->count, &result->err);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_forms(void **context)
{
    (void)context;
    struct result result;
    parse(&result, true,
          WORDS("-it", "--name=x", "--kind", "vm", "-e", "A=1", "-eB=2", "--env=C=", "-m=64m"));
    assert_int_equal(result.status, 0);
    assert_true(result.settings.interactive && result.settings.tty && !result.settings.all);
    assert_string_equal(result.settings.name, "x");
    assert_string_equal(result.settings.kind, "vm");
    assert_int_equal(result.settings.memory, 64 * 1024 * 1024);
    assert_int_equal(result.settings.env.count, 3);
    assert_string_equal(result.settings.env.values[0], "A=1");
    assert_string_equal(result.settings.env.values[1], "B=2");
    assert_string_equal(result.settings.env.values[2], "C=");
    cli_settings_free(&verb, &result.settings);
}

static void test_defaults(void **context)
{
    (void)context;
    struct result result;
    parse(&result, true, WORDS("image"));
    assert_int_equal(result.status, 0);
    assert_int_equal(result.settings.memory, -1);
    assert_string_equal(result.settings.kind, "container");
    assert_null(result.settings.name);
}

static void test_operands(void **context)
{
    (void)context;
    struct result result;
    parse(&result, true, WORDS("-a", "image", "-i", "--name", "--", "x"));
    assert_int_equal(result.status, 0);
    assert_int_equal(result.count, 5);
    assert_true(result.settings.all && !result.settings.interactive);
    assert_string_equal(result.words[1], "-i");
    assert_string_equal(result.words[3], "--");
    assert_null(result.words[5]);
    parse(&result, false, WORDS("one", "-a", "two", "--name", "n", "--", "-i"));
    assert_int_equal(result.status, 0);
    assert_int_equal(result.count, 3);
    assert_true(result.settings.all && !result.settings.interactive);
    assert_string_equal(result.words[1], "two");
    assert_string_equal(result.words[2], "-i");
    parse(&result, true, WORDS("--", "-a"));
    assert_int_equal(result.count, 1);
    assert_false(result.settings.all);
    parse(&result, true, WORDS("-"));
    assert_int_equal(result.count, 1);
}

static void test_flags_with_values(void **context)
{
    (void)context;
    struct result result;
    parse(&result, true, WORDS("--all=true", "--tty=1", "-i", "--interactive=false"));
    assert_int_equal(result.status, 0);
    assert_true(result.settings.all && result.settings.tty && !result.settings.interactive);
    parse(&result, true, WORDS("--all=maybe"));
    assert_int_equal(result.status, -1);
}

static void test_many_values(void **context)
{
    (void)context;
    enum { COUNT = 100 };
    const char *words[2 * COUNT + 1] = { NULL };
    char *copy[2 * COUNT + 1] = { NULL };
    for (size_t i = 0; i < COUNT; i++) {
        copy[2 * i] = (char *)"-e";
        copy[2 * i + 1] = (char *)(i % 2 ? "ODD=1" : "EVEN=1");
        words[i] = copy[2 * i + 1];
    }
    struct settings settings;
    struct error err = { 0 };
    size_t count;
    assert_int_equal(cli_parse(&verb, copy, &settings, &count, &err), 0);
    assert_int_equal(settings.env.count, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        assert_ptr_equal(settings.env.values[i], words[i]);
    cli_settings_free(&verb, &settings);
    assert_int_equal(settings.env.count, 0);
}

static void test_numbers(void **context)
{
    (void)context;
    static const struct {
        const char *word;
        int status;
        int64_t value;
    } rows[] = {
        { "--count=0", 0, 0 },
        { "--count=-1", 0, -1 },
        { "--count=100", 0, 100 },
        { "--count=101", -1, 0 },
        { "--count=-2", -1, 0 },
        { "--count=", -1, 0 },
        { "--count=1x", -1, 0 },
        { "--count= 1", -1, 0 },
        { "--count=+1", -1, 0 },
        { "--count=0x1", -1, 0 },
        { "--count=99999999999999999999", -1, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct result result;
        parse(&result, true, WORDS(rows[i].word));
        assert_int_equal(result.status, rows[i].status);
        if (rows[i].status == 0)
            assert_int_equal(result.settings.count, rows[i].value);
        else
            assert_non_null(strstr(result.err.message, "--count"));
    }
}

static void test_decimals(void **context)
{
    (void)context;
    static const char *const bad[] = { "--cpus=",    "--cpus=two", "--cpus=-1",    "--cpus=nan",
                                       "--cpus=0x1", "--cpus=1e3", "--cpus=1.2.3", "--cpus=." };
    struct result result;
    parse(&result, true, WORDS("--cpus", "1.5"));
    assert_int_equal(result.status, 0);
    assert_true(result.settings.cpus > 1.49 && result.settings.cpus < 1.51);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        parse(&result, true, WORDS(bad[i]));
        assert_int_equal(result.status, -1);
        assert_int_equal(result.err.exit_code, EXIT_OURS);
    }
}

/* Refused, and the message names what was written and what was meant. */
static void test_refusals(void **context)
{
    (void)context;
    static const struct {
        const char *words[3];
        const char *written, *meant;
    } rows[] = {
        { { "--memroy", "64m" }, "--memroy", "--memory" },
        { { "--interactiv" }, "--interactiv", "--interactive" },
        { { "--zzzzzzzz" }, "--zzzzzzzz", "hybrid try --help" },
        { { "-z" }, "-z", "hybrid try --help" },
        { { "-az" }, "-z", "--help" },
        { { "--kind=vmm" }, "vmm", "\"vm\"" },
        { { "--kind=" }, "--kind", "container, vm" },
        { { "--memory=lots" }, "--memory", "lots" },
        { { "--volume=/a:/b" }, "--volume", "use something else" },
        { { "-v", "/a:/b" }, "--volume", "use something else" },
        { { "--name" }, "--name", "value" },
        { { "-m" }, "--memory", "value" },
        { { "-e" }, "--env", "value" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct result result;
        parse(&result, true, rows[i].words);
        assert_int_equal(result.status, -1);
        assert_int_equal(result.err.exit_code, EXIT_OURS);
        assert_non_null(strstr(result.err.message, rows[i].written));
        assert_non_null(strstr(result.err.message, rows[i].meant));
        cli_settings_free(&verb, &result.settings);
    }
}

static void test_help(void **context)
{
    (void)context;
    struct result result;
    parse(&result, true, WORDS("--help"));
    assert_int_equal(result.status, 1);
    parse(&result, true, WORDS("-h"));
    assert_int_equal(result.status, 1);
    parse(&result, true, WORDS("image", "--help"));
    assert_int_equal(result.status, 0);
    parse(&result, false, WORDS("image", "--help"));
    assert_int_equal(result.status, 1);
}

static void test_operand_counts(void **context)
{
    (void)context;
    struct result result;
    verb.min_operands = 1;
    verb.max_operands = 1;
    parse(&result, true, WORDS("-a"));
    assert_int_equal(result.status, -1);
    assert_non_null(strstr(result.err.message, "[OPTIONS] IMAGE"));
    parse(&result, true, WORDS("one", "two"));
    assert_int_equal(result.status, -1);
    parse(&result, true, WORDS("one"));
    assert_int_equal(result.status, 0);
    verb.min_operands = 0;
    verb.max_operands = -1;
}

/* As Go's flag package has it, for verbs that its users call. */
static void test_single_dash(void **state)
{
    (void)state;
    struct settings settings;
    struct error err = { 0 };
    size_t count;
    char *with[] = { "-name", "x", "-all", "-count=5", "-it", "operand", NULL };
    verb.single_dash = true;
    assert_int_equal(cli_parse(&verb, with, &settings, &count, &err), 0);
    assert_string_equal(settings.name, "x");
    assert_true(settings.all && settings.interactive && settings.tty && settings.count == 5);
    assert_int_equal(count, 1);
    char *without[] = { "-name", "x", NULL };
    verb.single_dash = false;
    assert_int_equal(cli_parse(&verb, without, &settings, &count, &err), -1);
    assert_string_equal(err.message, "try: unknown option -n; `hybrid try --help` lists them");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),          cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_operands),       cmocka_unit_test(test_flags_with_values),
        cmocka_unit_test(test_many_values),    cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_decimals),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_single_dash),    cmocka_unit_test(test_help),
        cmocka_unit_test(test_operand_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
