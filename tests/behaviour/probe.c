/*
 * What the rows of the behaviour table cannot ask busybox: one static program in the test image,
 * with a verb for each question. It looks at its surroundings and prints; it knows nothing of
 * hybrid.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef AF_VSOCK
#define AF_VSOCK 40
#endif

/* NOLINTBEGIN(cert-err34-c): numbers are those of the rows, and right */

enum { PATTERN_BLOCK = 65536 };

/* A block of bytes in which every offset is recognisable; run.py knows the same formula. */
static void fill_pattern(unsigned char *block)
{
    for (unsigned int i = 0; i < PATTERN_BLOCK; i++)
        block[i] = (unsigned char)(i * 7 + (i >> 8));
}

static int write_all(int fd, const unsigned char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

/* pump FD BYTES: the pattern, BYTES long, to FD. */
static int verb_pump(char **arguments)
{
    static unsigned char block[PATTERN_BLOCK];
    int fd = atoi(arguments[0]);
    unsigned long long left = strtoull(arguments[1], NULL, 10);
    fill_pattern(block);
    while (left > 0) {
        size_t part = left < PATTERN_BLOCK ? (size_t)left : PATTERN_BLOCK;
        if (write_all(fd, block, part) < 0) {
            perror("probe: pump");
            return 1;
        }
        left -= part;
    }
    return 0;
}

/* sink: reads stdin to its end; prints how many bytes came, and whether they were the pattern. */
static int verb_sink(char **arguments)
{
    static unsigned char expected[PATTERN_BLOCK], got[PATTERN_BLOCK];
    unsigned long long total = 0;
    bool same = true;
    (void)arguments;
    fill_pattern(expected);
    for (;;) {
        size_t at = (size_t)(total % PATTERN_BLOCK);
        ssize_t n = read(STDIN_FILENO, got, PATTERN_BLOCK - at);
        if (n < 0) {
            perror("probe: sink");
            return 1;
        }
        if (n == 0)
            break;
        same = same && memcmp(got, expected + at, (size_t)n) == 0;
        total += (unsigned long long)n;
    }
    printf("%llu %s\n", total, same ? "same" : "different");
    return 0;
}

/* --- system calls --------------------------------------------------------------------------------
 * Each is made with arguments that do no harm where it is allowed, and prints the errno it ends
 * with: what a seccomp profile, the capabilities and the kernel together let a workload do.
 */
struct call {
    const char *name;
    long number;
    long arguments[6];
};

static char path_none[] = "/nonexistent/file", text_proc[] = "proc";
static char buffer[4096];

#define POINTER(p) ((long)(uintptr_t)(p))

static const struct call calls[] = {
    { "acct", SYS_acct, { POINTER(path_none) } },
    { "add_key", SYS_add_key, { 0, 0, 0, 0, 0 } },
    { "adjtimex", SYS_adjtimex, { POINTER(buffer) } },
    { "bpf", SYS_bpf, { 0, 0, 0 } },
    { "capget", SYS_capget, { 0, 0 } },
    { "chroot", SYS_chroot, { POINTER(path_none) } },
    { "clock_adjtime", SYS_clock_adjtime, { 0, 0 } },
    { "clock_settime", SYS_clock_settime, { CLOCK_REALTIME, 0 } },
    { "clone-newuser", SYS_clone, { CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0 } },
    { "clone-newns", SYS_clone, { CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0 } },
    { "clone3", SYS_clone3, { 0, 0 } },
    { "close_range", SYS_close_range, { 100, 99, 0 } },
    { "copy_file_range", SYS_copy_file_range, { -1, 0, -1, 0, 1, 0 } },
    { "delete_module", SYS_delete_module, { POINTER(path_none), 0 } },
    { "epoll_pwait2", SYS_epoll_pwait2, { -1, 0, 0, 0, 0 } },
    { "faccessat2", SYS_faccessat2, { -1, POINTER(path_none), 0, 0 } },
    { "fanotify_init", SYS_fanotify_init, { 0, 0 } },
    { "finit_module", SYS_finit_module, { -1, 0, 0 } },
    { "fsopen", SYS_fsopen, { POINTER(text_proc), 0 } },
    { "get_mempolicy", SYS_get_mempolicy, { 0, 0, 0, 0, 1 << 20 } },
    { "init_module", SYS_init_module, { 0, 0, 0 } },
    { "inotify_init1", SYS_inotify_init1, { -1 } },
    { "io_uring_setup", SYS_io_uring_setup, { 0, 0 } },
    { "ioperm", SYS_ioperm, { 0x80, 1, 1 } },
    { "iopl", SYS_iopl, { 3 } },
    { "kcmp", SYS_kcmp, { 1, 1, 99, 0, 0 } },
    { "kexec_load", SYS_kexec_load, { 0, 0, 0, 0 } },
    { "keyctl", SYS_keyctl, { 0, -3, 0 } },
    { "lookup_dcookie", SYS_lookup_dcookie, { 0, 0, 0 } },
    { "mbind", SYS_mbind, { 0, 0, 0, 0, 0, 0 } },
    { "membarrier", SYS_membarrier, { -1, 0, 0 } },
    { "memfd_create", SYS_memfd_create, { 0, 0 } },
    { "mount", SYS_mount, { POINTER(text_proc), POINTER(path_none), POINTER(text_proc), 0, 0 } },
    { "mount_setattr", SYS_mount_setattr, { -1, POINTER(path_none), 0, 0, 0 } },
    { "move_mount", SYS_move_mount, { -1, POINTER(path_none), -1, POINTER(path_none), 0 } },
    { "name_to_handle_at", SYS_name_to_handle_at, { -1, POINTER(path_none), 0, 0, 0 } },
    { "nfsservctl", SYS_nfsservctl, { 0, 0, 0 } },
    { "open_by_handle_at", SYS_open_by_handle_at, { -1, 0, 0 } },
    { "open_tree", SYS_open_tree, { -1, POINTER(path_none), 0 } },
    { "openat2", SYS_openat2, { -1, POINTER(path_none), 0, 0 } },
    { "perf_event_open", SYS_perf_event_open, { 0, 0, 0, 0, 0 } },
    { "personality-query", SYS_personality, { 0xffffffff } },
    { "personality-svr4", SYS_personality, { 1 } },
    { "pidfd_open", SYS_pidfd_open, { -1, 0 } },
    { "pivot_root", SYS_pivot_root, { POINTER(path_none), POINTER(path_none) } },
    { "process_vm_readv", SYS_process_vm_readv, { -1, 0, 0, 0, 0, 0 } },
    { "ptrace-attach", SYS_ptrace, { PTRACE_ATTACH, -1, 0, 0 } },
    { "quotactl", SYS_quotactl, { -1, 0, 0, 0 } },
    { "reboot", SYS_reboot, { 0, 0, 0, 0 } },
    { "request_key", SYS_request_key, { 0, 0, 0, 0 } },
    { "sched_setattr", SYS_sched_setattr, { -1, 0, 0 } },
    { "seccomp", SYS_seccomp, { 99, 0, 0 } },
    { "set_mempolicy", SYS_set_mempolicy, { 99, 0, 0 } },
    { "setdomainname", SYS_setdomainname, { 0, 65 } },
    { "sethostname", SYS_sethostname, { 0, 65 } },
    { "setns", SYS_setns, { -1, 0 } },
    { "settimeofday", SYS_settimeofday, { 0, 8 } },
    { "shmget", SYS_shmget, { 1, 0, 0 } },
    { "socket-alg", SYS_socket, { 38, SOCK_SEQPACKET, 0 } },
    { "socket-packet", SYS_socket, { AF_PACKET, 99, 0 } },
    { "socket-vsock", SYS_socket, { AF_VSOCK, SOCK_STREAM, 0 } },
    { "stime-clock", SYS_clock_nanosleep, { 99, 0, 0, 0 } },
    { "swapon", SYS_swapon, { POINTER(path_none), 0 } },
    { "syslog", SYS_syslog, { 10, 0, 0 } },
    { "umount2", SYS_umount2, { POINTER(path_none), 0 } },
    { "unshare-newns", SYS_unshare, { CLONE_NEWNS } },
    { "unshare-newuser", SYS_unshare, { CLONE_NEWUSER } },
    { "uselib", SYS_uselib, { POINTER(path_none) } },
    { "userfaultfd", SYS_userfaultfd, { -1 } },
    { "ustat", SYS_ustat, { 0, 0 } },
    { "vhangup", SYS_vhangup, { 0 } },
    { "unknown-1000", 1000, { 0 } },
};

static int result_of(const struct call *call)
{
    const long *a = call->arguments;
    pid_t self = getpid();
    long result = syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    int seen = result < 0 ? errno : 0;
    if (getpid() != self) /* a clone that was allowed: this is its child */
        _exit(0);
    return seen;
}

/* syscalls: one line a call, NAME ERRNO ("ok" where it succeeded, "signal N" where it killed). */
static int verb_syscalls(char **arguments)
{
    (void)arguments;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const struct call *call = &calls[i];
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(result_of(call));
        if (child < 0 || waitpid(child, &status, 0) < 0) {
            perror("probe: fork");
            return 1;
        }
        if (WIFSIGNALED(status))
            printf("%s signal %d\n", call->name, WTERMSIG(status));
        else if (WEXITSTATUS(status) == 0)
            printf("%s ok\n", call->name);
        else
            printf("%s %s\n", call->name, strerrorname_np(WEXITSTATUS(status)));
        (void)fflush(stdout);
    }
    return 0;
}

