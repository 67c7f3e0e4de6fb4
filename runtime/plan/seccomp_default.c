/*
 * The default seccomp profile: which system calls a workload may make. The same set as Docker's, so
 * that an image finds what it finds there. What is not listed answers EPERM.
 */
#include "compose.h"

#include "cleanup.h"
#include "seccomp_native.h"

#define ALLOW          "SCMP_ACT_ALLOW"
#define ERRNO          "SCMP_ACT_ERRNO"
#define ENTRIES(array) (sizeof(array) / sizeof *(array))

/* CLONE_NEW* but CLONE_NEWTIME, which clone(2) cannot ask for: namespaces are for CAP_SYS_ADMIN. */
#define CLONE_NAMESPACES 0x7e020000

enum need { ALWAYS, WITH, WITHOUT };

struct group {
    const char *names; /* separated by spaces */
    enum need need;
    const char *capability; /* WITH or WITHOUT this one in the bounding set */
    const char *arch;       /* only on this architecture; NULL: on all */
};

static const struct group allowed[] = {
    /* files and directories */
    { .names = "access cachestat chdir chmod chown chown32 close close_range copy_file_range "
               "creat dup dup2 dup3 faccessat faccessat2 fadvise64 fadvise64_64 fallocate "
               "fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl "
               "fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync "
               "ftruncate ftruncate64 futimesat getcwd getdents getdents64 inotify_add_watch "
               "inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 link linkat "
               "listmount _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat "
               "name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv "
               "preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv "
               "rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs "
               "statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs tee "
               "truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 "
               "utimes vmsplice write writev" },
    /* extended attributes */
    { .names = "fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr "
               "listxattr listxattrat llistxattr lremovexattr lsetxattr removexattr "
               "removexattrat setxattr setxattrat" },
    /* waiting for events */
    { .names = "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 "
               "epoll_wait epoll_wait_old eventfd eventfd2 io_cancel io_destroy io_getevents "
               "io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll "
               "ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4" },
    /* memory */
    { .names = "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock "
               "mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap "
               "pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages" },
    /* processes and threads */
    { .names = "execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait "
               "futex_waitv futex_wake get_robust_list get_thread_area getcpu getpgid getpgrp "
               "getpid getppid getpriority getrandom getrlimit getrusage getsid gettid "
               "ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset "
               "landlock_restrict_self pidfd_open pidfd_send_signal prctl prlimit64 "
               "process_vm_readv process_vm_writev ptrace restart_syscall riscv_hwprobe rseq "
               "seccomp set_robust_list set_thread_area set_tid_address setpgid setpriority "
               "setrlimit setsid sysinfo tgkill times tkill ugetrlimit uname uretprobe vfork "
               "wait4 waitid waitpid" },
    /* identity */
    { .names = "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups "
               "getgroups32 getresgid getresgid32 getresuid getresuid32 getuid getuid32 setfsgid "
               "setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid "
               "setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 "
               "setuid setuid32" },
    /* scheduling */
    { .names = "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr "
               "sched_getparam sched_getscheduler sched_rr_get_interval "
               "sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam "
               "sched_setscheduler sched_yield" },
    /* signals */
    { .names = "pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
               "rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo "
               "sigaltstack sigprocmask sigreturn" },
    /* time */
    { .names = "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 "
               "clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer "
               "gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun "
               "timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create "
               "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64" },
    /* sockets, except making one */
    { .names = "accept accept4 bind connect getpeername getsockname getsockopt listen recv "
               "recvfrom recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto "
               "setsockopt shutdown socketcall socketpair" },
    /* System V and POSIX IPC */
    { .names = "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 "
               "mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl "
               "semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget" },
    /* by architecture */
    { .names = "arch_prctl modify_ldt", .arch = "amd64" },
    { .names = "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls "
               "sync_file_range2",
      .arch = "arm64" },
    /* by capability */
    { "open_by_handle_at", WITH, "CAP_DAC_READ_SEARCH", NULL },
    { "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
      "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount "
      "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog "
      "umount umount2 unshare",
      WITH, "CAP_SYS_ADMIN", NULL },
    { "reboot", WITH, "CAP_SYS_BOOT", NULL },
    { "chroot", WITH, "CAP_SYS_CHROOT", NULL },
    { "delete_module finit_module init_module", WITH, "CAP_SYS_MODULE", NULL },
    { "acct", WITH, "CAP_SYS_PACCT", NULL },
    { "kcmp pidfd_getfd process_madvise", WITH, "CAP_SYS_PTRACE", NULL },
    { "ioperm iopl", WITH, "CAP_SYS_RAWIO", NULL },
    { "clock_settime clock_settime64 settimeofday stime", WITH, "CAP_SYS_TIME", NULL },
    { "vhangup", WITH, "CAP_SYS_TTY_CONFIG", NULL },
    { "get_mempolicy mbind set_mempolicy set_mempolicy_home_node", WITH, "CAP_SYS_NICE", NULL },
    { "syslog", WITH, "CAP_SYSLOG", NULL },
    { "bpf", WITH, "CAP_BPF", NULL },
    { "perf_event_open", WITH, "CAP_PERFMON", NULL },
};

