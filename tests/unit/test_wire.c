/* Frames between hybrid and hybrid-init: read piecemeal, bounded, refused when they break a rule.
 */
#include "include/wire_io.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct pair {
    int peer;
    struct wire_reader reader;
};

static struct pair open_pair(bool to_guest)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    return (struct pair){ .peer = fds[0], .reader = { .fd = fds[1], .to_guest = to_guest } };
}

static void close_pair(struct pair *pair)
{
    wire_next(&pair->reader);
    if (pair->peer >= 0)
        (void)close(pair->peer);
    (void)close(pair->reader.fd);
}

static void put(struct pair *pair, const void *data, size_t length)
{
    assert_int_equal(write(pair->peer, data, length), (ssize_t)length);
}

static void put_head(struct pair *pair, uint32_t type, uint32_t length, uint32_t reserved)
{
    struct wire_frame head = { .type = type, .process = 5, .length = length, .reserved = reserved };
    put(pair, &head, sizeof head);
}

static void test_whole_frame(void **state)
{
    (void)state;
    struct pair pair = open_pair(true);
    struct wire_signal request = { .signal = 15, .all = 1 };
    assert_int_equal(wire_read(&pair.reader), WIRE_AGAIN);
    assert_int_equal(wire_send(pair.peer, WIRE_SIGNAL, 7, &request, sizeof request, NULL, 0, 1000),
                     0);
    assert_int_equal(wire_read(&pair.reader), WIRE_FRAME);
    assert_int_equal(pair.reader.head.type, WIRE_SIGNAL);
    assert_int_equal(pair.reader.head.process, 7);
    assert_memory_equal(pair.reader.payload, &request, sizeof request);
    wire_next(&pair.reader);
    assert_int_equal(wire_read(&pair.reader), WIRE_AGAIN);
    close_pair(&pair);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    struct pair pair = open_pair(false);
    const char text[] = "cannot";
    struct wire_error head = { .exit_code = 127 };
    char bytes[sizeof(struct wire_frame) + sizeof head + sizeof text];
    struct wire_frame frame = { .type = WIRE_ERROR, .length = sizeof head + sizeof text };
    memcpy(bytes, &frame, sizeof frame);
    memcpy(bytes + sizeof frame, &head, sizeof head);
    memcpy(bytes + sizeof frame + sizeof head, text, sizeof text);
    for (size_t i = 0; i + 1 < sizeof bytes; i++) {
        put(&pair, bytes + i, 1);
        assert_int_equal(wire_read(&pair.reader), WIRE_AGAIN);
    }
    put(&pair, bytes + sizeof bytes - 1, 1);
    assert_int_equal(wire_read(&pair.reader), WIRE_FRAME);
    assert_string_equal((char *)pair.reader.payload + sizeof head, text);
    close_pair(&pair);
}

static void test_two_frames_at_once(void **state)
{
    (void)state;
    struct pair pair = open_pair(true);
    put_head(&pair, WIRE_START, 0, 0);
    put_head(&pair, WIRE_SHUTDOWN, 0, 0);
    assert_int_equal(wire_read(&pair.reader), WIRE_FRAME);
    assert_int_equal(pair.reader.head.type, WIRE_START);
    wire_next(&pair.reader);
    assert_int_equal(wire_read(&pair.reader), WIRE_FRAME);
    assert_int_equal(pair.reader.head.type, WIRE_SHUTDOWN);
    close_pair(&pair);
}