/* --- what the process was given ------------------------------------------------------------------
 */

static int verb_rlimits(char **arguments)
{
    static const char *const names[RLIM_NLIMITS] = {
        [RLIMIT_CPU] = "cpu",           [RLIMIT_FSIZE] = "fsize",
        [RLIMIT_DATA] = "data",         [RLIMIT_STACK] = "stack",
        [RLIMIT_CORE] = "core",         [RLIMIT_RSS] = "rss",
        [RLIMIT_NPROC] = "nproc",       [RLIMIT_NOFILE] = "nofile",
        [RLIMIT_MEMLOCK] = "memlock",   [RLIMIT_AS] = "as",
        [RLIMIT_LOCKS] = "locks",       [RLIMIT_SIGPENDING] = "sigpending",
        [RLIMIT_MSGQUEUE] = "msgqueue", [RLIMIT_NICE] = "nice",
        [RLIMIT_RTPRIO] = "rtprio",     [RLIMIT_RTTIME] = "rttime",
    };
    (void)arguments;
    for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
        struct rlimit limit;
        if (getrlimit((__rlimit_resource_t)i, &limit) == 0)
            printf("%s %lld %lld\n", names[i], (long long)limit.rlim_cur,
                   (long long)limit.rlim_max);
    }
    return 0;
}

