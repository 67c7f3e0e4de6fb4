/* What operations cost, each measured many times: a line {"kind","samples"} of nanoseconds. */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_FILES "/.hybrid-probe" /* of the workload's writable layer, gone with it */

enum {
    CALLS = 200,
    PAGES = 64,
    PAGE_SIZE = 4096,
    FILES = 50,
    MAX_SAMPLES = 400,
    BUDGET = 400 * 1000 * 1000, /* nanoseconds for the samples of one operation */
};

/* Descriptors of the operation that is being measured; one at a time. */
static struct {
    int file;
    int client;
    pid_t server;
} work = { -1, -1, 0 };

static int run_syscall(void)
{
    for (int i = 0; i < CALLS; i++)
        (void)syscall(SYS_getppid);
    return CALLS;
}

static int run_fault(void)
{
    char *pages = mmap(NULL, (size_t)PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return -1;
    (void)madvise(pages, (size_t)PAGES * PAGE_SIZE, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < PAGES; i++)
        ((volatile char *)pages)[i * PAGE_SIZE] = 1;
    (void)munmap(pages, (size_t)PAGES * PAGE_SIZE);
    return PAGES;
}

static int run_fork_exec(void)
{
    int status;
    pid_t child = fork();
    if (child < 0)
        return -1;
    if (child == 0) {
        (void)execl("/proc/self/exe", "probe", "nothing", (char *)NULL);
        _exit(1);
    }
    if (waitpid(child, &status, 0) < 0)
        return -1;
    errno = ENOEXEC;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : -1;
}

static int prepare_files(void)
{
    return mkdir(PROBE_FILES, 0700) < 0 && errno != EEXIST ? -1 : 0;
}

static int prepare_fsync(void)
{
    if (prepare_files() < 0)
        return -1;
    work.file = open(PROBE_FILES "/fsync", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return work.file < 0 ? -1 : 0;
}

static int run_fsync(void)
{
    static const char block[PAGE_SIZE] = "hybrid";
    return pwrite(work.file, block, sizeof block, 0) == sizeof block && fsync(work.file) == 0 ? 1
                                                                                              : -1;
}

static void finish_fsync(void)
{
    (void)close(work.file);
    (void)unlink(PROBE_FILES "/fsync");
}

static void file_name(char *name, size_t size, int number)
{
    (void)snprintf(name, size, PROBE_FILES "/%d", number);
}

static int prepare_stat(void)
{
    if (prepare_files() < 0)
        return -1;
    for (int i = 0; i < FILES; i++) {
        char name[64];
        file_name(name, sizeof name, i);
        int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return -1;
        (void)close(fd);
    }
    return 0;
}

static int run_stat(void)
{
    for (int i = 0; i < FILES; i++) {
        char name[64];
        struct stat status;
        file_name(name, sizeof name, i);
        if (stat(name, &status) < 0)
            return -1;
    }
    return FILES;
}

static void finish_stat(void)
{
    for (int i = 0; i < FILES; i++) {
        char name[64];
        file_name(name, sizeof name, i);
        (void)unlink(name);
    }
}

/* Sends back each byte; ends with the connection. */
static void serve(int listener)
{
    char byte;
    int connection = accept(listener, NULL, NULL), on = 1;
    (void)setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (read(connection, &byte, 1) == 1 && write(connection, &byte, 1) == 1)
        continue;
    _exit(0);
}

static int prepare_tcp(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0 || listen(listener, 1) < 0)
        return -1;
    work.server = fork();
    if (work.server == 0)
        serve(listener);
    (void)close(listener);
    work.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (work.server < 0 || work.client < 0 ||
        connect(work.client, (struct sockaddr *)&address, length) < 0)
        return -1;
    return setsockopt(work.client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int run_tcp(void)
{
    char byte = 'x';
    return write(work.client, &byte, 1) == 1 && read(work.client, &byte, 1) == 1 ? 1 : -1;
}

static void finish_tcp(void)
{
    (void)close(work.client);
    (void)waitpid(work.server, NULL, 0);
}

const struct probe_operation probe_operations[] = {
    { "syscall", NULL, run_syscall, NULL, MAX_SAMPLES },
    { "fault", NULL, run_fault, NULL, MAX_SAMPLES },
    { "fork_exec", NULL, run_fork_exec, NULL, MAX_SAMPLES / 4 },
    { "fsync", prepare_fsync, run_fsync, finish_fsync, MAX_SAMPLES / 4 },
    { "stat", prepare_stat, run_stat, finish_stat, MAX_SAMPLES },
    { "tcp", prepare_tcp, run_tcp, finish_tcp, MAX_SAMPLES },
    { 0 },
};

static void measure(const struct probe_operation *operation)
{
    static int64_t samples[MAX_SAMPLES];
    int count = 0, failure = 0;
    if (operation->prepare && operation->prepare() < 0)
        failure = errno;
    const int64_t until = probe_now() + BUDGET;
    for (int i = -1; failure == 0 && i < operation->most; i++) {
        int64_t start = probe_now();
        int divisor = operation->run();
        int64_t end = probe_now();
        if (divisor < 0)
            failure = errno;
        else if (i >= 0) /* the first warms up */
            samples[count++] = (end - start) / divisor;
        if (end > until && count > 0)
            break;
    }
    (void)printf("{\"kind\":\"%s\",", operation->name);
    if (failure != 0) {
        (void)fputs("\"missing\":", stdout);
        probe_print_string(strerror(failure));
    } else {
        (void)fputs("\"samples\":[", stdout);
        for (int i = 0; i < count; i++)
            (void)printf("%s%lld", i ? "," : "", (long long)samples[i]);
        (void)putchar(']');
    }
    (void)puts("}");
    (void)fflush(stdout);
    if (operation->finish && failure == 0)
        operation->finish();
}

int probe_cost(char **arguments)
{
    (void)arguments;
    for (const struct probe_operation *operation = probe_operations; operation->name; operation++)
        measure(operation);
    return 0;
}

/* A little of everything, between two lines, when a byte of input says so. */
int probe_load(char **arguments)
{
    char byte;
    (void)arguments;
    (void)puts("ready");
    (void)fflush(stdout);
    if (read(STDIN_FILENO, &byte, 1) != 1)
        return 1;
    for (const struct probe_operation *operation = probe_operations; operation->name; operation++) {
        if (operation->prepare && operation->prepare() < 0)
            continue;
        (void)operation->run();
        if (operation->finish)
            operation->finish();
    }
    (void)puts("done");
    (void)fflush(stdout);
    return read(STDIN_FILENO, &byte, 1) < 0; /* until the observer has seen it */
}
