/* The control messages: what is sent arrives, what is malformed does not, and only root may ask. */
/* link: monitor state */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io.h"
#include "runtime/monitor/control.h"
#include "runtime/state/tree.h"

static void make_pair(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static void test_round_trip(void **context)
{
    (void)context;
    int ends[2], fds[IO_MAX_FDS];
    size_t count = 0;
    make_pair(ends);
    struct control_message sent = {
        .type = CONTROL_EXITED, .flags = CONTROL_OOM, .value = -7, .rows = 24, .columns = 80
    };
    struct control_message got;
    memset(sent.text, 'x', sizeof sent.text - 1);
    const int passed[2] = { STDOUT_FILENO, STDERR_FILENO };
    assert_int_equal(control_send(ends[0], &sent, passed, 2), 0);
    assert_int_equal(control_receive(ends[1], &got, fds, &count), 1);
    assert_int_equal(count, 2);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_memory_equal(&got, &sent, sizeof sent);
    (void)close(fds[0]);
    (void)close(fds[1]);
    assert_int_equal(control_send_simple(ends[0], CONTROL_SIGNAL, 15), 0);
    assert_int_equal(control_receive(ends[1], &got, NULL, NULL), 1);
    assert_int_equal(got.value, 15);
    assert_string_equal(got.text, "");
    (void)close(ends[0]);
    assert_int_equal(control_receive(ends[1], &got, NULL, NULL), 0);
    (void)close(ends[1]);
}

static void test_malformed(void **context)
{
    (void)context;
    int ends[2];
    static const char long_message[sizeof(struct control_message) + 100] = { 1 };
    struct control_message got;
    make_pair(ends);
    assert_int_equal(send(ends[0], "abc", 3, 0), 3);
    assert_int_equal(control_receive(ends[1], &got, NULL, NULL), -1);
    assert_int_equal(errno, EBADMSG);
    assert_int_equal(send(ends[0], long_message, sizeof long_message, 0), sizeof long_message);
    assert_int_equal(control_receive(ends[1], &got, NULL, NULL), -1);
    assert_int_equal(errno, EMSGSIZE);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* Descriptors that nobody asked for do not stay open. */
static void test_unwanted_descriptors(void **context)
{
    (void)context;
    int ends[2], gate[2];
    struct control_message message = { .type = CONTROL_WAIT }, got;
    make_pair(ends);
    assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
    assert_int_equal(control_send(ends[0], &message, &gate[1], 1), 0);
    (void)close(gate[1]);
    assert_int_equal(control_receive(ends[1], &got, NULL, NULL), 1);
    char byte;
    assert_int_equal(read(gate[0], &byte, 1), 0);
    (void)close(gate[0]);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* A path longer than sockaddr_un; mode 0600; a stale socket is replaced. */
static void test_listen(void **context)
{
    (void)context;
    char base[] = "/tmp/test-control-XXXXXX", deep[300], path[320];
    assert_non_null(mkdtemp(base));
    (void)snprintf(deep, sizeof deep, "%s/%0200d", base, 0);
    assert_int_equal(mkdir(deep, 0755), 0);
    struct error err = { 0 };
    assert_int_equal(control_connect(deep, &err), -1);
    assert_int_equal(errno, ENOENT);
    int stale = control_listen(deep, &err);
    (void)close(stale);
    assert_int_equal(control_connect(deep, &err), -1);
    assert_int_equal(errno, ECONNREFUSED);
    int listener = control_listen(deep, &err);
    assert_true(listener >= 0);
    struct stat status;
    (void)snprintf(path, sizeof path, "%s/" CONTROL_SOCKET, deep);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    int client = control_connect(deep, &err);
    int server = control_accept(listener);
    assert_true(client >= 0 && server >= 0);
    (void)close(client);
    (void)close(server);
    (void)close(listener);
    assert_int_equal(tree_remove(base, NULL), 0);
}

/* Neither the file's mode nor, should that be changed, the peer's user lets another user in. */
static void test_other_users(void **context)
{
    (void)context;
    enum { NOBODY = 65534 };
    if (geteuid() != 0)
        skip();
    char base[] = "/tmp/test-control-XXXXXX", path[64];
    assert_non_null(mkdtemp(base));
    assert_int_equal(chmod(base, 0755), 0);
    struct error err = { 0 };
    int listener = control_listen(base, &err);
    (void)snprintf(path, sizeof path, "%s/" CONTROL_SOCKET, base);
    for (int open_to_all = 0; open_to_all < 2; open_to_all++) {
        assert_int_equal(chmod(path, open_to_all ? 0666 : 0600), 0);
        pid_t other = fork();
        if (other == 0) {
            if (setuid(NOBODY) < 0)
                _exit(100);
            _exit(control_connect(base, &err) >= 0 ? 0 : errno);
        }
        int status;
        assert_int_equal(waitpid(other, &status, 0), other);
        assert_int_equal(WEXITSTATUS(status), open_to_all ? 0 : EACCES);
    }
    assert_int_equal(control_accept(listener), -1);
    assert_int_equal(errno, EPERM);
    (void)close(listener);
    assert_int_equal(tree_remove(base, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),           cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_unwanted_descriptors), cmocka_unit_test(test_listen),
        cmocka_unit_test(test_other_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