/* personality(2): Linux and 32-bit Linux, with and without UNAME26, and the query. */
static const uint32_t personalities[] = { 0x0, 0x8, 0x20000, 0x20008, 0xffffffff };

/*
 * Address families from 12 up; all below are allowed. Not here: what ordinary programs never use
 * and exploits do (AF_ALG, obsolete protocols), and AF_VSOCK (40), which speaks to the hypervisor.
 */
static const uint32_t families[] = { 13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29,
                                     30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45 };

enum { FIRST_LISTED_FAMILY = 12 };

static bool applies(const struct group *group, uint64_t capabilities)
{
    if (group->arch && strcmp(group->arch, SECCOMP_NATIVE_GO_NAME) != 0)
        return false;
    if (group->need == ALWAYS)
        return true;
    bool held = capabilities >> capability_from_name(group->capability) & 1;
    return held == (group->need == WITH);
}

static int append_names(json_t *array, const char *names)
{
    while (*names) {
        size_t length = strcspn(names, " ");
        if (json_array_append_new(array, json_stringn(names, length)) < 0)
            return -1;
        names += length + strspn(names + length, " ");
    }
    return 0;
}

/* All that is allowed without conditions: one rule. */
static json_t *plain_rule(uint64_t capabilities)
{
    json_auto_t *names = json_array();
    for (size_t i = 0; i < ENTRIES(allowed); i++)
        if (applies(&allowed[i], capabilities) && append_names(names, allowed[i].names) < 0)
            return NULL;
    return json_pack("{s:O, s:s}", "names", names, "action", ALLOW);
}

/* One rule: `name` is allowed if its first argument compares with value. */
static json_t *argument_rule(const char *name, const char *comparison, uint32_t value)
{
    return json_pack("{s:[s], s:s, s:[{s:i, s:I, s:s}]}", "names", name, "action", ALLOW, "args",
                     "index", 0, "value", (json_int_t)value, "op", comparison);
}

static int append_rules(json_t *rules, const char *name, const uint32_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(rules, argument_rule(name, "SCMP_CMP_EQ", values[i])) < 0)
            return -1;
    return 0;
}

/* clone without new namespaces. clone3 hides its flags behind a pointer: ENOSYS makes the C library
 * use clone instead. */
static int append_clone_rules(json_t *rules)
{
    json_t *clone = json_pack("{s:[s], s:s, s:[{s:i, s:I, s:I, s:s}]}", "names", "clone", "action",
                              ALLOW, "args", "index", 0, "value", (json_int_t)CLONE_NAMESPACES,
                              "valueTwo", (json_int_t)0, "op", "SCMP_CMP_MASKED_EQ");
    json_t *clone3 =
        json_pack("{s:[s], s:s, s:i}", "names", "clone3", "action", ERRNO, "errnoRet", ENOSYS);
    int first = json_array_append_new(rules, clone);
    int second = json_array_append_new(rules, clone3);
    return first < 0 || second < 0 ? -1 : 0;
}

json_t *seccomp_default_profile(uint64_t capabilities)
{
    bool admin = capabilities >> capability_from_name("CAP_SYS_ADMIN") & 1;
    json_auto_t *rules = json_array();
    if (json_array_append_new(rules, plain_rule(capabilities)) < 0 ||
        json_array_append_new(rules, argument_rule("socket", "SCMP_CMP_LT", FIRST_LISTED_FAMILY)) <
            0 ||
        append_rules(rules, "socket", families, ENTRIES(families)) < 0 ||
        append_rules(rules, "personality", personalities, ENTRIES(personalities)) < 0 ||
        (!admin && append_clone_rules(rules) < 0))
        return NULL;
    json_auto_t *architectures = seccomp_native_architectures();
    return json_pack("{s:s, s:i, s:O, s:O}", "defaultAction", ERRNO, "defaultErrnoRet", EPERM,
                     "architectures", architectures, "syscalls", rules);
}
