/* The host's half of questions for names: what it answers, and what it does not put up with. */
/* link: names */
#include "test_names.h"

static void ask(int fd, unsigned slot, unsigned transport, uint8_t kind, size_t length)
{
    uint8_t message[NAMES_MAX_MESSAGE] = { (uint8_t)slot, 7, kind };
    const struct names_head head = { .slot = (uint16_t)slot,
                                     .transport = (uint16_t)transport,
                                     .length = (uint16_t)length };
    assert_int_equal(io_write_all(fd, &head, sizeof head), 0);
    assert_int_equal(io_write_all(fd, message, length), 0);
}

static void test_host_answers(void **state)
{
    (void)state;
    static uint8_t message[NAMES_MAX_MESSAGE];
    static const struct {
        unsigned slot, transport;
        uint8_t kind;
        size_t length, answer;
    } cases[] = {
        { 0, NAMES_UDP, 0, QUESTION, QUESTION },
        { 0, NAMES_UDP, 0, NAMES_MIN_MESSAGE, NAMES_MIN_MESSAGE },
        { 63, NAMES_UDP, 0, NAMES_MAX_QUESTION, NAMES_MAX_QUESTION },
        { 5, NAMES_TCP, 0, QUESTION, QUESTION },
        { 5, NAMES_TCP, 64, NAMES_MAX_QUESTION, NAMES_MAX_MESSAGE },
        { 6, NAMES_TCP, 0xff, QUESTION, 0 }, /* broken off */
        { 6, NAMES_TCP, 1, QUESTION, 1023 },
    };
    struct server server;
    server_start(&server);
    struct host *host = host_start(SERVER);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ask(host->guest_fd, cases[i].slot, cases[i].transport, cases[i].kind, cases[i].length);
        struct names_head head = read_answer(host->guest_fd, message);
        assert_int_equal(head.slot, cases[i].slot);
        assert_int_equal(head.transport, cases[i].transport);
        assert_int_equal(head.length, cases[i].answer);
        assert_int_equal(head.reserved, 0);
        if (head.length > 0)
            assert_int_equal(message[0], cases[i].slot);
    }
    assert_int_equal(host_end(host, NULL), 0);
    server_stop(&server);
}

static void test_host_without_a_server(void **state)
{
    (void)state;
    static uint8_t message[NAMES_MAX_MESSAGE];
    struct host *host = host_start(NOBODY);
    for (unsigned transport = NAMES_UDP; transport <= NAMES_TCP; transport++) {
        ask(host->guest_fd, 9, transport, 0, QUESTION);
        struct names_head head = read_answer(host->guest_fd, message);
        assert_int_equal(head.slot, 9);
        assert_int_equal(head.length, 0);
    }
    assert_int_equal(host_end(host, NULL), 0);
}

/* What breaks the rules ends the connection, and says so. */
static void test_host_is_strict(void **state)
{
    (void)state;
    static const struct names_head heads[] = {
        { .slot = NAMES_SLOTS, .transport = NAMES_UDP, .length = QUESTION },
        { .slot = 0xffff, .transport = NAMES_UDP, .length = QUESTION },
        { .slot = 1, .transport = 0, .length = QUESTION },
        { .slot = 1, .transport = 3, .length = QUESTION },
        { .slot = 1, .transport = NAMES_UDP, .length = 0 },
        { .slot = 1, .transport = NAMES_UDP, .length = NAMES_MIN_MESSAGE - 1 },
        { .slot = 1, .transport = NAMES_TCP, .length = NAMES_MAX_QUESTION + 1 },
        { .slot = 1, .transport = NAMES_TCP, .length = NAMES_MAX_MESSAGE },
        { .slot = 1, .transport = NAMES_UDP, .length = QUESTION, .reserved = 1 },
        { .slot = 0, .transport = NAMES_UDP, .length = QUESTION }, /* is in use */
    };
    struct server server;
    struct error err;
    server_start(&server);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct host *host = host_start(SERVER);
        ask(host->guest_fd, 0, NAMES_UDP, 0xfe, QUESTION);
        assert_int_equal(io_write_all(host->guest_fd, &heads[i], sizeof heads[i]), 0);
        assert_int_equal(host_end(host, &err), -1);
        assert_non_null(strstr(err.message, "broke the protocol for names"));
    }
    for (int whole = 0; whole < 2; whole++) { /* half a head, half a message */
        const struct names_head head = { .slot = 1, .transport = NAMES_UDP, .length = QUESTION };
        struct host *host = host_start(SERVER);
        assert_int_equal(io_write_all(host->guest_fd, &head, whole ? sizeof head : 5), 0);
        assert_int_equal(host_end(host, &err), -1);
        assert_non_null(strstr(err.message, "ended within a question"));
    }
    server_stop(&server);
}

/* As many by TCP as there is room for; the others are told at once. */
static void test_host_is_bounded(void **state)
{
    (void)state;
    static uint8_t message[NAMES_MAX_MESSAGE];
    const struct sockaddr_in name = at(SERVER);
    _cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(listener, (const struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 32), 0); /* takes connections, and answers none */
    struct host *host = host_start(SERVER);
    for (unsigned i = 0; i < SERVICE_TCP + 2; i++)
        ask(host->guest_fd, i, NAMES_TCP, 0, QUESTION);
    for (unsigned i = SERVICE_TCP; i < SERVICE_TCP + 2; i++) {
        struct names_head head = read_answer(host->guest_fd, message);
        assert_int_equal(head.slot, i);
        assert_int_equal(head.length, 0);
    }
    assert_false(is_readable(host->guest_fd, NOT));
    assert_int_equal(host_end(host, NULL), 0);
}

/* No faster than SERVICE_RATE, but for the first NAMES_SLOTS. */
static void test_host_is_no_faster(void **state)
{
    (void)state;
    enum { ROUNDS = 8 };
    static uint8_t message[NAMES_MAX_MESSAGE];
    struct server server;
    server_start(&server);
    struct host *host = host_start(SERVER);
    int64_t start = wire_clock_milliseconds();
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < NAMES_SLOTS; i++)
            ask(host->guest_fd, i, NAMES_UDP, 0, QUESTION);
        for (unsigned i = 0; i < NAMES_SLOTS; i++)
            assert_int_equal(read_answer(host->guest_fd, message).length, QUESTION);
    }
    int64_t least = (ROUNDS - 1) * NAMES_SLOTS * 1000 / SERVICE_RATE;
    assert_true(wire_clock_milliseconds() - start >= least - 2);
    assert_int_equal(host_end(host, NULL), 0);
    server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_answers),      cmocka_unit_test(test_host_without_a_server),
        cmocka_unit_test(test_host_is_strict),    cmocka_unit_test(test_host_is_bounded),
        cmocka_unit_test(test_host_is_no_faster),
    };
    return RUN_IN_NAMESPACE(tests);
}
