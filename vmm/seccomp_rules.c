/* The table of seccomp.h, apart from what makes filters of it: tests build it with entries missing.
 */
#include "vmm/seccomp.h"

#include "vmm/crew.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define STARTUP SECCOMP_STARTUP
#define VCPU    SECCOMP_VCPU
#define DISK    SECCOMP_DISK
#define LOOP    SECCOMP_LOOP
#define SHARE   SECCOMP_SHARE

#define CALL(threads, call, reason)                                                                \
    {                                                                                              \
        threads, __NR_##call, #call, SECCOMP_ALWAYS, 0, 0, reason                                  \
    }
#define CALL_IF(threads, call, condition, argument, value, reason)                                 \
    {                                                                                              \
        threads, __NR_##call, #call, condition, argument, (uint32_t)(value), reason                \
    }
#define KVM_IOCTL(threads, request, reason)                                                        \
    CALL_IF(threads, ioctl, SECCOMP_EQUALS, 1, request, reason)

/*
 * The start-up list holds for the whole process from the jail on, so it contains the lists of the
 * threads. What is hot comes first.
 */
const struct seccomp_rule seccomp_rules[] = {
    /* What runs the guest. */
    KVM_IOCTL(STARTUP | VCPU, KVM_RUN, "run the guest"),
    CALL(STARTUP | VCPU | DISK | LOOP | SHARE, futex, "locks shared by vCPUs and devices"),
    CALL(STARTUP | VCPU | DISK | LOOP | SHARE, write,
         "eventfds: interrupts, wake-ups; console and pipes"),
    CALL(STARTUP | DISK | LOOP | SHARE, read, "eventfds: notifications by the guest"),
    /* The event loop and its streams. */
    CALL(STARTUP | LOOP, epoll_wait, "wait for descriptors"),
    CALL(STARTUP | LOOP, epoll_ctl, "watch a stream's descriptors"),
    CALL(STARTUP | LOOP, readv, "bytes of streams and frames straight into the guest's buffers"),
    CALL(STARTUP | LOOP, writev, "bytes of streams and frames straight out of the guest's buffers"),
    CALL(STARTUP | LOOP | SHARE, sendmsg, "streams that are sockets; to hybrid, to virtiofsd"),
    CALL(STARTUP | LOOP | SHARE, recvmsg, "offers of hybrid; answers of virtiofsd"),
    CALL(STARTUP | LOOP | SHARE, ppoll,
         "whether a blocking pipe takes bytes now; word of the driver; answers of the virtiofsd"),
    CALL(STARTUP | LOOP, shutdown, "half-close of a stream that is a socket"),
    CALL(STARTUP | LOOP | SHARE, close, "a stream's descriptors; a virtiofsd that is lost"),
    CALL_IF(STARTUP | LOOP, fcntl, SECCOMP_EQUALS, 1, F_GETFL, "is a descriptor non-blocking?"),
    CALL_IF(STARTUP | LOOP, fcntl, SECCOMP_EQUALS, 1, F_DUPFD_CLOEXEC,
            "one socket for both directions of a stream"),
    CALL_IF(STARTUP | LOOP, newfstatat, SECCOMP_EQUALS, 3, AT_EMPTY_PATH,
            "is a descriptor a socket? (fstat of the C library)"),
    CALL_IF(STARTUP | LOOP, mmap, SECCOMP_CLEAR, 2, PROT_EXEC, "backlog of a stream; heap"),
    CALL(STARTUP | LOOP, munmap, "backlog of a stream; heap"),
    CALL(STARTUP | LOOP, brk, "heap: one small block a stream"),
    /* Disks. */
    CALL(STARTUP | DISK, preadv, "read requests"),
    CALL(STARTUP | DISK, pwritev, "write requests"),
    CALL(STARTUP | DISK, fdatasync, "flush requests"),
    CALL(STARTUP | DISK, fallocate, "discard requests: holes in the scratch file"),
    CALL(STARTUP | DISK | LOOP, clock_gettime, "limits of disks and networks: what time is it?"),
    CALL(STARTUP | DISK, clock_nanosleep, "limits of disks: not yet"),
    /* Diagnosis of a vCPU that ended. */
    KVM_IOCTL(STARTUP | VCPU, KVM_GET_REGS, "diagnosis: where the vCPU stood"),
    KVM_IOCTL(STARTUP | VCPU, KVM_GET_SREGS, "diagnosis: where the vCPU stood"),
    KVM_IOCTL(STARTUP | VCPU, KVM_TRANSLATE, "diagnosis: the bytes of the instruction"),
    /* Pause, end. */
    KVM_IOCTL(STARTUP | VCPU, KVM_KVMCLOCK_CTRL, "no soft lockup report after a pause"),
    CALL_IF(STARTUP | LOOP, tgkill, SECCOMP_EQUALS, 2, CREW_KICK, "take a vCPU out of the guest"),
    CALL(STARTUP | LOOP, getpid, "pthread_kill of the C library"),
    CALL(STARTUP | LOOP, rt_sigprocmask, "signal masks of pthread_kill and thread start"),
    CALL(STARTUP | VCPU, rt_sigreturn, "end of the signal that takes a vCPU out of the guest"),
    CALL(STARTUP | LOOP, exit_group, "the end"),
    /* Only until the guest runs: building the machine. */
    KVM_IOCTL(STARTUP, KVM_GET_API_VERSION, "is it /dev/kvm?"),
    KVM_IOCTL(STARTUP, KVM_CHECK_EXTENSION, "what KVM can do"),
    KVM_IOCTL(STARTUP, KVM_GET_VCPU_MMAP_SIZE, "size of a vCPU's shared page"),
    KVM_IOCTL(STARTUP, KVM_CREATE_VM, "the virtual machine"),
    KVM_IOCTL(STARTUP, KVM_SET_TSS_ADDR, "a page for VT-x"),
    KVM_IOCTL(STARTUP, KVM_SET_IDENTITY_MAP_ADDR, "a page for VT-x"),
    KVM_IOCTL(STARTUP, KVM_CREATE_IRQCHIP, "interrupt controllers"),
    KVM_IOCTL(STARTUP, KVM_CREATE_PIT2, "timer"),
    KVM_IOCTL(STARTUP, KVM_SET_USER_MEMORY_REGION, "guest RAM"),
    KVM_IOCTL(STARTUP, KVM_CREATE_VCPU, "vCPUs"),
    KVM_IOCTL(STARTUP, KVM_GET_SUPPORTED_CPUID, "CPU features"),
    KVM_IOCTL(STARTUP, KVM_SET_CPUID2, "CPU features"),
    KVM_IOCTL(STARTUP, KVM_SET_MSRS, "registers at the entry"),
    KVM_IOCTL(STARTUP, KVM_GET_XCRS, "registers at the entry"),
    KVM_IOCTL(STARTUP, KVM_SET_XCRS, "registers at the entry"),
    KVM_IOCTL(STARTUP, KVM_GET_LAPIC, "registers at the entry"),
    KVM_IOCTL(STARTUP, KVM_SET_LAPIC, "registers at the entry"),
    KVM_IOCTL(STARTUP, KVM_SET_SREGS, "registers at the entry"),
    KVM_IOCTL(STARTUP, KVM_SET_REGS, "registers at the entry"),
    KVM_IOCTL(STARTUP, KVM_IRQFD, "interrupts of devices"),
    KVM_IOCTL(STARTUP, KVM_IOEVENTFD, "notifications of devices"),
    CALL(STARTUP, eventfd2, "interrupts and notifications"),
    CALL(STARTUP, epoll_create1, "the event loop"),
    CALL(STARTUP, pread64, "the guest kernel"),
    CALL(STARTUP, lseek, "size of a disk's file"),
    CALL(STARTUP, memfd_create, "guest RAM that a virtiofsd can be given"),
    CALL(STARTUP, ftruncate, "its size"),
    CALL_IF(STARTUP, fcntl, SECCOMP_EQUALS, 1, F_ADD_SEALS, "and that it stays so"),
    CALL(STARTUP, madvise, "guest RAM stays out of dumps"),
    CALL(STARTUP, getrandom, "seed of the guest's random numbers"),
    CALL(STARTUP, rt_sigaction, "the signal that takes a vCPU out of the guest"),
    CALL(STARTUP, clone3, "the threads"),
    CALL_IF(STARTUP, mprotect, SECCOMP_CLEAR, 2, PROT_EXEC, "guard pages of thread stacks; heap"),
    CALL(STARTUP, set_robust_list, "start of a thread"),
    CALL(STARTUP, rseq, "start of a thread"),
    CALL_IF(STARTUP, prctl, SECCOMP_EQUALS, 0, PR_SET_NAME, "names of threads"),
    CALL(STARTUP, seccomp, "the filters of the threads"),
    CALL(STARTUP, dup2, "standard error goes when the control socket takes over"),
};

const size_t seccomp_rule_count = sizeof seccomp_rules / sizeof seccomp_rules[0];

_Static_assert(sizeof seccomp_rules / sizeof seccomp_rules[0] * SECCOMP_RULE_STEPS +
                       SECCOMP_FRAME_STEPS <=
                   SECCOMP_MAX_PROGRAM,
               "the longest program fits");