/* fds: the open descriptors, by number, and of which kind each is. */
static int verb_fds(char **arguments)
{
    (void)arguments;
    for (int fd = 0; fd < 1024; fd++) {
        struct stat status;
        if (fstat(fd, &status) < 0)
            continue;
        printf("%d %s\n", fd,
               S_ISFIFO(status.st_mode)   ? "pipe"
               : S_ISCHR(status.st_mode)  ? "device"
               : S_ISSOCK(status.st_mode) ? "socket"
                                          : "file");
    }
    return 0;
}

/* arguments: each in a line of its own, its length first, so that newlines in it are seen. */
static int verb_arguments(char **arguments)
{
    for (; *arguments; arguments++)
        printf("%zu:%s\n", strlen(*arguments), *arguments);
    return 0;
}

/* ids: real, effective and saved user and group. */
static int verb_ids(char **arguments)
{
    uid_t user[3];
    gid_t group[3];
    (void)arguments;
    if (getresuid(&user[0], &user[1], &user[2]) < 0 ||
        getresgid(&group[0], &group[1], &group[2]) < 0)
        return 1;
    printf("%u %u %u %u %u %u\n", user[0], user[1], user[2], group[0], group[1], group[2]);
    return 0;
}

/* length: the sum of the bytes of arguments and environment, and an order-sensitive checksum. */
static int verb_length(char **arguments)
{
    unsigned long long bytes = 0, sum = 5381;
    char **lists[] = { arguments, environ };
    for (int i = 0; i < 2; i++)
        for (char **item = lists[i]; *item; item++) {
            if (i == 1 && strncmp(*item, "BIG", 3) != 0)
                continue;
            for (const char *c = *item; *c; c++, bytes++)
                sum = (sum * 33 + (unsigned char)*c) & 0xffffffff;
        }
    printf("%llu %llu\n", bytes, sum);
    return 0;
}

/* --- limits --------------------------------------------------------------------------------------
 */

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* spin SECONDS: keeps one processor busy for that wall time, prints CPU time over wall time. */
static int verb_spin(char **arguments)
{
    double limit = atof(arguments[0]), start = seconds_of(CLOCK_MONOTONIC), now = start;
    while (now - start < limit)
        for (int i = 0; i < 1000; i++)
            now = seconds_of(CLOCK_MONOTONIC);
    printf("%.3f\n", seconds_of(CLOCK_PROCESS_CPUTIME_ID) / (now - start));
    return 0;
}

/* eat MIB: touches memory a MiB at a time, says after each how far it got (unbuffered). */
static int verb_eat(char **arguments)
{
    long wanted = atol(arguments[0]);
    for (long i = 1; i <= wanted; i++) {
        char *piece =
            mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED) {
            perror("probe: mmap");
            return 1;
        }
        memset(piece, (int)(i | 1), 1 << 20);
        dprintf(STDOUT_FILENO, "%ld\n", i);
    }
    return 0;
}

/* forks MAX: makes children that wait until no more can be made, prints how many and the errno. */
static int verb_forks(char **arguments)
{
    int maximum = atoi(arguments[0]), made = 0, seen = 0;
    for (; made < maximum; made++) {
        pid_t child = fork();
        if (child < 0) {
            seen = errno;
            break;
        }
        if (child == 0) {
            for (;;)
                (void)pause();
        }
    }
    printf("%d %s\n", made, seen ? strerrorname_np(seen) : "ok");
    return 0;
}

