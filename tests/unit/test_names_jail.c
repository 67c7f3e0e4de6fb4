/* The filter of hybrid-names: what it needs passes, and it can speak to nobody but its server. */
/* link: names */
#include "cleanup.h"
#include "vmm/names/rules.h"
#include "vmm/seccomp.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE       ((long)NAMES_SERVER_PAGE)
#define OTHER_PAGE (PAGE + 4096)
/* The same low half: a filter that compared no more would let it pass. */
#define HIGH_PAGE (PAGE + (1L << 32))

static const struct attempt {
    const char *what;
    bool allowed;
    long call, arguments[5];
} ATTEMPTS[] = {
    { "connect to the server", true, __NR_connect, { 5, PAGE, sizeof(struct sockaddr_in) } },
    { "connect to another", false, __NR_connect, { 5, OTHER_PAGE, sizeof(struct sockaddr_in) } },
    { "connect to one above", false, __NR_connect, { 5, HIGH_PAGE, sizeof(struct sockaddr_in) } },
    { "write", true, __NR_write, { -1, PAGE, 1 } },
    { "read", true, __NR_read, { -1, PAGE, 1 } },
    { "close", true, __NR_close, { -1 } },
    { "socket", true, __NR_socket, { AF_INET, SOCK_STREAM } },
    { "socket of a file", false, __NR_socket, { AF_UNIX, SOCK_STREAM } },
    { "socket of IPv6", false, __NR_socket, { AF_INET6, SOCK_DGRAM } },
    { "socket of netlink", false, __NR_socket, { AF_NETLINK, SOCK_RAW } },
    { "socket of vsock", false, __NR_socket, { AF_VSOCK, SOCK_STREAM } },
    { "sendto", false, __NR_sendto, { 5, PAGE, 1, 0, OTHER_PAGE } },
    { "sendmsg", false, __NR_sendmsg, { 5, OTHER_PAGE } },
    { "sendmmsg", false, __NR_sendmmsg, { 5, OTHER_PAGE, 1 } },
    { "bind", false, __NR_bind, { 5, PAGE, sizeof(struct sockaddr_in) } },
    { "listen", false, __NR_listen, { 5, 1 } },
    { "accept", false, __NR_accept4, { 5 } },
    { "setsockopt", false, __NR_setsockopt, { 5 } },
    { "mprotect of the page", false, __NR_mprotect, { PAGE, 4096, PROT_READ | PROT_WRITE } },
    { "mmap over the page", false, __NR_mmap, { PAGE, 4096, PROT_READ, MAP_FIXED } },
    { "munmap of the page", false, __NR_munmap, { PAGE, 4096 } },
    { "mremap onto the page", false, __NR_mremap, { OTHER_PAGE, 4096, 4096, 3, PAGE } },
    { "process_vm_writev", false, __NR_process_vm_writev, { 1 } },
    { "userfaultfd", false, __NR_userfaultfd, { 0 } },
    { "openat", false, __NR_openat, { AT_FDCWD, PAGE } },
    { "setns", false, __NR_setns, { 5 } },
    { "execve", false, __NR_execve, { PAGE } },
    { "clone3", false, __NR_clone3, { PAGE } },
    { "io_uring_setup", false, __NR_io_uring_setup, { 1, PAGE } },
    { "prctl", false, __NR_prctl, { PR_SET_DUMPABLE, 1 } },
    { "ioctl", false, __NR_ioctl, { 5 } },
};

/* In a child: exits with 0 if the call returns. */
__attribute__((noreturn)) static void attempt_in_filter(const struct attempt *attempt)
{
    struct error err;
    const long *arguments = attempt->arguments;
    const struct sockaddr_in nobody = { .sin_family = AF_INET };
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): the filter has numbers */
    void *wanted = (void *)(uintptr_t)PAGE;
    void *page = mmap(wanted, 8192, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page != wanted)
        _exit(2);
    memcpy(page, &nobody, sizeof nobody);
    (void)dup2(socket(AF_INET, SOCK_DGRAM, 0), 5);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_enter(SECCOMP_STARTUP, &err) < 0)
        _exit(3);
    (void)syscall(attempt->call, arguments[0], arguments[1], arguments[2], arguments[3],
                  arguments[4]);
    (void)syscall(__NR_exit_group, 0); /* sanitizers do more at an exit than the filter allows */
    __builtin_unreachable();
}

static void test_filter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ATTEMPTS / sizeof ATTEMPTS[0]; i++) {
        int status;
        pid_t child = fork();
        if (child == 0)
            attempt_in_filter(&ATTEMPTS[i]);
        assert_int_equal(waitpid(child, &status, 0), child);
        bool passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
        if (ATTEMPTS[i].allowed ? !passed : !killed)
            fail_msg("%s: status %#x", ATTEMPTS[i].what, (unsigned)status);
    }
}

static void test_table(void **state)
{
    (void)state;
    struct sock_filter program[SECCOMP_MAX_PROGRAM];
    assert_true(seccomp_rule_count * SECCOMP_RULE_STEPS + SECCOMP_FRAME_STEPS <=
                SECCOMP_MAX_PROGRAM);
    assert_true(seccomp_assemble(SECCOMP_STARTUP, program) <= SECCOMP_MAX_PROGRAM);
    for (size_t i = 0; i < seccomp_rule_count; i++)
        assert_true(strlen(seccomp_rules[i].reason) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
