/* The filters: what they are made of, and that they hold in a process of their own. */
/* link: vmm */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/seccomp.h"

#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const enum seccomp_thread KINDS[] = { SECCOMP_STARTUP, SECCOMP_VCPU, SECCOMP_DISK,
                                             SECCOMP_LOOP };

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < seccomp_rule_count; i++) {
        const struct seccomp_rule *rule = &seccomp_rules[i];
        assert_true(strlen(rule->reason) > 0);
        assert_true(rule->threads & SECCOMP_STARTUP); /* filters add up: start-up has them all */
        for (size_t j = 0; j < i; j++) {
            const struct seccomp_rule *other = &seccomp_rules[j];
            assert_false(rule->call == other->call && rule->condition == other->condition &&
                         rule->argument == other->argument && rule->value == other->value);
        }
    }
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        struct sock_filter program[SECCOMP_MAX_PROGRAM];
        assert_true(seccomp_assemble(KINDS[i], program) <= SECCOMP_MAX_PROGRAM);
    }
}

/* Calls that a guest's exploit would want, in no list of a running thread. */
static void test_never_allowed(void **state)
{
    static const int CALLS[] = {
        __NR_execve,         __NR_execveat,        __NR_openat, __NR_open,  __NR_openat2,
        __NR_socket,         __NR_connect,         __NR_ptrace, __NR_clone, __NR_clone3,
        __NR_fork,           __NR_mprotect,        __NR_kill,   __NR_mount, __NR_bpf,
        __NR_io_uring_setup, __NR_process_vm_readv
    };
    (void)state;
    for (size_t i = 0; i < seccomp_rule_count; i++) {
        for (size_t j = 0; j < sizeof CALLS / sizeof CALLS[0]; j++) {
            if (seccomp_rules[i].call == CALLS[j])
                assert_int_equal(seccomp_rules[i].threads, SECCOMP_STARTUP);
        }
    }
}

enum attempt { ALLOWED_WRITE, FORBIDDEN_SOCKET, FORBIDDEN_IOCTL, ALLOWED_MMAP, FORBIDDEN_MMAP };

/* Does the attempt under the filter, in a child. Returns how the child ended. */
static int attempt_under(enum seccomp_thread kind, enum attempt attempt)
{
    pid_t child = fork();
    if (child == 0) {
        struct error err;
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (seccomp_enter(kind, &err) < 0)
            syscall(__NR_exit_group, 99);
        const long protection = PROT_READ | (attempt == FORBIDDEN_MMAP ? PROT_EXEC : 0);
        if (attempt == ALLOWED_WRITE)
            (void)syscall(__NR_write, -1, "", 0);
        else if (attempt == FORBIDDEN_SOCKET)
            (void)syscall(__NR_socket, 1, 1, 0);
        else if (attempt == FORBIDDEN_IOCTL)
            (void)syscall(__NR_ioctl, 0, 0x5412 /* TIOCSTI */, "x");
        else
            (void)syscall(__NR_mmap, 0, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        syscall(__NR_exit_group, 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_filters_hold(void **state)
{
    const struct {
        enum seccomp_thread kind;
        enum attempt attempt;
        int allowed;
    } cases[] = {
        { SECCOMP_VCPU, ALLOWED_WRITE, 1 },     { SECCOMP_VCPU, FORBIDDEN_SOCKET, 0 },
        { SECCOMP_VCPU, FORBIDDEN_IOCTL, 0 },   { SECCOMP_VCPU, ALLOWED_MMAP, 0 },
        { SECCOMP_DISK, FORBIDDEN_SOCKET, 0 },  { SECCOMP_DISK, ALLOWED_MMAP, 0 },
        { SECCOMP_LOOP, ALLOWED_MMAP, 1 },      { SECCOMP_LOOP, FORBIDDEN_MMAP, 0 },
        { SECCOMP_LOOP, FORBIDDEN_SOCKET, 0 },  { SECCOMP_LOOP, FORBIDDEN_IOCTL, 0 },
        { SECCOMP_STARTUP, FORBIDDEN_MMAP, 0 }, { SECCOMP_STARTUP, FORBIDDEN_SOCKET, 0 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int status = attempt_under(cases[i].kind, cases[i].attempt);
        if (cases[i].allowed)
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        else
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_never_allowed),
        cmocka_unit_test(test_filters_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
