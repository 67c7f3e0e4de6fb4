/* For the tests of both halves of questions for names, in a namespace of our own: a name server,
 * which is a thread that gives questions back as answers, and the host's half, another one. */
#ifndef HYBRID_TEST_NAMES_H
#define HYBRID_TEST_NAMES_H

#include "cleanup.h"
#include "include/wire_io.h"
#include "io.h"
#include "vmm/names/service.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    QUESTION = 40,
    SOON = 5 * 1000, /* milliseconds for what must happen */
    NOT = 100,       /* for what must not */
    BEGIN = 1, /* first byte of a question after its id: asks for an answer of this many KiB */
};

#define GUEST  "127.0.0.11"
#define SERVER "127.0.0.12"
#define NOBODY "127.0.0.13"

static inline struct sockaddr_in at(const char *address)
{
    struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(NAMES_PORT) };
    assert_int_equal(inet_pton(AF_INET, address, &name.sin_addr), 1);
    return name;
}

static inline bool is_readable(int fd, int milliseconds)
{
    struct pollfd readable = { .fd = fd, .events = POLLIN };
    return poll(&readable, 1, milliseconds) > 0;
}

/* --- a name server -------------------------------------------------------------------------------
 */

struct server {
    int datagrams, listener;
    pthread_t thread;
};

/* The byte behind the id says how long the answer is, over TCP; 0: as the question. */
static inline void serve_connection(int fd)
{
    static uint8_t message[2 + NAMES_MAX_MESSAGE];
    while (io_read_all(fd, message, 2) == 2) {
        size_t length = (size_t)message[0] << 8 | message[1];
        if (io_read_all(fd, message + 2, length) != (ssize_t)length)
            return;
        if (message[4] == 0xff) /* hangs up in the middle of its answer */
            length = 10;
        else if (message[4] > 0)
            length = message[4] * 1024U - 1;
        message[0] = (uint8_t)(length >> 8);
        message[1] = (uint8_t)length;
        if (io_write_all(fd, message, message[4] == 0xff ? 5 : 2 + length) < 0 ||
            message[4] == 0xff)
            return;
    }
}

static inline void *serve(void *context)
{
    const struct server *server = context;
    struct pollfd fds[] = { { .fd = server->datagrams, .events = POLLIN },
                            { .fd = server->listener, .events = POLLIN } };
    uint8_t message[NAMES_MAX_QUESTION + 1];
    for (;;) {
        struct sockaddr_in client;
        socklen_t size = sizeof client;
        (void)poll(fds, 2, -1);
        if (fds[0].revents) {
            ssize_t n = recvfrom(server->datagrams, message, sizeof message, 0,
                                 (struct sockaddr *)&client, &size);
            if (n <= 0) /* the test is over */
                return NULL;
            if (message[2] != 0xfe) /* such a question has no answer */
                (void)sendto(server->datagrams, message, (size_t)n, 0, (struct sockaddr *)&client,
                             size);
        }
        if (fds[1].revents) {
            _cleanup_close_ int fd = accept(server->listener, NULL, NULL);
            serve_connection(fd);
        }
    }
}

static inline void server_start(struct server *server)
{
    const struct sockaddr_in name = at(SERVER);
    server->datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    (void)setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(server->datagrams, (const struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(bind(server->listener, (const struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(server->listener, 32), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static inline void server_stop(struct server *server)
{
    (void)shutdown(server->datagrams, SHUT_RDWR);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    (void)close(server->datagrams);
    (void)close(server->listener);
}

/* --- the host's half -----------------------------------------------------------------------------
 */

struct host {
    struct service service;
    struct sockaddr_in server;
    int guest_fd; /* the test's end */
    pthread_t thread;
    int result;
    struct error err;
};

static inline void *run_service(void *context)
{
    struct host *host = context;
    host->result = service_run(&host->service, &host->err);
    (void)close(host->service.stream_fd);
    return NULL;
}

static inline struct host *host_start(const char *server)
{
    int ends[2];
    struct host *host = calloc(1, sizeof *host);
    assert_non_null(host);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    host->guest_fd = ends[0];
    host->server = at(server);
    service_init(&host->service, ends[1], &host->server);
    assert_int_equal(pthread_create(&host->thread, NULL, run_service, host), 0);
    return host;
}

/* Closes the connection, if that was not done. Returns how the service ended. */
static inline int host_end(struct host *host, struct error *err)
{
    if (host->guest_fd >= 0)
        (void)shutdown(host->guest_fd, SHUT_WR);
    assert_int_equal(pthread_join(host->thread, NULL), 0);
    cleanup_close(&host->guest_fd);
    int result = host->result;
    if (err)
        *err = host->err;
    for (size_t i = 0; i < NAMES_SLOTS; i++)
        cleanup_close(&host->service.slots[i].fd);
    free(host);
    return result;
}

/* Reads one frame of the service, and what is in it. */
static inline struct names_head read_answer(int fd, uint8_t message[NAMES_MAX_MESSAGE])
{
    struct names_head head;
    assert_true(is_readable(fd, SOON));
    assert_int_equal(io_read_all(fd, &head, sizeof head), sizeof head);
    assert_int_equal(io_read_all(fd, message, head.length), head.length);
    return head;
}

static inline int enter_namespace(void)
{
    struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP };
    (void)signal(SIGPIPE, SIG_IGN);
    if (unshare(CLONE_NEWNET) < 0)
        return -1;
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return ioctl(fd, SIOCSIFFLAGS, &up);
}

static inline void test_without_namespace(void **state)
{
    (void)state;
    print_message("SKIP: a network namespace of our own is not to be had\n");
    skip();
}

/* Runs the tests in a namespace of our own, or says why not. */
#define RUN_IN_NAMESPACE(tests)                                                                    \
    (enter_namespace() < 0 ? cmocka_run_group_tests(WITHOUT_NAMESPACE, NULL, NULL)                 \
                           : cmocka_run_group_tests(tests, NULL, NULL))

static const struct CMUnitTest WITHOUT_NAMESPACE[] = { cmocka_unit_test(test_without_namespace) };

#endif
