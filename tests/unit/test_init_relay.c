/* link: init */
/* The guest's relay: nothing lost, half-closes passed on, nothing read that cannot be delivered. */
#include "guest-init/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct ends {
    struct relay relay;
    int source, sink; /* the test's ends */
};

/* A pipe to a socket, as for stdout; or a socket to a pipe, as for stdin. */
static struct ends open_ends(bool from_pipe)
{
    struct ends ends;
    int pipe_ends[2], sockets[2];
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    if (from_pipe) {
        relay_open(&ends.relay, pipe_ends[0], sockets[0]);
        ends.source = pipe_ends[1];
        ends.sink = sockets[1];
    } else {
        relay_open(&ends.relay, sockets[0], pipe_ends[1]);
        ends.source = sockets[1];
        ends.sink = pipe_ends[0];
    }
    (void)fcntl(ends.sink, F_SETFL, O_NONBLOCK);
    return ends;
}

/* One turn of the loop. Returns whether poll(2) reported anything. */
static bool turn(struct relay *relay, int milliseconds)
{
    struct pollfd fds[RELAY_POLL_FDS];
    relay_watch(relay, fds);
    int n = poll(fds, RELAY_POLL_FDS, milliseconds);
    relay_move(relay, fds);
    return n > 0;
}

static void test_bytes_and_end(void **state)
{
    for (int from_pipe = 0; from_pipe < 2; from_pipe++) {
        (void)state;
        char text[8] = "";
        struct ends ends = open_ends(from_pipe);
        assert_true(relay_is_drained(&ends.relay));
        assert_int_equal(write(ends.source, "hello", 5), 5);
        assert_false(relay_is_drained(&ends.relay));
        while (turn(&ends.relay, 0) && !relay_is_drained(&ends.relay))
            ;
        assert_int_equal(read(ends.sink, text, sizeof text), 5);
        assert_string_equal(text, "hello");
        (void)close(ends.source);
        for (int i = 0; i < 3 && relay_is_open(&ends.relay); i++)
            (void)turn(&ends.relay, 100);
        assert_false(relay_is_open(&ends.relay));
        assert_int_equal(read(ends.sink, text, sizeof text), 0); /* the half-close arrived */
        (void)close(ends.sink);
    }
}

static void test_idle_relay_does_not_spin(void **state)
{
    (void)state;
    struct ends ends = open_ends(true);
    for (int i = 0; i < 3; i++)
        assert_false(turn(&ends.relay, 1));
    assert_int_equal(write(ends.source, "x", 1), 1);
    int turns = 0;
    while (turn(&ends.relay, 1))
        assert_true(++turns < 5);
    relay_close(&ends.relay);
    (void)close(ends.source);
    (void)close(ends.sink);
}

/* A receiver that takes nothing stops the sender, and the relay sleeps meanwhile. */
static void test_full_receiver(void **state)
{
    (void)state;
    static char chunk[4096];
    struct ends ends = open_ends(true);
    size_t sent = 0, got = 0;
    (void)fcntl(ends.source, F_SETFL, O_NONBLOCK);
    for (int idle = 0; idle < 3;) {
        ssize_t n = write(ends.source, chunk, sizeof chunk);
        sent += n > 0 ? (size_t)n : 0;
        idle = !turn(&ends.relay, 1) && n < 0 ? idle + 1 : 0;
        assert_true(sent < 64u << 20);
    }
    (void)close(ends.source);
    for (ssize_t n; (n = read(ends.sink, chunk, sizeof chunk)) != 0;) {
        if (n > 0)
            got += (size_t)n;
        (void)turn(&ends.relay, 1);
    }
    assert_int_equal(got, sent);
    assert_false(relay_is_open(&ends.relay));
    (void)close(ends.sink);
}

/* The reader of stdout is gone: so is the read end of the workload's pipe, without a byte sent. */
static void test_broken_receiver(void **state)
{
    (void)state;
    struct ends ends = open_ends(false);
    (void)close(ends.sink);
    (void)turn(&ends.relay, 100);
    assert_false(relay_is_open(&ends.relay));
    assert_int_equal(send(ends.source, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
    (void)close(ends.source);

    ends = open_ends(true);
    (void)close(ends.sink);
    assert_int_equal(write(ends.source, "x", 1), 1);
    for (int i = 0; i < 3 && relay_is_open(&ends.relay); i++)
        (void)turn(&ends.relay, 100);
    assert_false(relay_is_open(&ends.relay));
    assert_int_equal(write(ends.source, "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    (void)close(ends.source);
}

/* Of a sender that has ended: what it wrote, though another goes on writing for ever. */
static void test_limit(void **state)
{
    (void)state;
    static char chunk[4096], got[8192];
    for (size_t more = 0; more <= 100; more += 100) {
        struct ends ends = open_ends(true);
        (void)fcntl(ends.source, F_SETFL, O_NONBLOCK);
        assert_int_equal(write(ends.source, "last words", 10), 10);
        relay_limit(&ends.relay, more);
        assert_true(relay_is_open(&ends.relay));
        for (int turns = 0; relay_is_open(&ends.relay) && turns < 100; turns++) {
            assert_false(relay_is_drained(&ends.relay));
            assert_true(write(ends.source, chunk, sizeof chunk) > 0);
            (void)turn(&ends.relay, 1);
        }
        assert_true(relay_is_drained(&ends.relay));
        assert_int_equal(read(ends.sink, got, sizeof got), 10 + more);
        assert_memory_equal(got, "last words", 10);
        assert_int_equal(read(ends.sink, got, sizeof got), 0);
        assert_int_equal(write(ends.source, "x", 1), -1);
        assert_int_equal(errno, EPIPE);
        relay_limit(&ends.relay, more); /* closed: nothing to do */
        assert_false(relay_is_open(&ends.relay));
        (void)close(ends.source);
        (void)close(ends.sink);
    }
    struct ends silent = open_ends(true);
    relay_limit(&silent.relay, 0);
    assert_false(relay_is_open(&silent.relay));
    (void)close(silent.source);
    (void)close(silent.sink);
}

/* As a terminal is joined: two relays with a pipe between them. */
static void test_chain(void **state)
{
    (void)state;
    int first[2], middle[2], last[2];
    char text[32] = "";
    struct relay relays[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, first), 0);
    assert_int_equal(pipe2(middle, O_CLOEXEC), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, last), 0);
    relay_open(&relays[0], first[1], middle[1]);
    relay_open(&relays[1], middle[0], last[0]);
    assert_int_equal(write(first[0], "through both", 12), 12);
    (void)close(first[0]);
    for (int i = 0; i < 10 && relay_is_open(&relays[1]); i++) {
        (void)turn(&relays[0], 10);
        (void)turn(&relays[1], 10);
    }
    assert_false(relay_is_open(&relays[0]));
    assert_false(relay_is_open(&relays[1]));
    assert_int_equal(read(last[1], text, sizeof text), 12);
    assert_string_equal(text, "through both");
    (void)close(last[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_and_end), cmocka_unit_test(test_idle_relay_does_not_spin),
        cmocka_unit_test(test_full_receiver), cmocka_unit_test(test_broken_receiver),
        cmocka_unit_test(test_limit),         cmocka_unit_test(test_chain),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
