/* The table of confine.h. */
#include "runtime/image/helper/confine.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define NETWORK CONFINE_NETWORK
#define STORE   CONFINE_STORE
#define LAYER   CONFINE_LAYER
#define TOOL    CONFINE_TOOL

/* A list holds what the lists of those that it starts hold: see confine.h. */
#define FROM_TOOL  (STORE | TOOL)
#define FROM_LAYER (STORE | LAYER)
#define ALL        (NETWORK | STORE | LAYER | TOOL)

#define CALL(kinds, call, reason)                                                                  \
    {                                                                                              \
        kinds, __NR_##call, #call, CONFINE_ALWAYS, 0, 0, false, reason                             \
    }
#define CALL_IF(kinds, call, condition, argument, value, reason)                                   \
    {                                                                                              \
        kinds, __NR_##call, #call, condition, argument, value, false, reason                       \
    }
/* Not made by the libraries of every version, or only on some machines. */
#define RARE(kinds, call, reason)                                                                  \
    {                                                                                              \
        kinds, __NR_##call, #call, CONFINE_ALWAYS, 0, 0, true, reason                              \
    }
#define RARE_IF(kinds, call, condition, argument, value, reason)                                   \
    {                                                                                              \
        kinds, __NR_##call, #call, condition, argument, value, true, reason                        \
    }

enum {
    NAMESPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                 CLONE_NEWPID | CLONE_NEWNET,
};

