/*
 * What `hybrid` and `hybrid-vmm` say to each other: the command line that describes a machine, and
 * the messages on the control socket (a SOCK_SEQPACKET pair; one message a packet).
 *
 * hybrid-vmm never opens a path once it runs: every file arrives as a descriptor that it inherits,
 * named by number on its command line (`--kernel-fd=3`), or later by SCM_RIGHTS on this socket.
 * Everything hybrid-vmm sends is trusted no more than the guest is.
 */
#ifndef HYBRID_MACHINE_H
#define HYBRID_MACHINE_H

#include <stdint.h>

/*
 *   hybrid-vmm --kernel-fd=N            uncompressed ELF vmlinux
 *              --kvm-fd=N               /dev/kvm
 *              --control-fd=N           the control socket; without it (by hand) nothing can
 *                                       be offered and messages go to standard error
 *              --memory=BYTES           guest RAM, a multiple of 2 MiB, 16 MiB to 1 TiB
 *              --cpus=N                 1..MACHINE_MAX_CPUS, default 1
 *              --command-line=TEXT      the guest kernel's; the monitor appends only the console's
 *                                       parameter, where there is a console. 2047 bytes in all
 *              --disk-fds=N,N,...       read-only disk made of these files laid end to end, each a
 *                                       multiple of 4096 bytes and open for reading only; becomes
 *                                       /dev/vda
 *              --scratch-fd=N           writable disk, a multiple of 512 bytes, open for
 *                                       reading and writing; the next /dev/vdX
 *              --disk-read-bps=N --disk-write-bps=N --disk-read-iops=N --disk-write-iops=N
 *                                       bytes and requests a second, at most, of all disks
 *                                       together, from 1 on; without: no limit. Reading the first
 *                                       file of --disk-fds is not counted: it is the guest's own
 *              --share-fd=N             a file system device: a stream socket connected to a
 *                                       virtiofsd, which is given all of the guest's memory
 *              --share-tag=NAME         what the guest mounts it by, 1 to 36 bytes
 *              --console-fd=N           where the bounded console log goes (a pipe, written without
 *                                       blocking; what does not fit is dropped and counted);
 *                                       without it the machine has no serial port
 *              --net=FD,MTU,MAC[,own]   a network device on this tap, which does not block, has
 *                                       headers of 12 bytes (TUNSETVNETHDRSZ) and at most
 *                                       TUN_F_CSUM, TUN_F_TSO4 and TUN_F_TSO6 set; `own`: frames of
 *                                       the guest with another source address than MAC are
 *                                       dropped. May be repeated, in the order of the guest's names
 *              --net-receive-bps=N --net-send-bps=N --net-receive-pps=N --net-send-pps=N
 *                                       bytes and packets a second, at most, of each network
 *                                       device, to the guest and from it, from 1 on; without: no
 *                                       limit. Frames that TCP's segments are cut from count as
 *                                       what they become
 *              --uid=N --gid=N          ids of its own, not 0, taken in the jail
 *   hybrid-vmm --probe                  the micro guest: prints one line, exits 0 if KVM here can
 *                                       run a Linux guest, 1 if not (the line says what is wrong),
 *                                       needs --kvm-fd
 *   hybrid-vmm --system-calls           prints what its seccomp filters allow, a line a call: the
 *                                       name, and the kinds of threads of a running machine that
 *                                       may make it ("vcpu,loop"), or "startup"
 *   hybrid-vmm --help | --version
 *
 * Descriptors are numbered from 3 on. It is started as root and gives root up. It enters namespaces
 * of its own; so that it is not doubled for that (only a child gets into a new pid namespace), its
 * parent may clone it with CLONE_NEWPID: it recognises that by being PID 1. It ends with its parent
 * and with the control socket. Exit status: 0 for an orderly end (MACHINE_END_RESET), 1 for others
 * of a running machine, 125 before that.
 */

enum {
    MACHINE_MAX_CPUS = 64,
    MACHINE_MAX_DISK_FILES = 255, /* the guest's partitions, which Linux numbers up to 255 */
    MACHINE_DISK_FILE_ALIGNMENT = 4096,
    MACHINE_MAX_NETS = 4,
    MACHINE_GUEST_CID = 3, /* the only guest its vsock device knows; the host is 2 */
    MACHINE_MAX_MESSAGE = 4096,
    MACHINE_MAX_STREAMS = 1024, /* offered and connected ones together */
};

