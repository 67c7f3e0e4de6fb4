/* link: helper image plan */
/* Instructions of `import --change`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/image/helper/change.h"

static void test_apply(void **state)
{
    static const struct {
        const char *instructions[3], *expected;
    } rows[] = {
        { { "CMD [\"a\", \"b\"]" }, "{\"Cmd\":[\"a\",\"b\"]}" },
        { { "CMD [\"a\", 1]" }, "{\"Cmd\":[\"/bin/sh\",\"-c\",\"[\\\"a\\\", 1]\"]}" },
        { { "  cmd\techo a  b" }, "{\"Cmd\":[\"/bin/sh\",\"-c\",\"echo a  b\"]}" },
        { { "CMD a", "CMD [\"b\"]" }, "{\"Cmd\":[\"b\"]}" },
        { { "ENV A=1", "ENV AB=2", "ENV A=" }, "{\"Env\":[\"AB=2\",\"A=\"]}" },
        { { "ENV A \"b c\"" }, "{\"Env\":[\"A=b c\"]}" },
        { { "LABEL a=\"\"", "LABEL a=b=c" }, "{\"Labels\":{\"a\":\"b=c\"}}" },
        { { "EXPOSE 1", "EXPOSE 1/tcp", "EXPOSE 2/udp" },
          "{\"ExposedPorts\":{\"1/tcp\":{},\"2/udp\":{}}}" },
        { { "VOLUME [\"/a\", \"/b\"]", "VOLUME /c" },
          "{\"Volumes\":{\"/a\":{},\"/b\":{},\"/c\":{}}}" },
        { { "USER 1:2", "WORKDIR /w", "STOPSIGNAL INT" },
          "{\"StopSignal\":\"INT\",\"User\":\"1:2\",\"WorkingDir\":\"/w\"}" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = { 0 };
        json_t *config = json_object();
        for (size_t n = 0; n < 3 && rows[i].instructions[n]; n++)
            if (change_apply(config, rows[i].instructions[n], &err) < 0)
                fail_msg("%s: %s", rows[i].instructions[n], err.message);
        char *text = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
        assert_string_equal(text, rows[i].expected);
        free(text);
        json_decref(config);
    }
}

static void test_refuse(void **state)
{
    static const struct {
        const char *instruction, *said;
    } rows[] = {
        { "", "unknown instruction" },       { "RUN true", "unknown instruction RUN" },
        { "CDM x", "did you mean CMD" },     { "CMD", "CMD needs a value" },
        { "CMD   ", "CMD needs a value" },   { "ENV A", "not NAME=VALUE" },
        { "ENV =b", "not NAME=VALUE" },      { "LABEL a", "not NAME=VALUE" },
        { "EXPOSE x", "not PORT" },          { "EXPOSE 123456", "not PORT" },
        { "EXPOSE 1/icmp", "not PORT" },     { "WORKDIR w", "not an absolute path" },
        { "USER \xff", "not valid UTF-8" },  { "CMD \xff", "not valid UTF-8" },
        { "ENV A=\xff", "not valid UTF-8" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = { 0 };
        json_t *config = json_object();
        assert_int_equal(change_apply(config, rows[i].instruction, &err), -1);
        if (!strstr(err.message, rows[i].said))
            fail_msg("\"%s\": %s", rows[i].instruction, err.message);
        json_decref(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_apply),
                                        cmocka_unit_test(test_refuse) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
