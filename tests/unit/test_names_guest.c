/* The guest's half of questions for names, and both halves together. */
/* link: init names sandbox plan cgroup network program */
#include "guest-init/names.h"
#include "test_names.h"

#include <fcntl.h>
#include <netinet/tcp.h>

/* --- the guest's half ----------------------------------------------------------------------------
 */

struct guest {
    struct names names;
    int host_fd; /* the test's end */
};

static struct guest *guest_start(void)
{
    int ends[2];
    struct error err;
    struct guest *guest = calloc(1, sizeof *guest);
    assert_non_null(guest);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    guest->host_fd = ends[1];
    assert_int_equal(names_open(&guest->names, ends[0], at(GUEST).sin_addr, &err), 0);
    return guest;
}

static void guest_end(struct guest *guest)
{
    names_close(&guest->names);
    (void)close(guest->host_fd);
    free(guest);
}

/* Turns of its loop until nothing comes for a moment. */
static void turn(struct guest *guest)
{
    struct pollfd fds[NAMES_POLL_FDS];
    for (int i = 0; i < 1000; i++) {
        names_watch(&guest->names, fds);
        if (poll(fds, NAMES_POLL_FDS, NOT / 5) <= 0)
            return;
        names_serve(&guest->names, fds);
    }
    fail_msg("it does not come to rest");
}

static int connect_to_guest(int type)
{
    const struct sockaddr_in name = at(GUEST);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;
    assert_true(fd >= 0);
    if (type == SOCK_STREAM) /* `turn` waits for no delayed acknowledgement */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(fd, (const struct sockaddr *)&name, sizeof name), 0);
    return fd;
}

static void send_question(int fd, uint8_t id, size_t length)
{
    uint8_t message[NAMES_MAX_MESSAGE] = { id, 7 };
    assert_int_equal(send(fd, message, length, MSG_NOSIGNAL), (ssize_t)length);
}

/* With its length before it. */
static void send_by_tcp(int fd, uint8_t id, size_t length)
{
    const uint8_t prefix[] = { (uint8_t)(length >> 8), (uint8_t)length };
    assert_int_equal(send(fd, prefix, sizeof prefix, MSG_NOSIGNAL), sizeof prefix);
    send_question(fd, id, length);
}

static void reply(struct guest *guest, struct names_head head, uint8_t id)
{
    uint8_t message[NAMES_MAX_MESSAGE] = { id, 8 };
    assert_int_equal(io_write_all(guest->host_fd, &head, sizeof head), 0);
    assert_int_equal(io_write_all(guest->host_fd, message, head.length), 0);
}

static void test_guest_by_udp(void **state)
{
    (void)state;
    static uint8_t message[NAMES_MAX_MESSAGE];
    static const size_t refused[] = { 1, NAMES_MIN_MESSAGE - 1, NAMES_MAX_QUESTION + 1 };
    struct guest *guest = guest_start();
    _cleanup_close_ int one = connect_to_guest(SOCK_DGRAM);
    _cleanup_close_ int other = connect_to_guest(SOCK_DGRAM);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        send_question(one, 1, refused[i]);
    turn(guest);
    assert_false(is_readable(guest->host_fd, 0));
    send_question(one, 1, QUESTION);
    send_question(other, 2, NAMES_MAX_QUESTION);
    turn(guest);
    struct names_head first = read_answer(guest->host_fd, message);
    assert_int_equal(first.length, QUESTION);
    assert_int_equal(first.transport, NAMES_UDP);
    assert_int_equal(message[0], 1);
    struct names_head second = read_answer(guest->host_fd, message);
    assert_int_equal(second.length, NAMES_MAX_QUESTION);
    assert_int_not_equal(first.slot, second.slot);
    second.length = 60; /* answered in another order; an answer is another length */
    reply(guest, second, 2);
    first.length = 0; /* there is none */
    reply(guest, first, 1);
    turn(guest);
    assert_true(guest->names.on);
    assert_int_equal(recv(other, message, sizeof message, MSG_DONTWAIT), 60);
    assert_int_equal(message[1], 8);
    assert_false(is_readable(one, 0));
    guest_end(guest);
}

