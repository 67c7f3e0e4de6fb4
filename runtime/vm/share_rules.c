/*
 * The system calls of QEMU's virtiofsd, all threads of it, from before its execve on: the table of
 * vmm/seccomp.h for this program. It then adds its own filter to each thread but the one (RCU) of a
 * library that started before; that thread has these, and capabilities for no more than these.
 */
#include "share_rules.h"

#include "vmm/seccomp.h"

#include <linux/sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define CALL(call, reason)                                                                         \
    {                                                                                              \
        SECCOMP_STARTUP, __NR_##call, #call, SECCOMP_ALWAYS, 0, 0, reason                          \
    }
#define CALL_IF(call, condition, argument, value, reason)                                          \
    {                                                                                              \
        SECCOMP_STARTUP, __NR_##call, #call, condition, argument, (uint32_t)(value), reason        \
    }
#define ABSENT(call, reason)                                                                       \
    {                                                                                              \
        SECCOMP_STARTUP, __NR_##call, #call, SECCOMP_ABSENT, 0, 0, reason                          \
    }

/* What pthread_create of the C library asks for: a thread of this process, and nothing else. */
#define THREAD                                                                                     \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |            \
     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

const struct seccomp_rule seccomp_rules[] = {
    /* Requests: what is hot comes first. */
    CALL(ppoll, "wait for requests; for word of the monitor"),
    CALL(read, "eventfds: notifications by the guest; libraries"),
    CALL(write, "eventfds: interrupts; the log; a failed start"),
    CALL(preadv, "READ"),
    CALL(pwritev, "WRITE"),
    CALL(openat, "LOOKUP, OPEN, CREATE, OPENDIR; libraries"),
    CALL(close, "RELEASE, FORGET; libraries"),
    CALL(newfstatat, "GETATTR, LOOKUP"),
    CALL(statx, "LOOKUP: the mount that a file is on"),
    CALL(futex, "locks shared by its threads"),
    CALL(getdents64, "READDIR"),
    CALL(lseek, "READDIR from the middle; LSEEK"),
    CALL(fcntl, "OPENDIR of the C library"),
    CALL(dup, "FLUSH: a close of its own"),
    CALL(readlinkat, "READLINK"),
    CALL(mkdirat, "MKDIR"),
    CALL(mknodat, "MKNOD: pipes, sockets; a device takes a capability that it has not"),
    CALL(symlinkat, "SYMLINK"),
    CALL(linkat, "LINK"),
    CALL(unlinkat, "UNLINK, RMDIR"),
    CALL(renameat, "RENAME"),
    CALL(renameat2, "RENAME2: exchange, do not replace"),
    CALL(fchmod, "SETATTR of an open file"),
    CALL(fchmodat, "SETATTR"),
    CALL(fchownat, "SETATTR"),
    CALL(ftruncate, "SETATTR"),
    CALL(utimensat, "SETATTR"),
    CALL(fstatfs, "STATFS"),
    CALL(fsync, "FSYNC"),
    CALL(fdatasync, "FSYNC of the data"),
    CALL(syncfs, "SYNCFS"),
    CALL(fallocate, "FALLOCATE"),
    CALL(copy_file_range, "COPY_FILE_RANGE"),
    CALL(fchdir, "names of files in its directory of descriptors, for what follows"),
    CALL(getxattr, "GETXATTR of what cannot be opened"),
    CALL(setxattr, "SETXATTR of what cannot be opened"),
    CALL(listxattr, "LISTXATTR of what cannot be opened"),
    CALL(removexattr, "REMOVEXATTR of what cannot be opened"),
    CALL(fgetxattr, "GETXATTR"),
    CALL(fsetxattr, "SETXATTR"),
    CALL(flistxattr, "LISTXATTR"),
    CALL(fremovexattr, "REMOVEXATTR"),
    /* Whose request it is. */
    CALL(setresuid, "a new file belongs to who made it"),
    CALL(setresgid, "a new file belongs to who made it"),
    CALL(geteuid, "who it is itself, afterwards"),
    CALL(getegid, "who it is itself, afterwards"),
    CALL(umask, "a new file has the mode that was asked for"),
    CALL(capget, "a write by other than root takes set-user-id away: no CAP_FSETID for it"),
    CALL(capset, "the same; the end of its start-up"),
    CALL(gettid, "the same"),
    /* vhost-user. */
    CALL(recvmsg, "orders of the monitor"),
    CALL(sendmsg, "answers to it"),
    CALL(eventfd2, "the end of a queue's thread"),
    CALL_IF(unshare, SECCOMP_EQUALS, 0, CLONE_FS, "a working directory of each thread, for fchdir"),
    ABSENT(userfaultfd, "whether it could take part in a migration"),
    /* Memory. */
    CALL_IF(mmap, SECCOMP_WHOLE, 0, 0,
            "the guest's memory; heap; libraries; where the kernel likes"),
    CALL_IF(mmap, SECCOMP_HIGH, 0, 0, "parts of a library; not the page of share_rules.h"),
    CALL(munmap, "the guest's memory; heap"),
    CALL_IF(mremap, SECCOMP_EQUALS, 3, MREMAP_MAYMOVE,
            "a large block grows; where the kernel likes"),
    CALL_IF(mprotect, SECCOMP_CLEAR, 2, PROT_EXEC,
            "heap; what is constant once a library is loaded"),
    CALL(brk, "heap"),
    CALL(madvise, "the guest's memory stays out of dumps; stacks of threads that ended; heap"),
    /* Threads. */
    ABSENT(clone3, "its flags cannot be seen here; the C library takes clone then"),
    CALL_IF(clone, SECCOMP_EQUALS, 0, THREAD, "a thread a queue; RCU"),
    CALL(set_robust_list, "start of a thread"),
    CALL(rseq, "start of a thread"),
    CALL(rt_sigprocmask, "start of a thread"),
    CALL(exit, "end of a thread"),
    CALL(exit_group, "the end"),
    CALL(restart_syscall, "a wait that a stop or a freezer interrupted"),
    CALL(clock_nanosleep, "RCU: some more of them, before it sets to work"),
    CALL(clock_gettime, "what time is it? (where the kernel gives no clock without a call)"),
    /* Only until it serves: its loader and libraries, its own jail. */
    CALL_IF(execve, SECCOMP_WHOLE, 0, SHARE_PROGRAM_PAGE,
            "the one: its path is where nothing can be mapped afterwards"),
    CALL(access, "the loader: is something to be loaded before all else?"),
    CALL(pread64, "headers of a library"),
    CALL(arch_prctl, "start of the C library"),
    CALL(set_tid_address, "start of the C library"),
    CALL_IF(prlimit64, SECCOMP_WHOLE, 2, 0, "what its limits are; not to set them"),
    CALL(getrandom, "seeds of the C library and GLib"),
    CALL(sched_getaffinity, "libnuma counts processors"),
    ABSENT(get_mempolicy, "libnuma: it has no say here"),
    CALL(rt_sigaction, "what ends it; nothing for a lost connection"),
    CALL(readlink, "where it is installed"),
    ABSENT(getcwd, "where it is installed: that of no use here either"),
    CALL(getgroups, "it would drop other groups, if it had some"),
    CALL(getuid, "is it root?"),
    CALL(accept, "the monitor's connection"),
    CALL(chdir, "the root directory"),
    CALL(chroot, "the shared directory becomes the root directory"),
    CALL_IF(prctl, SECCOMP_EQUALS, 0, PR_CAPBSET_READ, "its own jail: which it has"),
    CALL_IF(prctl, SECCOMP_EQUALS, 0, PR_GET_SECUREBITS, "libcap-ng: what it could ask for"),
    CALL_IF(prctl, SECCOMP_EQUALS, 0, PR_GET_NO_NEW_PRIVS, "libcap-ng: what it could ask for"),
    CALL_IF(prctl, SECCOMP_EQUALS, 0, PR_CAPBSET_DROP, "its own jail: none"),
    CALL_IF(prctl, SECCOMP_EQUALS, 0, PR_CAP_AMBIENT, "its own jail: which it has"),
    CALL_IF(prctl, SECCOMP_EQUALS, 0, PR_SET_NO_NEW_PRIVS, "its own jail"),
    CALL(seccomp, "its own filter"),
};

const size_t seccomp_rule_count = sizeof seccomp_rules / sizeof seccomp_rules[0];

_Static_assert(sizeof seccomp_rules / sizeof seccomp_rules[0] * SECCOMP_RULE_STEPS +
                       SECCOMP_FRAME_STEPS <=
                   SECCOMP_MAX_PROGRAM,
               "the longest program fits");
