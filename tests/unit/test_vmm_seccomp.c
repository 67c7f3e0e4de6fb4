/* The filters: what they are made of, and that they hold in a process of their own. */
/* link: vmm */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io.h"
#include "vmm/seccomp.h"

#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const enum seccomp_thread KINDS[] = { SECCOMP_STARTUP, SECCOMP_VCPU, SECCOMP_DISK,
                                             SECCOMP_LOOP, SECCOMP_SHARE };

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

/* What an exploit in the monitor would call, by class. Under no filter of a thread does it return.
 */
static const struct {
    const char *name;
    long call, first, second, third;
} FORBIDDEN[] = {
    { "open", __NR_open, 0, 0, 0 },
    { "openat", __NR_openat, -100, 0, 0 },
    { "openat2", __NR_openat2, -100, 0, 0 },
    { "open_by_handle_at", __NR_open_by_handle_at, 0, 0, 0 },
    { "execve", __NR_execve, 0, 0, 0 },
    { "execveat", __NR_execveat, -100, 0, 0 },
    { "fork", __NR_fork, 0, 0, 0 },
    { "vfork", __NR_vfork, 0, 0, 0 },
    { "clone", __NR_clone, SIGCHLD, 0, 0 },
    { "socket", __NR_socket, 1, 1, 0 },
    { "socketpair", __NR_socketpair, 1, 1, 0 },
    { "connect", __NR_connect, 0, 0, 0 },
    { "bind", __NR_bind, 0, 0, 0 },
    { "sendto", __NR_sendto, 0, 0, 0 },
    { "ptrace", __NR_ptrace, 0, 0, 0 },
    { "process_vm_readv", __NR_process_vm_readv, 1, 0, 0 },
    { "process_vm_writev", __NR_process_vm_writev, 1, 0, 0 },
    { "kill", __NR_kill, 1, 0, 0 },
    { "pidfd_open", __NR_pidfd_open, 1, 0, 0 },
    { "mount", __NR_mount, 0, 0, 0 },
    { "move_mount", __NR_move_mount, 0, 0, 0 },
    { "fsopen", __NR_fsopen, 0, 0, 0 },
    { "umount2", __NR_umount2, 0, 0, 0 },
    { "pivot_root", __NR_pivot_root, 0, 0, 0 },
    { "chroot", __NR_chroot, 0, 0, 0 },
    { "chdir", __NR_chdir, 0, 0, 0 },
    { "unlinkat", __NR_unlinkat, 0, 0, 0 },
    { "setns", __NR_setns, 0, 0, 0 },
    { "unshare", __NR_unshare, 0, 0, 0 },
    { "setuid", __NR_setuid, 0, 0, 0 },
    { "capset", __NR_capset, 0, 0, 0 },
    { "bpf", __NR_bpf, 0, 0, 0 },
    { "perf_event_open", __NR_perf_event_open, 0, 0, 0 },
    { "userfaultfd", __NR_userfaultfd, 0, 0, 0 },
    { "io_uring_setup", __NR_io_uring_setup, 1, 0, 0 },
    { "keyctl", __NR_keyctl, 0, 0, 0 },
    { "init_module", __NR_init_module, 0, 0, 0 },
    { "personality", __NR_personality, 0, 0, 0 },
    { "ioctl TIOCSTI", __NR_ioctl, 0, 0x5412, 0 },
    { "ioctl of block devices", __NR_ioctl, 0, 0x1277 /* BLKDISCARD */, 0 },
    { "mmap executable", __NR_mmap, 0, 4096, PROT_READ | PROT_EXEC },
    { "mprotect executable", __NR_mprotect, 0, 4096, PROT_EXEC },
    { "prctl PR_SET_DUMPABLE", __NR_prctl, PR_SET_DUMPABLE, 1, 0 },
    { "tgkill SIGKILL", __NR_tgkill, 1, 1, SIGKILL },
    { "read by its x32 number", 0x40000000 | __NR_read, -1, 0, 0 },
};