/* No more questions than slots; the next one waits for an answer. */
static void test_guest_is_bounded(void **state)
{
    (void)state;
    static uint8_t message[NAMES_MAX_MESSAGE];
    struct guest *guest = guest_start();
    struct names_head head;
    _cleanup_close_ int fd = connect_to_guest(SOCK_DGRAM);
    for (unsigned i = 0; i < NAMES_SLOTS + 5; i++)
        send_question(fd, (uint8_t)i, QUESTION);
    turn(guest);
    for (unsigned i = 0; i < NAMES_SLOTS; i++)
        head = read_answer(guest->host_fd, message);
    assert_false(is_readable(guest->host_fd, 0));
    reply(guest, head, 0);
    turn(guest);
    assert_int_equal(read_answer(guest->host_fd, message).slot, head.slot);
    assert_int_equal(message[0], NAMES_SLOTS);
    assert_false(is_readable(guest->host_fd, 0));
    guest_end(guest);
}

/* What is no question takes no slot: no more of it is taken in one turn either. */
static void test_guest_comes_to_an_end(void **state)
{
    (void)state;
    enum { FEW = 5 };
    struct guest *guest = guest_start();
    struct pollfd fds[NAMES_POLL_FDS];
    _cleanup_close_ int fd = connect_to_guest(SOCK_DGRAM);
    for (unsigned i = 0; i < NAMES_SLOTS + FEW; i++)
        send_question(fd, (uint8_t)i, 1);
    for (int turns = 0; turns < 2; turns++) {
        assert_true(is_readable(guest->names.udp_fd, 0));
        names_watch(&guest->names, fds);
        assert_true(poll(fds, NAMES_POLL_FDS, 0) > 0);
        names_serve(&guest->names, fds);
    }
    assert_false(is_readable(guest->names.udp_fd, 0));
    assert_false(is_readable(guest->host_fd, 0));
    guest_end(guest);
}

/* No other socket gets the questions: one as special as ours would. */
static void test_guest_keeps_its_port(void **state)
{
    (void)state;
    const struct sockaddr_in name = at(GUEST);
    const int on = 1;
    struct error err = { 0 };
    struct guest *guest = guest_start();
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof name), -1);
    assert_int_equal(errno, EADDRINUSE);
    struct names second = { 0 };
    assert_int_equal(names_open(&second, dup(guest->host_fd), name.sin_addr, &err), -1);
    assert_non_null(strstr(err.message, strerror(EADDRINUSE)));
    guest_end(guest);
}

