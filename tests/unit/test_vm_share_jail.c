/* The filter of virtiofsd, every thread of it: what no file server calls ends it. */
/* link: vm sandbox cgroup program */
#include "runtime/vm/share_rules.h"
#include "vmm/seccomp.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE       ((long)SHARE_PROGRAM_PAGE)
#define OTHER_PAGE (PAGE + 4096)
#define HIGH_PAGE  (PAGE + (1L << 32)) /* the same low half */
#define THREAD     (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)

enum answer { KILLED, FAILS_AS_ABSENT, RETURNS };

static const struct attempt {
    const char *what;
    enum answer answer;
    long call, arguments[6];
} ATTEMPTS[] = {
    /* Other programs and processes. The page of the one program is not there any more. */
    { "execve from the page", RETURNS, __NR_execve, { PAGE } },
    { "execve from elsewhere", KILLED, __NR_execve, { OTHER_PAGE } },
    { "execve from one above", KILLED, __NR_execve, { HIGH_PAGE } },
    { "execveat", KILLED, __NR_execveat, { AT_FDCWD, PAGE } },
    { "mmap over the page", KILLED, __NR_mmap, { PAGE, 4096, PROT_READ, MAP_FIXED } },
    { "mmap up to the page", KILLED, __NR_mmap, { PAGE - 4096, 8192, PROT_READ, MAP_FIXED } },
    { "mmap anywhere", RETURNS, __NR_mmap, { 0, 0 } },
    { "mremap onto the page", KILLED, __NR_mremap, { PAGE, 1, 1, MREMAP_FIXED | 1, PAGE } },
    { "mremap", RETURNS, __NR_mremap, { 0, 0, 0, MREMAP_MAYMOVE } },
    { "shmat", KILLED, __NR_shmat, { 0, PAGE } },
    { "memfd_create", KILLED, __NR_memfd_create, { 0 } },
    { "mprotect for code", KILLED, __NR_mprotect, { 0, 0, PROT_READ | PROT_EXEC } },
    { "mprotect", RETURNS, __NR_mprotect, { 0, 0, PROT_READ } },
    { "fork", KILLED, __NR_fork, { 0 } },
    { "vfork", KILLED, __NR_vfork, { 0 } },
    { "clone of a process", KILLED, __NR_clone, { SIGCHLD } },
    { "clone with a namespace", KILLED, __NR_clone, { CLONE_NEWUSER | SIGCHLD } },
    { "clone without the rest", KILLED, __NR_clone, { THREAD } },
    { "clone3", FAILS_AS_ABSENT, __NR_clone3, { 0 } },
    { "ptrace", KILLED, __NR_ptrace, { PTRACE_TRACEME } },
    { "process_vm_readv", KILLED, __NR_process_vm_readv, { 1 } },
    { "process_vm_writev", KILLED, __NR_process_vm_writev, { 1 } },
    { "kill", KILLED, __NR_kill, { 0, 0 } },
    { "tgkill", KILLED, __NR_tgkill, { 1, 1, 0 } },
    { "pidfd_open", KILLED, __NR_pidfd_open, { 1 } },
    { "pidfd_getfd", KILLED, __NR_pidfd_getfd, { -1 } },
    { "setpriority", KILLED, __NR_setpriority, { 0 } },
    { "sched_setscheduler", KILLED, __NR_sched_setscheduler, { 0 } },
    /* Mounts and namespaces. */
    { "mount", KILLED, __NR_mount, { 0 } },
    { "umount2", KILLED, __NR_umount2, { 0 } },
    { "pivot_root", KILLED, __NR_pivot_root, { 0 } },
    { "move_mount", KILLED, __NR_move_mount, { -1 } },
    { "open_tree", KILLED, __NR_open_tree, { -1 } },
    { "fsopen", KILLED, __NR_fsopen, { 0 } },
    { "mount_setattr", KILLED, __NR_mount_setattr, { -1 } },
    { "setns", KILLED, __NR_setns, { -1 } },
    { "unshare of files", RETURNS, __NR_unshare, { CLONE_FS } },
    { "unshare of users", KILLED, __NR_unshare, { CLONE_NEWUSER } },
    { "unshare of mounts", KILLED, __NR_unshare, { CLONE_FS | CLONE_NEWNS } },
    /* Networks, and descriptors of others. */
    { "socket", KILLED, __NR_socket, { AF_INET, SOCK_STREAM } },
    { "socket of a file", KILLED, __NR_socket, { AF_UNIX, SOCK_STREAM } },
    { "socketpair", KILLED, __NR_socketpair, { AF_UNIX, SOCK_STREAM } },
    { "connect", KILLED, __NR_connect, { -1 } },
    { "bind", KILLED, __NR_bind, { -1 } },
    { "listen", KILLED, __NR_listen, { -1 } },
    { "ioctl", KILLED, __NR_ioctl, { -1 } },
    { "open_by_handle_at", KILLED, __NR_open_by_handle_at, { -1 } },
    { "fanotify_init", KILLED, __NR_fanotify_init, { 0 } },
    /* What a kernel is attacked by. */
    { "bpf", KILLED, __NR_bpf, { 0 } },
    { "perf_event_open", KILLED, __NR_perf_event_open, { 0 } },
    { "userfaultfd", FAILS_AS_ABSENT, __NR_userfaultfd, { 0 } },
    { "io_uring_setup", KILLED, __NR_io_uring_setup, { 1 } },
    { "keyctl", KILLED, __NR_keyctl, { 0 } },
    { "add_key", KILLED, __NR_add_key, { 0 } },
    { "init_module", KILLED, __NR_init_module, { 0 } },
    { "kexec_load", KILLED, __NR_kexec_load, { 0 } },
    { "reboot", KILLED, __NR_reboot, { 0 } },
    { "settimeofday", KILLED, __NR_settimeofday, { 0 } },
    { "modify_ldt", KILLED, __NR_modify_ldt, { 0 } },
    { "personality", KILLED, __NR_personality, { 0 } },
    /* Itself. */
    { "setrlimit", KILLED, __NR_setrlimit, { 0 } },
    { "prlimit64 to read", RETURNS, __NR_prlimit64, { 0, 0, 0, 0 } },
    { "prlimit64 to set", KILLED, __NR_prlimit64, { 0, 0, PAGE, 0 } },
    { "setuid", KILLED, __NR_setuid, { 0 } },
    { "prctl to be dumped", KILLED, __NR_prctl, { PR_SET_DUMPABLE, 1 } },
    { "prctl of memory", KILLED, __NR_prctl, { PR_SET_MM } },
    { "prctl that asks", RETURNS, __NR_prctl, { PR_CAPBSET_READ, CAP_CHOWN } },
};

