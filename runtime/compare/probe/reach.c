/*
 * Which system calls get as far as the kernel's own code: each is made once, by a child of its own,
 * with arguments that no call accepts. Prints {"calls": "..."}, a letter for each number, after the
 * facts.
 */
#include "probe.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of a call that waits for ever: it was reached. */
enum { PATIENCE_MICROSECONDS = 20 * 1000 };

/* -1 means "unknown" to these, which say so with ENOSYS: they get something that they know. */
static const struct harmless {
    long number, first, second, third;
} harmless[] = {
    { SYS_futex, 0, 1 /* FUTEX_WAKE */, 0 },
    { SYS_modify_ldt, 0 /* read */, 0, 0 },
};

struct attempt {
    long number;
    volatile int *result; /* shared with the child: errno, 0 for success, -1 for no answer */
};

/* Its child runs on our stack: only the C library's own wrapper survives that. */
static long call_vfork(void)
{
    pid_t child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
    if (child == 0)
        _exit(0);
    return child;
}

static int attempt(void *context)
{
    const struct attempt *try = context;
    long arguments[3] = { -1, -1, -1 };
    pid_t self = getpid();
    struct itimerval patience = { .it_value.tv_usec = PATIENCE_MICROSECONDS };
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if (harmless[i].number == try->number) {
            arguments[0] = harmless[i].first;
            arguments[1] = harmless[i].second;
            arguments[2] = harmless[i].third;
        }
    }
    (void)setsid(); /* vhangup(2) would take the caller's terminal */
    (void)setitimer(ITIMER_REAL, &patience, NULL);
    volatile int *result = try->result;
    long number = try->number;
    long returned = number == SYS_vfork
                        ? call_vfork()
                        : syscall(number, arguments[0], arguments[1], arguments[2], -1L, -1L, -1L);
    int error = errno;
    if (syscall(SYS_getpid) == self) /* else a child that the call made */
        *result = returned == -1 ? error : 0;
    return 0;
}

/* e: EPERM, n: ENOSYS, s: ended by SIGSYS, r: anything else, which the kernel's own code said. */
static int judge(int result, int status)
{
    if (result < 0 && status >= 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        return 's';
    return result == EPERM ? 'e' : result == ENOSYS ? 'n' : 'r';
}

int probe_reach(char **arguments)
{
    if (probe_facts(arguments) != 0)
        return 1;
    int *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    (void)printf("{\"calls\":\"");
    for (long number = 0; number <= PROBE_LAST_CALL; number++) {
        struct attempt try = { .number = number, .result = shared };
        *shared = -1;
        int status = probe_in_child(attempt, &try);
        (void)putchar(judge(*(volatile int *)shared, status));
    }
    (void)puts("\"}");
    return 0;
}