/* A host that does not read: one frame waits, and everything else where it is. */
static void test_guest_with_a_slow_host(void **state)
{
    (void)state;
    static uint8_t message[NAMES_MAX_MESSAGE];
    int small = 1;
    struct guest *guest = guest_start();
    (void)setsockopt(guest->names.host_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    _cleanup_close_ int fd = connect_to_guest(SOCK_DGRAM);
    for (unsigned i = 0; i < 10; i++)
        send_question(fd, (uint8_t)i, NAMES_MAX_QUESTION);
    turn(guest);
    assert_true(guest->names.out.length > 0);
    for (unsigned i = 0; i < 10; i++) {
        for (int tries = 0; !is_readable(guest->host_fd, 0) && tries < 10; tries++)
            turn(guest);
        struct names_head head = { 0 };
        size_t have = 0;
        while (have < sizeof head + NAMES_MAX_QUESTION) {
            ssize_t n = recv(guest->host_fd, message, sizeof head + NAMES_MAX_QUESTION - have,
                             MSG_DONTWAIT);
            if (n > 0 && have == 0)
                memcpy(&head, message, sizeof head);
            have += n > 0 ? (size_t)n : 0;
            turn(guest);
        }
        assert_int_equal(head.length, NAMES_MAX_QUESTION);
    }
    guest_end(guest);
}

static void test_guest_by_tcp(void **state)
{
    (void)state;
    static uint8_t message[NAMES_MAX_MESSAGE];
    struct guest *guest = guest_start();
    _cleanup_close_ int fd = connect_to_guest(SOCK_STREAM);
    for (int round = 0; round < 2; round++) { /* one connection, two questions, in pieces */
        const uint8_t prefix[] = { 0, QUESTION };
        assert_int_equal(send(fd, prefix, 1, 0), 1);
        turn(guest);
        assert_int_equal(send(fd, prefix + 1, 1, 0), 1);
        send_question(fd, 3, 10);
        turn(guest);
        assert_false(is_readable(guest->host_fd, 0));
        send_question(fd, 3, QUESTION - 10);
        turn(guest);
        struct names_head head = read_answer(guest->host_fd, message);
        assert_int_equal(head.length, QUESTION);
        assert_int_equal(head.transport, NAMES_TCP);
        head.length = NAMES_MAX_MESSAGE;
        reply(guest, head, 4);
        turn(guest);
        assert_int_equal(io_read_all(fd, message, 2), 2);
        assert_int_equal((size_t)message[0] << 8 | message[1], NAMES_MAX_MESSAGE);
        assert_int_equal(io_read_all(fd, message, NAMES_MAX_MESSAGE), NAMES_MAX_MESSAGE);
        assert_int_equal(message[0], 4);
    }
    send_by_tcp(fd, 1, QUESTION); /* no answer to this one */
    turn(guest);
    struct names_head head = read_answer(guest->host_fd, message);
    head.length = 0;
    reply(guest, head, 0);
    turn(guest);
    assert_int_equal(recv(fd, message, 1, MSG_DONTWAIT), 0);
    guest_end(guest);
}

static void test_guest_by_tcp_is_strict(void **state)
{
    (void)state;
    static uint8_t message[NAMES_MAX_MESSAGE];
    static const size_t refused[] = { 0, NAMES_MIN_MESSAGE - 1, NAMES_MAX_QUESTION + 1, 0xffff };
    struct guest *guest = guest_start();
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const uint8_t prefix[] = { (uint8_t)(refused[i] >> 8), (uint8_t)refused[i] };
        _cleanup_close_ int fd = connect_to_guest(SOCK_STREAM);
        assert_int_equal(send(fd, prefix, sizeof prefix, MSG_NOSIGNAL), sizeof prefix);
        turn(guest);
        assert_int_equal(recv(fd, message, 1, MSG_DONTWAIT), 0);
    }
    assert_false(is_readable(guest->host_fd, 0));
    /* Its question goes on without it, and the answer nowhere. */
    int gone = connect_to_guest(SOCK_STREAM);
    send_by_tcp(gone, 1, QUESTION);
    turn(guest);
    struct linger at_once = { .l_onoff = 1 };
    (void)setsockopt(gone, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    (void)close(gone);
    turn(guest);
    reply(guest, read_answer(guest->host_fd, message), 1);
    turn(guest);
    assert_true(guest->names.on);
    /* More connections than there is room for wait until one is idle for too long. */
    int fds[NAMES_CONNECTIONS + 1];
    for (size_t i = 0; i < NAMES_CONNECTIONS + 1; i++)
        fds[i] = connect_to_guest(SOCK_STREAM);
    send_by_tcp(fds[NAMES_CONNECTIONS], 1, QUESTION);
    turn(guest);
    assert_false(is_readable(guest->host_fd, 0));
    assert_in_range(names_patience(&guest->names), 1, NAMES_IDLE);
    guest->names.connections[0].since -= NAMES_IDLE;
    assert_int_equal(names_patience(&guest->names), 0);
    struct pollfd nothing[NAMES_POLL_FDS] = { 0 };
    names_serve(&guest->names, nothing);
    turn(guest);
    assert_int_equal(read_answer(guest->host_fd, message).length, QUESTION);
    for (size_t i = 0; i < NAMES_CONNECTIONS + 1; i++)
        (void)close(fds[i]);
    guest_end(guest);
}

/* A host that breaks the rules is not asked any more, and nobody listens then. */
static void test_guest_mistrusts_the_host(void **state)
{
    (void)state;
    static uint8_t message[NAMES_MAX_MESSAGE];
    static const struct names_head heads[] = {
        { .slot = 0, .transport = NAMES_TCP, .length = QUESTION },
        { .slot = 0, .transport = NAMES_UDP, .length = NAMES_MIN_MESSAGE - 1 },
        { .slot = 0, .transport = NAMES_UDP, .length = QUESTION, .reserved = 1 },
        { .slot = 1, .transport = NAMES_UDP, .length = QUESTION }, /* was not asked */
        { .slot = NAMES_SLOTS, .transport = NAMES_UDP, .length = QUESTION },
        { .slot = 0xffff, .transport = NAMES_UDP, .length = 0 },
    };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct guest *guest = guest_start();
        _cleanup_close_ int fd = connect_to_guest(SOCK_DGRAM);
        send_question(fd, 1, QUESTION);
        turn(guest);
        assert_int_equal(read_answer(guest->host_fd, message).slot, 0);
        reply(guest, heads[i], 1);
        turn(guest);
        assert_false(guest->names.on);
        assert_int_equal(send(fd, message, QUESTION, 0), QUESTION);
        assert_int_equal(recv(fd, message, 1, 0), -1); /* refused */
        guest_end(guest);
    }
    struct guest *guest = guest_start();
    (void)shutdown(guest->host_fd, SHUT_RDWR);
    turn(guest);
    assert_false(guest->names.on);
    assert_int_equal(names_patience(&guest->names), -1);
    guest_end(guest);
}