enum machine_message_type {
    /*
     * hybrid -> vmm. One-shot: the guest's next connection to vsock port `port` of CID 2 is joined
     * to the descriptors that come along. fd_count 2: [0] is read from and sent to the guest, [1]
     * receives what the guest sends; fd_count 1: one socket for both directions. A direction can
     * be absent (MACHINE_OFFER_NO_INPUT / MACHINE_OFFER_NO_OUTPUT with fd_count 1).
     * End of file on a direction is passed on as a half-close, both ways.
     *
     * No answer if it is accepted, MACHINE_FAILED with the port if not. An offer sent before the
     * bytes that tell the guest of it (on another stream) is in force when the guest connects.
     * Flags of a descriptor are never changed, it may be shared. A pipe that is to be fast is
     * handed over with O_NONBLOCK set; a blocking one is written in pieces of 4096 bytes.
     */
    MACHINE_OFFER = 1,
    /* hybrid -> vmm. Forget an offer not taken up; its descriptors are closed. DONE or FAILED. */
    MACHINE_WITHDRAW = 2,
    /*
     * hybrid -> vmm. Stop and continue all vCPUs, not the devices (an answer MACHINE_DONE follows).
     */
    MACHINE_PAUSE = 3,
    MACHINE_RESUME = 4,
    /*
     * hybrid -> vmm. Forget an offer, also one that was taken up: nothing comes from the guest any
     * more, and the descriptors are closed when what it sent before is delivered. For a process
     * that has ended; an honest guest has closed its streams by then. DONE or FAILED.
     */
    MACHINE_CLOSE = 6,
    /* hybrid -> vmm. The guest makes no progress: end the machine, and say where it stands. */
    MACHINE_STALLED = 5,
    /*
     * vmm -> hybrid. The machine is jailed and the first guest instruction is next. The flags say
     * what the jail has that not every host offers (enum machine_jail).
     */
    MACHINE_RUNNING = 16,
    /* vmm -> hybrid. The request was carried out. */
    MACHINE_DONE = 17,
    /*
     * vmm -> hybrid, last message. How the machine ended: enum machine_end and a text. What the
     * guest sent before its end has been delivered then: this message waits for slow readers.
     */
    MACHINE_ENDED = 18,
    /*
     * vmm -> hybrid. The machine goes on, but its user should know what the text says: the host's
     * file of a disk failed. Once a disk.
     */
    MACHINE_WARNING = 20,
    /* vmm -> hybrid. A request (the port says which offer) was refused; the text says why. */
    MACHINE_FAILED = 19,
};

enum machine_offer_flags {
    MACHINE_OFFER_NO_INPUT = 1,  /* nothing is sent to the guest on this stream */
    MACHINE_OFFER_NO_OUTPUT = 2, /* nothing is expected from the guest on this stream */
};

enum machine_jail {
    MACHINE_JAIL_USER_NAMESPACE = 1,
    MACHINE_JAIL_LANDLOCK_SHIFT = 8, /* above it: the version of Landlock in force; 0: none */
};

enum machine_end {
    MACHINE_END_RESET = 1,    /* the guest asked for power-off or reset: the ordinary end */
    MACHINE_END_SHUTDOWN = 2, /* triple fault */
    MACHINE_END_KVM = 3,      /* KVM reported an error: internal error, failed entry */
    MACHINE_END_MONITOR = 4,  /* the monitor failed: its own resources, a descriptor, a signal */
    MACHINE_END_SETUP = 5,    /* before the first guest instruction */
    MACHINE_END_STALLED = 6,  /* as hybrid asked by MACHINE_STALLED */
};

/* The fixed head of every message; text follows where the type has one (no trailing NUL). */
struct machine_message {
    uint32_t type;  /* enum machine_message_type */
    uint32_t port;  /* OFFER, WITHDRAW, CLOSE */
    uint32_t flags; /* OFFER: enum machine_offer_flags; RUNNING: enum machine_jail */
    uint32_t end;   /* ENDED: enum machine_end */
    uint64_t exits; /* ENDED: KVM exits since the start, for diagnosis and benchmarks */
};

#endif