/* In a child: exits with 0 if the call returns, 1 if it does with ENOSYS. */
__attribute__((noreturn)) static void attempt_in_filter(const struct attempt *attempt)
{
    struct error err;
    const long *arguments = attempt->arguments;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_enter(SECCOMP_STARTUP, &err) < 0)
        _exit(3);
    long result = syscall(attempt->call, arguments[0], arguments[1], arguments[2], arguments[3],
                          arguments[4], arguments[5]);
    /* Sanitizers do more at an exit than the filter allows. */
    (void)syscall(__NR_exit_group, result < 0 && errno == ENOSYS);
    __builtin_unreachable();
}

static void test_filter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ATTEMPTS / sizeof ATTEMPTS[0]; i++) {
        const struct attempt *attempt = &ATTEMPTS[i];
        int status;
        pid_t child = fork();
        if (child == 0)
            attempt_in_filter(attempt);
        assert_int_equal(waitpid(child, &status, 0), child);
        enum answer answer = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? KILLED
                             : status == 1 << 8                                ? FAILS_AS_ABSENT
                                                                               : RETURNS;
        if (answer != attempt->answer || (answer == RETURNS && status != 0))
            fail_msg("%s: status %#x", attempt->what, (unsigned)status);
    }
}

static void test_table(void **state)
{
    (void)state;
    struct sock_filter program[SECCOMP_MAX_PROGRAM];
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
