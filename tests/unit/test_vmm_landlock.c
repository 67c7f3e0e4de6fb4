/* Landlock as hybrid-vmm uses it: nothing new can be reached, what is open stays of use. */
/* link: vmm */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/landlock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a confined process tries. Each returns 0, or the errno of a refusal. */

static int attempt(int result)
{
    int cause = errno;
    if (result >= 0)
        (void)close(result);
    return result < 0 ? cause : 0;
}

static int try_read(void)
{
    return attempt(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
}

static int try_list(void)
{
    return attempt(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int try_write(void)
{
    return attempt(open("/dev/null", O_WRONLY | O_CLOEXEC));
}

static int try_make(void)
{
    return mkdir("/tmp/hybrid-landlock", 0700) < 0 ? errno : 0;
}

static int try_execute(void)
{
    char *const arguments[] = { (char *)"true", NULL };
    (void)execv("/bin/true", arguments);
    return errno;
}

static int try_bind(void)
{
    const struct sockaddr_in any = { .sin_family = AF_INET,
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result = bind(fd, (const struct sockaddr *)&any, sizeof any) < 0 ? errno : 0;
    (void)close(fd);
    return result;
}

static int try_signal(void)
{
    return kill(getppid(), 0) < 0 ? errno : 0;
}

static const struct {
    int (*attempt)(void);
    int since; /* version of the interface that knows it */
    int refusal;
} ATTEMPTS[] = {
    { try_read, 1, EACCES },    { try_list, 1, EACCES }, { try_write, 1, EACCES },
    { try_make, 1, EACCES },    { try_bind, 4, EACCES }, { try_signal, 6, EPERM },
    { try_execute, 1, EACCES }, /* last: unconfined, it does not come back */
};

enum { ATTEMPT_COUNT = sizeof ATTEMPTS / sizeof ATTEMPTS[0] };

struct outcome {
    int confined, abi;
    int refusals[ATTEMPT_COUNT];
    ssize_t open_before; /* bytes read from a file that was open */
};

static void confine_and_try(struct outcome *outcome)
{
    struct error err;
    char byte;
    int before = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    outcome->confined = landlock_confine(0, &outcome->abi, &err);
    outcome->open_before = read(before, &byte, 1);
    for (size_t i = 0; i < ATTEMPT_COUNT; i++) {
        if (outcome->abi >= ATTEMPTS[i].since)
            outcome->refusals[i] = ATTEMPTS[i].attempt();
    }
}

static void test_everything_is_refused(void **state)
{
    (void)state;
    struct outcome *outcome =
        mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(outcome, MAP_FAILED);
    int status;
    pid_t child = fork();
    if (child == 0) {
        confine_and_try(outcome);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(outcome->confined, 0);
    assert_int_equal(outcome->open_before, 1);
    long version = syscall(444, NULL, 0, 1); /* what the kernel has */
    if (version < 1) {
        assert_int_equal(outcome->abi, 0);
        print_message("SKIP: this kernel has no Landlock\n");
        skip();
    }
    assert_int_equal(outcome->abi, version < 6 ? version : 6);
    for (size_t i = 0; i < ATTEMPT_COUNT; i++) {
        if (outcome->abi >= ATTEMPTS[i].since && outcome->refusals[i] != ATTEMPTS[i].refusal)
            fail_msg("attempt %zu: errno %d instead of %d", i, outcome->refusals[i],
                     ATTEMPTS[i].refusal);
    }
    (void)munmap(outcome, sizeof *outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_everything_is_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
