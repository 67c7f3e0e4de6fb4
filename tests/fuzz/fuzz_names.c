/* link: names */
/* wrap: socket connect write ppoll clock_gettime */
/* What a guest says to hybrid-names, and what a name server answers. */
#include "input.h"

#include "vmm/names/service.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SOCKETS = 128, MAX_ANSWER = 512 };

static struct {
    struct input answers;
    int peers[MAX_SOCKETS];
    size_t count;
} world;

/* Nobody waits: a millisecond goes by with each look at the clock. The other end of a socket has an
 * answer from the beginning, and takes everything.
 * NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    static int64_t milliseconds;
    (void)clock;
    milliseconds++;
    *now = (struct timespec){ .tv_sec = milliseconds / 1000,
                              .tv_nsec = milliseconds % 1000 * 1000000 };
    return 0;
}

int __real_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *patience,
                 const sigset_t *mask);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *patience,
                 const sigset_t *mask);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *patience,
                 const sigset_t *mask)
{
    const struct timespec none = { 0 };
    (void)patience;
    return __real_ppoll(fds, count, &none, mask);
}

int __wrap_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
    int ends[2];
    uint8_t bytes[MAX_ANSWER];
    (void)domain;
    (void)protocol;
    if (world.count == MAX_SOCKETS) {
        errno = EMFILE;
        return -1;
    }
    assert(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends) == 0);
    size_t wanted = input_8(&world.answers), size = wanted * 2;
    size = size < world.answers.left ? size : world.answers.left;
    input_take(&world.answers, bytes, size);
    (void)send(ends[1], bytes, size, MSG_DONTWAIT);
    if (wanted % 2 == 0)
        (void)shutdown(ends[1], SHUT_WR);
    world.peers[world.count++] = ends[1];
    return ends[0];
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    (void)fd;
    (void)address;
    (void)length;
    return 0;
}

ssize_t __wrap_write(int fd, const void *data, size_t length);
ssize_t __wrap_write(int fd, const void *data, size_t length)
{
    const volatile uint8_t *bytes = data;
    uint8_t sum = 0;
    (void)fd;
    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + bytes[i]); /* a sanitizer looks on */
    return sum <= UINT8_MAX ? (ssize_t)length : -1;
}
/* NOLINTEND(bugprone-reserved-identifier) */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct service service;
    static const struct sockaddr_in server = { .sin_family = AF_INET };
    int stream[2];
    struct error err;
    struct input questions = { data, size };
    size_t answers = (size_t)input_8(&questions) * 4;
    answers = answers < questions.left ? answers : questions.left;
    world.answers = (struct input){ questions.at, answers };
    world.count = 0;
    questions.at += answers;
    questions.left -= answers;
    assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) == 0);
    (void)send(stream[1], questions.at, questions.left, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(stream[1], SHUT_WR);
    service_init(&service, stream[0], &server);
    (void)service_run(&service, &err);
    for (size_t i = 0; i < NAMES_SLOTS; i++)
        if (service.slots[i].fd >= 0)
            (void)close(service.slots[i].fd);
    for (size_t i = 0; i < world.count; i++)
        (void)close(world.peers[i]);
    (void)close(stream[0]);
    (void)close(stream[1]);
    return 0;
}