/* Those that only the start of the machine may make: with the guest they are gone. */
static const struct {
    const char *name;
    long call, first, second, third;
} FORBIDDEN_LATER[] = {
    { "memfd_create", __NR_memfd_create, 0, 0, 0 },
    { "ftruncate", __NR_ftruncate, 0, 0, 0 },
    { "clone3", __NR_clone3, 0, 0, 0 },
    { "mprotect", __NR_mprotect, 0, 0, PROT_READ },
    { "seccomp", __NR_seccomp, 0, 0, 0 },
    { "dup2", __NR_dup2, -1, -1, 0 },
    { "lseek", __NR_lseek, -1, 0, 0 },
    { "eventfd2", __NR_eventfd2, 0, 0, 0 },
    { "KVM_CREATE_VM", __NR_ioctl, -1, KVM_CREATE_VM, 0 },
    { "KVM_CREATE_VCPU", __NR_ioctl, -1, KVM_CREATE_VCPU, 0 },
    { "KVM_SET_USER_MEMORY_REGION", __NR_ioctl, -1, KVM_SET_USER_MEMORY_REGION, 0 },
    { "KVM_SET_MSRS", __NR_ioctl, -1, KVM_SET_MSRS, 0 },
    { "KVM_IRQFD", __NR_ioctl, -1, KVM_IRQFD, 0 },
    { "KVM_SET_SREGS", __NR_ioctl, -1, KVM_SET_SREGS, 0 },
};

/*
 * Makes the call in a child, under the filters that a thread of this kind has. Returns whether the
 * process was killed right there. (Not every kind may exit: what follows the call is told by
 * memory.)
 */
static bool killed_at(enum seccomp_thread kind, long call, long first, long second, long third)
{
    int status;
    volatile int *returned =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(returned != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        struct error err;
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (seccomp_enter(SECCOMP_STARTUP, &err) < 0 ||
            (kind != SECCOMP_STARTUP && seccomp_enter(kind, &err) < 0))
            *returned = 2;
        (void)syscall(call, first, second, third, -1, -1, 0);
        *returned = 1;
        (void)syscall(__NR_exit_group, 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    bool killed = *returned == 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
    (void)munmap((void *)returned, 4096);
    return killed;
}

static void test_forbidden_classes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        for (size_t j = 0; j < sizeof FORBIDDEN / sizeof FORBIDDEN[0]; j++) {
            if (!killed_at(KINDS[i], FORBIDDEN[j].call, FORBIDDEN[j].first, FORBIDDEN[j].second,
                           FORBIDDEN[j].third))
                fail_msg("%s is possible in list %d", FORBIDDEN[j].name, KINDS[i]);
        }
        if (KINDS[i] == SECCOMP_STARTUP)
            continue;
        for (size_t j = 0; j < sizeof FORBIDDEN_LATER / sizeof FORBIDDEN_LATER[0]; j++) {
            if (!killed_at(KINDS[i], FORBIDDEN_LATER[j].call, FORBIDDEN_LATER[j].first,
                           FORBIDDEN_LATER[j].second, FORBIDDEN_LATER[j].third))
                fail_msg("%s is possible in list %d", FORBIDDEN_LATER[j].name, KINDS[i]);
        }
    }
}

/* The other way round: what the lists allow is not killed. */
static void test_allowed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++)
        assert_false(killed_at(KINDS[i], __NR_write, -1, 0, 0));
    assert_false(killed_at(SECCOMP_LOOP, __NR_mmap, 0, 4096, PROT_READ));
    assert_false(killed_at(SECCOMP_VCPU, __NR_ioctl, -1, KVM_RUN, 0));
    assert_true(killed_at(SECCOMP_LOOP, __NR_ioctl, -1, KVM_RUN, 0));
    assert_true(killed_at(SECCOMP_DISK, __NR_mmap, 0, 4096, PROT_READ));
    assert_true(killed_at(SECCOMP_VCPU, __NR_read, -1, 0, 0));
    assert_true(killed_at(SECCOMP_DISK, __NR_sendmsg, -1, 0, 0));
}

/* A pause stops the process in the midst of a call, which goes on as one that is allowed. */
static void test_stopped(void **state)
{
    (void)state;
    int status, ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct error err;
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (seccomp_enter(SECCOMP_LOOP, &err) == 0)
            while (!io_is_ready(ends[0], POLLIN))
                ;
        (void)syscall(__NR_exit_group, 1);
    }
    for (int i = 0; i < 100; i++) {
        (void)usleep((useconds_t)(1000 + 37 * i));
        assert_int_equal(kill(child, SIGSTOP), 0);
        assert_int_equal(waitpid(child, &status, WUNTRACED), child);
        assert_true(WIFSTOPPED(status)); /* not killed */
        assert_int_equal(kill(child, SIGCONT), 0);
        assert_int_equal(waitpid(child, &status, WCONTINUED), child);
        assert_true(WIFCONTINUED(status));
    }
    (void)kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_forbidden_classes),
        cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