const struct confine_call confine_calls[] = {
    /* Reading and writing what is open. */
    CALL(ALL, read, "blobs, documents, answers of other processes"),
    CALL(NETWORK | FROM_LAYER, write, "blobs, messages"),
    RARE(TOOL, write, "what a tool says of its failure"),
    CALL(ALL, close, "descriptors"),
    CALL(NETWORK | FROM_TOOL, pread64, "a blob to push; a program's header"),
    CALL(LAYER, pread64, "the spool"),
    CALL(STORE | LAYER, pwrite64, "the EROFS file"),
    CALL(NETWORK | STORE, lseek, "blobs from their start"),
    RARE(LAYER | TOOL, lseek, "holes"),
    CALL(NETWORK | STORE | LAYER, ftruncate,
         "a blob from its start; the EROFS file to whole blocks"),
    CALL(FROM_LAYER, fsync, "what must outlive a power cut"),
    CALL_IF(FROM_TOOL | LAYER, fcntl, CONFINE_EQUALS, 1, F_DUPFD_CLOEXEC,
            "descriptors of directories"),
    CALL_IF(NETWORK | STORE, fcntl, CONFINE_EQUALS, 1, F_GETFL,
            "is it non-blocking, can it be a DIR?"),
    RARE_IF(TOOL, fcntl, CONFINE_EQUALS, 1, F_GETFL, "the C library's directories"),
    CALL_IF(NETWORK, fcntl, CONFINE_EQUALS, 1, F_SETFL, "sockets that do not block"),
    CALL_IF(STORE, fcntl, CONFINE_EQUALS, 1, F_SETFD, "directories, as the C library opens them"),
    CALL_IF(STORE, fcntl, CONFINE_EQUALS, 1, F_GETFD, "directories, as libarchive opens them"),
    CALL_IF(STORE, ioctl, CONFINE_EQUALS, 1, TCGETS, "is it a terminal?"),
    RARE_IF(NETWORK | LAYER | TOOL, ioctl, CONFINE_EQUALS, 1, TCGETS, "what is printed"),
    RARE_IF(STORE | NETWORK, ioctl, CONFINE_EQUALS, 1, TIOCGWINSZ, "progress on a terminal"),
    CALL_IF(STORE, ioctl, CONFINE_EQUALS, 1, FS_IOC_GETFLAGS, "flags of what is imported"),
    CALL_IF(NETWORK, ioctl, CONFINE_EQUALS, 1, FIONREAD, "the name service's answer"),

    /* Finding and opening. The places are Landlock's affair. */
    CALL(ALL, openat, "files of the store, and of the system"),
    CALL(STORE, openat2, "what a layer or a layout names, without leaving it"),
    CALL(ALL, newfstatat, "sizes and types"),
    RARE(ALL, fstat, "newer C libraries, in place of newfstatat"),
    RARE(ALL, statx, "other C libraries"),
    CALL(FROM_TOOL, access, "the dynamic loader; is there an fsck.erofs?"),
    RARE(NETWORK, access, "the name service"),
    CALL(STORE, faccessat2, "has the store a file?"),
    CALL(STORE, getdents64, "directories"),
    RARE(NETWORK, getdents64, "directories of certificates"),
    CALL(STORE, readlink, "the real path of a tree"),
    RARE(NETWORK, readlink, "configuration of the name service"),
    CALL(FROM_TOOL, statfs, "where the tool's memory comes from"),
    RARE(NETWORK | FROM_TOOL | LAYER, fadvise64,
         "libarchive, and the C library's reading of files"),

    /* Memory. */
    CALL(ALL, brk, "heap"),
    CALL(FROM_TOOL, mmap, "heap; libraries of what is executed"),
    CALL(LAYER, mmap, "heap"),
    CALL(NETWORK, mmap, "heap, stacks of threads; libraries of the name service"),
    CALL(ALL, munmap, "heap, libraries"),
    CALL(FROM_TOOL, mprotect, "libraries of what is executed"),
    RARE_IF(LAYER, mprotect, CONFINE_CLEAR, 2, PROT_EXEC, "heaps of other C libraries"),
    CALL(NETWORK, mprotect, "stacks of threads; libraries of the name service"),
    RARE(ALL, mremap, "blocks that grow"),
    RARE(ALL, madvise, "memory of threads that ended; large blocks"),

    /* Processes and threads. */
    CALL_IF(NETWORK | STORE, clone, CONFINE_CLEAR, 0, NAMESPACES,
            "workers; threads that resolve names; never a namespace"),
    CALL(NETWORK | STORE, wait4, "workers"),
    RARE(STORE, kill, "a worker that is not needed any more, and has not ended by itself"),
    RARE(NETWORK, kill, "one that sends a blob, when another has failed"),
    CALL(ALL, exit_group, "the end"),
    CALL(NETWORK, exit, "the end of a thread"),
    CALL(NETWORK | STORE, getpid, "for a child that is to end with this process"),
    CALL(NETWORK | STORE, getppid, "has the parent ended before the child could tell the kernel?"),
    CALL_IF(NETWORK | STORE, prctl, CONFINE_EQUALS, 0, PR_SET_PDEATHSIG, "to end with the parent"),
    CALL_IF(STORE, prctl, CONFINE_EQUALS, 0, PR_SET_NAME, "the name of a process's kind"),
    CALL_IF(STORE, prctl, CONFINE_EQUALS, 0, PR_SET_CHILD_SUBREAPER,
            "to wait for the workers of a worker"),
    RARE_IF(NETWORK, prctl, CONFINE_EQUALS, 0, PR_CAPBSET_READ,
            "libcap's start, which systemd's modules of the name service bring along"),
    CALL(NETWORK | FROM_LAYER, futex, "locks of libraries"),
    RARE(TOOL, futex, "a newer fsck.erofs, which has threads"),
    RARE_IF(TOOL, clone, CONFINE_CLEAR, 0, NAMESPACES, "a newer fsck.erofs"),
    RARE(FROM_TOOL, exit, "a newer fsck.erofs"),
    RARE(TOOL, sched_getaffinity, "a newer fsck.erofs"),
    CALL(NETWORK | FROM_TOOL, set_robust_list, "start of a process or thread"),
    CALL(NETWORK | FROM_TOOL, rseq, "start of a thread or program"),
    CALL(FROM_TOOL, set_tid_address, "start of a program"),
    CALL(FROM_TOOL, arch_prctl, "start of a program: thread-local storage"),
    CALL(FROM_TOOL, execve, "fsck.erofs"),
    CALL(ALL, prlimit64, "resource limits, downwards; the stack's size"),
    CALL(FROM_TOOL, geteuid, "start of fsck.erofs"),
    CALL(NETWORK | STORE, uname, "libraries"),
    RARE(ALL, sysinfo, "how much memory: qsort of the C library"),
    CALL(STORE, sched_getaffinity, "how many workers at a time"),
    CALL(FROM_TOOL, umask, "the mode of the EROFS file"),
    CALL(FROM_TOOL, fchdir, "the tool's working directory"),
    CALL(FROM_TOOL, dup2, "the tool's output"),
    CALL(NETWORK | STORE, pipe2, "reports of workers, output of tools"),
    RARE(ALL, sched_yield, "locks of libraries"),
    RARE(ALL, clock_gettime, "where the kernel gives no clock without a call"),
    RARE(ALL, gettimeofday, "the same"),
    RARE(ALL, clock_nanosleep, "waiting within libraries"),
    CALL(FROM_TOOL, getrandom, "names of files; hash tables"),
    RARE(NETWORK, getrandom, "TLS; questions to name servers"),

    /* Signals. */
    CALL(NETWORK | STORE, rt_sigaction, "which end this process, and which another answers"),
    CALL(NETWORK | STORE, rt_sigprocmask, "the same"),
    RARE(TOOL, rt_sigaction, "a newer fsck.erofs"),
    RARE(TOOL, rt_sigprocmask, "a newer fsck.erofs"),
    RARE(ALL, rt_sigreturn, "the end of a handler"),
    RARE(ALL, restart_syscall, "a wait that SIGSTOP and SIGCONT interrupted"),
    CALL(STORE, rt_sigtimedwait, "the end of a worker, or a signal to end it"),

    /* The next layer of confinement. */
    CALL(FROM_LAYER, landlock_create_ruleset, "the worker's, the tool's"),
    CALL(FROM_LAYER, landlock_add_rule, "the worker's, the tool's"),
    CALL(FROM_LAYER, landlock_restrict_self, "the worker's, the tool's"),
    CALL(FROM_LAYER, seccomp, "the worker's, the tool's"),

    /* Changing the store. */
    CALL(STORE, mkdirat, "staging directories"),
    CALL(FROM_LAYER, unlinkat, "what is not needed any more"),
    CALL(STORE, linkat, "blobs and layers of the store, for images and for commands"),
    CALL(STORE, utimensat, "whether links can be relied upon"),
    CALL(STORE, syncfs, "links of a whole store"),
    CALL(STORE, renameat, "into the store"),
    CALL(STORE, flock, "one change at a time"),

    /* Packing a directory that is imported. */
    CALL(STORE, llistxattr, "extended attributes of links"),
    CALL(STORE, flistxattr, "extended attributes"),
    CALL(STORE, fgetxattr, "extended attributes"),
    CALL(STORE, getxattr, "access control lists, which libarchive refuses to be without"),

    /* Between the processes of a pull. */
    CALL(NETWORK | STORE, sendmsg, "requests with a descriptor to write to; reports"),
    CALL(NETWORK | STORE, recvmsg, "the same"),
    CALL(NETWORK | STORE, poll, "whatever comes first"),

    /* The network. */
    CALL_IF(NETWORK, socket, CONFINE_EQUALS, 0, AF_INET, "registries"),
    CALL_IF(NETWORK, socket, CONFINE_EQUALS, 0, AF_INET6, "registries"),
    CALL_IF(NETWORK, socket, CONFINE_EQUALS, 0, AF_UNIX, "the name service's daemons"),
    RARE_IF(NETWORK, socket, CONFINE_EQUALS, 0, AF_NETLINK, "which addresses this machine has"),
    RARE(NETWORK, bind, "the same"),
    CALL(NETWORK, connect, "registries"),
    CALL(NETWORK, getsockname, "libcurl: the connection's own address"),
    CALL(NETWORK, getpeername, "libcurl: the registry's address"),
    CALL(NETWORK, getsockopt, "has it connected?"),
    CALL(NETWORK, setsockopt, "no delays; errors of name servers"),
    CALL(NETWORK, sendto, "requests"),
    CALL(NETWORK, recvfrom, "answers"),
    CALL(NETWORK, sendmmsg, "both questions to a name server"),
    RARE(NETWORK, writev, "a question to a name server whose answer fits into no datagram"),
    CALL(NETWORK, socketpair, "to wake up from waiting"),
    RARE(NETWORK, eventfd2, "newer libcurl, in place of socketpair"),
    RARE(NETWORK, ppoll, "newer C libraries"),
};

const size_t confine_call_count = sizeof confine_calls / sizeof confine_calls[0];
