/* The relay of streams: exact bytes, half-close, back pressure, readers that leave, terminals. */
/* link: monitor cgroup program */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include <signal.h>

#include "runtime/monitor/session.h"

static void make_pipe(int ends[2])
{
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
}

static void set_nonblocking(int fd)
{
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

/* One round of the event loop; returns what happened. */
static enum stream_event turn(struct stream *stream)
{
    struct pollfd fds[2];
    size_t count = stream_poll(stream, fds);
    assert_true(poll(fds, count, 0) >= 0);
    return stream_dispatch(stream);
}

static char pattern(size_t at)
{
    return (char)(at * 7 + (at >> 8));
}

/* 5 MiB in odd pieces through 64 KiB of buffer; then end of file, once all has arrived. */
static void test_exact_bytes(void **context)
{
    (void)context;
    enum { TOTAL = 5 * 1024 * 1024 };
    int in[2], out[2];
    make_pipe(in);
    make_pipe(out);
    set_nonblocking(in[1]);
    set_nonblocking(out[0]);
    struct stream stream = STREAM_NONE;
    stream.source = in[0];
    stream.sink = out[1];
    set_nonblocking(in[0]);
    set_nonblocking(out[1]);
    size_t sent = 0, received = 0;
    bool ended = false;
    while (!ended) {
        char data[7001];
        size_t length = sent * 31 % sizeof data + 1;
        if (length > TOTAL - sent)
            length = TOTAL - sent;
        for (size_t i = 0; i < length; i++)
            data[i] = pattern(sent + i);
        ssize_t n = length ? write(in[1], data, length) : 0;
        sent += n > 0 ? (size_t)n : 0;
        if (sent == TOTAL && in[1] >= 0) {
            (void)close(in[1]);
            in[1] = -1;
        }
        (void)turn(&stream);
        n = read(out[0], data, received * 17 % sizeof data + 1);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(data[i], pattern(received + (size_t)i));
        received += n > 0 ? (size_t)n : 0;
        ended = n == 0;
    }
    assert_int_equal(received, TOTAL);
    assert_false(stream_is_open(&stream));
    stream_close(&stream);
    (void)close(out[0]);
}

/* A reader that does not read stops the writer: one buffer and two pipes, no more. */
static void test_back_pressure(void **context)
{
    (void)context;
    int in[2], out[2];
    make_pipe(in);
    make_pipe(out);
    set_nonblocking(in[1]);
    struct stream stream = STREAM_NONE;
    stream.source = in[0];
    stream.sink = out[1];
    set_nonblocking(in[0]);
    set_nonblocking(out[1]);
    static const char data[65536];
    size_t sent = 0;
    for (int round = 0; round < 100; round++) {
        ssize_t n = write(in[1], data, sizeof data);
        sent += n > 0 ? (size_t)n : 0;
        (void)turn(&stream);
    }
    assert_true(sent <= 3 * sizeof data);
    assert_true(sent >= 2 * sizeof data);
    stream_close(&stream);
    (void)close(in[1]);
    (void)close(out[0]);
}

static void test_reader_leaves(void **context)
{
    (void)context;
    int in[2], out[2];
    make_pipe(in);
    make_pipe(out);
    struct stream stream = STREAM_NONE;
    stream.source = in[0];
    stream.sink = out[1];
    assert_int_equal(turn(&stream), STREAM_NOTHING);
    (void)close(out[0]);
    assert_int_equal(turn(&stream), STREAM_SINK_GONE);
    assert_int_equal(write(in[1], "x", 1), -1); /* the workload is told as by a plain pipe */
    assert_int_equal(errno, EPIPE);
    (void)close(in[1]);
}

static void test_full_disk(void **context)
{
    (void)context;
    int in[2];
    make_pipe(in);
    struct stream stream = STREAM_NONE;
    stream.source = in[0];
    stream.sink = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(in[1], "x", 1), 1);
    assert_int_equal(turn(&stream), STREAM_SINK_FAILED);
    assert_int_equal(errno, ENOSPC);
    (void)close(in[1]);
}

static void test_sockets(void **context)
{
    (void)context;
    int in[2], out[2];
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out), 0);
    struct stream stream = STREAM_NONE;
    stream.source = in[0];
    stream.sink = out[0];
    assert_int_equal(write(in[1], "x", 1), 1);
    assert_int_equal(turn(&stream), STREAM_NOTHING);
    assert_int_equal(read(out[1], &byte, 1), 1);
    assert_int_equal(shutdown(in[1], SHUT_WR), 0);
    assert_int_equal(turn(&stream), STREAM_SOURCE_ENDED);
    assert_int_equal(read(out[1], &byte, 1), 0);
    stream_close(&stream);
    (void)close(in[1]);
    (void)close(out[1]);
}

static void test_paused(void **context)
{
    (void)context;
    int in[2];
    make_pipe(in);
    struct pollfd fds[2];
    struct stream stream = STREAM_NONE;
    stream.source = in[0];
    stream.paused = true;
    assert_int_equal(stream_poll(&stream, fds), 0);
    stream.paused = false;
    assert_int_equal(stream_poll(&stream, fds), 1);
    stream_close(&stream);
    (void)close(in[1]);
}