/* --- both ----------------------------------------------------------------------------------------
 */

static void test_both(void **state)
{
    (void)state;
    static uint8_t message[2 + NAMES_MAX_MESSAGE];
    struct server server;
    server_start(&server);
    struct host *host = host_start(SERVER);
    struct guest *guest = guest_start();
    (void)dup2(host->guest_fd, guest->names.host_fd); /* in place of the test */
    assert_int_equal(fcntl(guest->names.host_fd, F_SETFL, O_NONBLOCK), 0);
    cleanup_close(&host->guest_fd);
    host->guest_fd = -1;
    _cleanup_close_ int datagrams = connect_to_guest(SOCK_DGRAM);
    _cleanup_close_ int connection = connect_to_guest(SOCK_STREAM);
    for (uint8_t i = 0; i < 100; i++) {
        uint8_t question[QUESTION] = { i };
        assert_int_equal(send(datagrams, question, sizeof question, 0), sizeof question);
        while (!is_readable(datagrams, 0))
            turn(guest);
        assert_int_equal(recv(datagrams, message, sizeof message, 0), QUESTION);
        assert_int_equal(message[0], i);
    }
    for (uint8_t kilobytes = 1; kilobytes <= 64; kilobytes *= 2) {
        const uint8_t question[2 + QUESTION] = { 0, QUESTION, 1, 2, kilobytes };
        assert_int_equal(send(connection, question, sizeof question, 0), sizeof question);
        while (!is_readable(connection, 0))
            turn(guest);
        size_t length = kilobytes * 1024U - 1;
        assert_int_equal(io_read_all(connection, message, 2 + length), 2 + length);
        assert_int_equal((size_t)message[0] << 8 | message[1], length);
        assert_int_equal(message[3], 2);
    }
    guest_end(guest);
    assert_int_equal(host_end(host, NULL), 0);
    server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guest_by_udp),
        cmocka_unit_test(test_guest_is_bounded),
        cmocka_unit_test(test_guest_comes_to_an_end),
        cmocka_unit_test(test_guest_keeps_its_port),
        cmocka_unit_test(test_guest_with_a_slow_host),
        cmocka_unit_test(test_guest_by_tcp),
        cmocka_unit_test(test_guest_by_tcp_is_strict),
        cmocka_unit_test(test_guest_mistrusts_the_host),
        cmocka_unit_test(test_both),
    };
    return RUN_IN_NAMESPACE(tests);
}