/* bomb SECONDS: every process forks as fast as it can, for that time. */
static int verb_bomb(char **arguments)
{
    double end = seconds_of(CLOCK_MONOTONIC) + atof(arguments[0]);
    pid_t first = getpid();
    while (seconds_of(CLOCK_MONOTONIC) < end)
        (void)fork();
    if (getpid() == first)
        printf("survived\n");
    return 0;
}

static int count_processes(bool only_zombies)
{
    int found = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        char path[300], text[512], state;
        int pid = atoi(entry->d_name);
        if (pid <= 0)
            continue;
        (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *file = fopen(path, "re");
        if (!file)
            continue;
        const char *end = fgets(text, sizeof text, file) ? strrchr(text, ')') : NULL;
        (void)fclose(file);
        if (end && sscanf(end, ") %c", &state) == 1 && (!only_zombies || state == 'Z'))
            found++;
    }
    if (proc)
        (void)closedir(proc);
    return found;
}

/* orphans N: leaves N processes without parent that end at once; prints how many zombies remain. */
static int verb_orphans(char **arguments)
{
    for (int i = 0; i < atoi(arguments[0]); i++) {
        pid_t child = fork();
        if (child == 0) {
            if (fork() == 0)
                (void)usleep(1000);
            _exit(0);
        }
        (void)waitpid(child, NULL, 0);
    }
    int left = 0;
    for (int tries = 0; tries < 100 && (left = count_processes(true)) > 0; tries++)
        (void)usleep(50000);
    printf("%d\n", left);
    return 0;
}

/* --- endings -------------------------------------------------------------------------------------
 */

/* fault: ends by SIGSEGV even as the first process of a PID namespace, which ignores raise(). */
static int verb_fault(char **arguments)
{
    (void)arguments;
    volatile char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *page = 1;
    return 0;
}

/* raise N: by a signal to itself. */
static int verb_raise(char **arguments)
{
    (void)signal(atoi(arguments[0]), SIG_DFL);
    (void)raise(atoi(arguments[0]));
    return 99;
}

/* exit N: without any C library clean-up. */
static int verb_exit(char **arguments)
{
    _exit(atoi(arguments[0]));
}

/* half-close FD: closes FD, says so on the other one, then echoes stdin there. */
static int verb_half_close(char **arguments)
{
    static char text[4096];
    int closed = atoi(arguments[0]), other = closed == 1 ? 2 : 1;
    (void)close(closed);
    dprintf(other, "closed %d\n", closed);
    for (ssize_t n; (n = read(STDIN_FILENO, text, sizeof text)) > 0;)
        if (write(other, text, (size_t)n) < 0)
            return 1;
    return 0;
}

/* keys: raw terminal input as hexadecimal numbers, until 'q'. */
static int verb_keys(char **arguments)
{
    unsigned char key;
    (void)arguments;
    if (system("stty raw -echo") != 0) /* NOLINT(cert-env33-c): the image's own */
        return 1;
    dprintf(STDOUT_FILENO, "ready\r\n");
    while (read(STDIN_FILENO, &key, 1) == 1 && key != 'q')
        dprintf(STDOUT_FILENO, "<%02x>", key);
    return 0;
}

/* tiocsti: tries to push a key into the terminal's input. */
static int verb_tiocsti(char **arguments)
{
    (void)arguments;
    int result = ioctl(STDIN_FILENO, TIOCSTI, "x");
    printf("%s\n", result == 0 ? "ok" : strerrorname_np(errno));
    return 0;
}

static const struct verb {
    const char *name;
    int arguments;
    int (*run)(char **arguments);
} verbs[] = {
    { "pump", 2, verb_pump },         { "sink", 0, verb_sink },
    { "syscalls", 0, verb_syscalls }, { "rlimits", 0, verb_rlimits },
    { "fds", 0, verb_fds },           { "arguments", 0, verb_arguments },
    { "length", 0, verb_length },     { "spin", 1, verb_spin },
    { "eat", 1, verb_eat },           { "forks", 1, verb_forks },
    { "bomb", 1, verb_bomb },         { "orphans", 1, verb_orphans },
    { "fault", 0, verb_fault },       { "raise", 1, verb_raise },
    { "exit", 1, verb_exit },         { "half-close", 1, verb_half_close },
    { "ids", 0, verb_ids },           { "keys", 0, verb_keys },
    { "tiocsti", 0, verb_tiocsti },
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(argv[1], verbs[i].name) == 0 && argc - 2 >= verbs[i].arguments)
            return verbs[i].run(argv + 2);
    (void)fprintf(stderr, "probe: unknown verb, or arguments missing\n");
    return 2;
}
/* NOLINTEND(cert-err34-c) */