/* The caller's description stays blocking: other programs share it. */
static void test_callers_descriptors(void **context)
{
    (void)context;
    int ends[2];
    size_t limit;
    make_pipe(ends);
    int own = stream_open_caller(ends[1], true, &limit);
    assert_true(own > STDERR_FILENO);
    assert_true(fcntl(own, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(own, F_GETFD) & FD_CLOEXEC);
    assert_false(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
    assert_int_equal(limit, STREAM_BUFFER);
    (void)close(own);
    int file = open("/dev/null", O_RDWR | O_CLOEXEC);
    own = stream_open_caller(file, true, &limit);
    assert_true(own > STDERR_FILENO);
    assert_false(fcntl(own, F_GETFL) & O_NONBLOCK);
    (void)close(own);
    (void)close(file);
    assert_int_equal(stream_open_caller(file, true, &limit), -1);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void pump(struct session *session, struct session_report *report)
{
    for (int round = 0; round < 10; round++) {
        struct pollfd fds[2 * SESSION_STREAMS];
        size_t count = session_poll(session, fds);
        assert_true(poll(fds, count, 10) >= 0);
        session_dispatch(session, report);
    }
}

/* Standard output and error apart, input half-closed, and drained only after the last byte. */
static void test_session_of_pipes(void **context)
{
    (void)context;
    int in[2], out[2], error[2], workload[SESSION_STREAMS];
    make_pipe(in);
    make_pipe(out);
    make_pipe(error);
    struct session session = { 0 };
    struct session_report report = { 0 };
    struct error err = { 0 };
    const struct session_caller caller = { .fds = { in[0], out[1], error[1] },
                                           .interactive = true };
    assert_int_equal(session_open(&session, &caller, workload, &err), 0);
    assert_false(fcntl(workload[1], F_GETFL) & O_NONBLOCK);
    (void)close(in[0]);
    (void)close(out[1]);
    (void)close(error[1]);
    char text[16] = "";
    assert_int_equal(write(in[1], "input", 5), 5);
    (void)close(in[1]);
    pump(&session, &report);
    assert_int_equal(read(workload[0], text, sizeof text), 5);
    assert_int_equal(read(workload[0], text, sizeof text), 0);
    assert_int_equal(write(workload[1], "out", 3), 3);
    assert_int_equal(write(workload[2], "error", 5), 5);
    assert_false(session_is_drained(&session));
    (void)close(workload[1]);
    (void)close(workload[2]);
    pump(&session, &report);
    assert_true(session_is_drained(&session));
    assert_int_equal(read(out[0], text, sizeof text), 3);
    assert_int_equal(read(out[0], text, sizeof text), 0); /* the caller sees the end at once */
    assert_int_equal(read(error[0], text, sizeof text), 5);
    session_close(&session);
    (void)close(workload[0]);
    (void)close(out[0]);
    (void)close(error[0]);
}

static void test_session_without_input(void **context)
{
    (void)context;
    int workload[SESSION_STREAMS];
    char byte;
    struct session session = { 0 };
    struct error err = { 0 };
    const struct session_caller caller = { .fds = { -1, -1, -1 } };
    assert_int_equal(session_open(&session, &caller, workload, &err), 0);
    assert_int_equal(read(workload[0], &byte, 1), 0);
    struct session_report report = { 0 };
    assert_int_equal(write(workload[1], "x", 1), 1); /* detached: taken and dropped */
    pump(&session, &report);
    for (int i = 0; i < SESSION_STREAMS; i++)
        (void)close(workload[i]);
    pump(&session, &report);
    assert_true(session_is_drained(&session));
    session_close(&session);
}

static int open_terminal(int *slave)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    *slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*slave >= 0);
    struct termios modes;
    assert_int_equal(tcgetattr(*slave, &modes), 0);
    cfmakeraw(&modes);
    assert_int_equal(tcsetattr(*slave, TCSANOW, &modes), 0);
    return master;
}

/* The caller's terminal joined to the workload's; when the caller's is hung up, so is the other. */
static void test_session_of_terminals(void **context)
{
    (void)context;
    int caller_slave, workload_slave, none[SESSION_STREAMS];
    int caller_master = open_terminal(&caller_slave);
    int workload_master = open_terminal(&workload_slave);
    struct session session = { 0 };
    struct session_report report = { 0 };
    struct error err = { 0 };
    const struct session_caller caller = { .fds = { caller_slave, caller_slave, caller_slave },
                                           .interactive = true,
                                           .terminal = true };
    assert_int_equal(session_open(&session, &caller, none, &err), 0);
    assert_int_equal(none[0], -1);
    assert_int_equal(session_join_terminal(&session, &caller, workload_master, &err), 0);
    char text[16];
    assert_int_equal(write(caller_master, "\x03key", 4), 4);
    pump(&session, &report);
    assert_int_equal(read(workload_slave, text, sizeof text), 4);
    assert_int_equal(write(workload_slave, "answer", 6), 6);
    pump(&session, &report);
    assert_int_equal(read(caller_master, text, sizeof text), 6);
    session_pause(&session, true);
    struct pollfd fds[2 * SESSION_STREAMS];
    assert_int_equal(session_poll(&session, fds), 0);
    session_pause(&session, false);
    assert_false(report.hung_up);
    (void)close(caller_master);
    pump(&session, &report);
    assert_true(report.hung_up);
    assert_true(session_is_drained(&session));
    struct pollfd hung = { .fd = workload_slave };
    assert_int_equal(poll(&hung, 1, 1000), 1);
    assert_true(hung.revents & POLLHUP);
    session_close(&session);
    (void)close(caller_slave);
    (void)close(workload_slave);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_bytes),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_reader_leaves),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_paused),
        cmocka_unit_test(test_callers_descriptors),
        cmocka_unit_test(test_session_of_pipes),
        cmocka_unit_test(test_session_without_input),
        cmocka_unit_test(test_session_of_terminals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