static void test_violations(void **state)
{
    (void)state;
    const struct {
        bool to_guest;
        uint32_t type, length, reserved;
    } cases[] = {
        { false, 0, 0, 0 },
        { false, 99, 0, 0 },
        { false, WIRE_CONFIG, sizeof(struct wire_config), 0 }, /* the other direction's */
        { true, WIRE_READY, sizeof(struct wire_ready), 0 },
        { false, WIRE_READY, sizeof(struct wire_ready) - 1, 0 },
        { false, WIRE_READY, sizeof(struct wire_ready) + 1, 0 },
        { false, WIRE_READY, sizeof(struct wire_ready), 1 },
        { false, WIRE_ERROR, WIRE_MAX_FROM_GUEST + 1, 0 },
        { false, WIRE_ERROR, UINT32_MAX, 0 },
        { false, WIRE_EXITED, 0, 0 },
        { false, WIRE_STARTED, 1, 0 },
        { true, WIRE_CONFIG, WIRE_MAX_TO_GUEST + 1, 0 },
        { true, WIRE_EXEC, sizeof(struct wire_process) - 1, 0 },
        { true, WIRE_SHUTDOWN, 4, 0 },
        { true, WIRE_POD, sizeof(struct wire_pod) - 1, 0 },
        { true, WIRE_POD, sizeof(struct wire_pod) + 1, 0 },
        { true, WIRE_CONTAINER, sizeof(struct wire_container) - 4, 0 },
        { true, WIRE_FORGET, sizeof(struct wire_forget) + 4, 0 },
        { true, WIRE_FREEZE, sizeof(struct wire_freeze) - 4, 0 },
        { true, WIRE_UPDATE, WIRE_MAX_UPDATE + 1, 0 },
        { true, WIRE_DONE, 0, 0 },
        { false, WIRE_DONE, 1, 0 },
        { false, WIRE_CONTAINER, sizeof(struct wire_container), 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pair pair = open_pair(cases[i].to_guest);
        put_head(&pair, cases[i].type, cases[i].length, cases[i].reserved);
        if (wire_read(&pair.reader) != WIRE_BROKEN)
            fail_msg("case %zu was accepted", i);
        assert_null(pair.reader.payload);                       /* nothing was allocated for it */
        assert_int_equal(wire_read(&pair.reader), WIRE_BROKEN); /* nor does it go on */
        close_pair(&pair);
    }
}

/* The largest of each frame of a pod passes. */
static void test_pod_frames(void **state)
{
    (void)state;
    const struct {
        bool to_guest;
        uint32_t type, length;
    } cases[] = {
        { true, WIRE_POD, sizeof(struct wire_pod) },
        { true, WIRE_CONTAINER, sizeof(struct wire_container) },
        { true, WIRE_FORGET, sizeof(struct wire_forget) },
        { true, WIRE_FREEZE, sizeof(struct wire_freeze) },
        { true, WIRE_UPDATE, WIRE_MAX_UPDATE },
        { true, WIRE_UPDATE, 0 },
        { false, WIRE_DONE, 0 },
    };
    static const uint8_t payload[WIRE_MAX_UPDATE];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pair pair = open_pair(cases[i].to_guest);
        assert_int_equal(wire_send(pair.peer, cases[i].type, WIRE_REQUEST_PROCESS, payload,
                                   cases[i].length, NULL, 0, 1000),
                         0);
        if (wire_read(&pair.reader) != WIRE_FRAME)
            fail_msg("case %zu was refused", i);
        assert_int_equal(pair.reader.head.process, WIRE_REQUEST_PROCESS);
        assert_int_equal(pair.reader.head.length, cases[i].length);
        close_pair(&pair);
    }
}

static void test_end_in_the_middle(void **state)
{
    (void)state;
    struct pair pair = open_pair(true);
    put_head(&pair, WIRE_SIGNAL, sizeof(struct wire_signal), 0);
    put(&pair, "abc", 3);
    (void)close(pair.peer);
    pair.peer = -1;
    assert_int_equal(wire_read(&pair.reader), WIRE_CLOSED);
    close_pair(&pair);
}

static void test_send_to_nobody(void **state)
{
    (void)state;
    struct pair pair = open_pair(true);
    static char large[WIRE_MAX_TO_GUEST];
    struct wire_filter head = { 0 };
    /* The peer reads nothing: the send gives up. */
    assert_int_equal(wire_send(pair.peer, WIRE_FILTER, 0, &head, sizeof head, large,
                               sizeof large - sizeof head, 50),
                     -1);
    assert_int_equal(errno, ETIMEDOUT);
    /* One byte too many is never sent. */
    assert_int_equal(
        wire_send(pair.peer, WIRE_FILTER, 0, &head, sizeof head, large, sizeof large, 50), -1);
    assert_int_equal(errno, EMSGSIZE);
    (void)close(pair.reader.fd);
    assert_int_equal(wire_send(pair.peer, WIRE_START, 0, NULL, 0, NULL, 0, 50), -1);
    assert_int_equal(errno, EPIPE);
    pair.reader.fd = -1;
    close_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_frame),        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_two_frames_at_once), cmocka_unit_test(test_violations),
        cmocka_unit_test(test_end_in_the_middle),  cmocka_unit_test(test_send_to_nobody),
        cmocka_unit_test(test_pod_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
