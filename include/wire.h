/*
 * What `hybrid` and `hybrid-init` say to each other over vsock: framed, bounded, typed, versioned.
 *
 * One control connection carries frames. One further connection per byte stream carries nothing but
 * the bytes, so that no stream blocks another and half-close has its natural meaning. One more may
 * carry questions for names (names.h). All connections are opened by the guest, to ports of the
 * host (CID 2) that hybrid has offered; stream ports are random numbers that travel in CONFIG and
 * EXEC, so a workload cannot guess them.
 *
 * A machine of its own has one control connection, which PID 1 serves: READY, FILTER, CONFIG,
 * PREPARED, START, STARTED and so on. The machine of a pod gets POD on that connection instead of
 * CONFIG, and CONTAINER for each container: a child of PID 1 then opens a control connection for
 * this container alone, on which everything goes as in a machine of its own, from READY on. Numbers
 * of containers begin at 1 and are not used again in one machine.
 *
 * Every frame from the guest is hostile input: the reader checks type, length and process number,
 * and a violation ends the machine. Numbers are little-endian (both sides are x86_64 or aarch64).
 */
#ifndef HYBRID_WIRE_H
#define HYBRID_WIRE_H

#include <stdint.h>

/* What the guest has of the host's files: one file system, its entries "0", "1", ... */
#define WIRE_SHARE_TAG "shares"
/* Where hybrid-init mounts it: the sources in the configuration begin so. */
#define WIRE_SHARE_DIRECTORY "/shares"
/*
 * The shared memory of a pod's machine: in configurations of its containers the source of what they
 * bind to /dev/shm. Not a share: each container mounts its shares by itself, and what two of them
 * map of one file of the host are different pages.
 */
#define WIRE_SHM_DIRECTORY "/dev/shm"

enum {
    WIRE_VERSION = 5,
    WIRE_CONTROL_PORT = 1,           /* vsock port of the control connection */
    WIRE_MAX_TO_GUEST = 1024 * 1024, /* payload bytes of the largest frame to the guest */
    WIRE_MAX_FROM_GUEST = 4096,      /* payload bytes of the largest frame from the guest */
    WIRE_MAIN_PROCESS = 0,           /* process number of the workload itself */
    WIRE_MAX_PROCESSES = 256,        /* the workload and concurrent exec sessions */
    WIRE_STREAMS = 3,                /* stdin, stdout, stderr; a terminal uses stream 0 only */
    WIRE_RLIMITS = 16,               /* RLIMIT_CPU to RLIMIT_RTTIME */
    WIRE_MAX_UPDATE = 64 * 1024,     /* bytes of an UPDATE's document */
    WIRE_MAX_FORGET = 4096,          /* entries of one FORGET */
};

/* Process number of FREEZE and UPDATE, and of the DONE or ERROR that answers them: an error of
 * theirs must not be taken for the command's. Frames of one connection are answered in order. */
#define WIRE_REQUEST_PROCESS UINT32_MAX

enum wire_type {
    /* host -> guest */
    WIRE_CONFIG = 1,   /* struct wire_config, then the OCI config.json of the workload */
    WIRE_FILTER = 2,   /* struct wire_filter, then BPF: comes before the CONFIG or EXEC it is for */
    WIRE_EXEC = 3,     /* struct wire_process, then an OCI process object (process.json) */
    WIRE_SIGNAL = 4,   /* struct wire_signal */
    WIRE_RESIZE = 5,   /* struct wire_resize: the terminal of a process */
    WIRE_SHUTDOWN = 6, /* no payload: end everything, sync, power off */
    WIRE_STATS = 7,    /* no payload: asks for one WIRE_STATS_REPLY */
    WIRE_START = 8,    /* no payload: execute the workload's command, after WIRE_PREPARED */
    WIRE_NETWORK = 9,  /* network_pack of include/network.h: before the CONFIG that joins it */
    WIRE_NAMES = 10,   /* struct wire_names: after NETWORK, before CONFIG or POD */
    /* On the connection of a pod's machine only: */
    WIRE_POD = 11, /* struct wire_pod: instead of CONFIG; answered by PREPARED or ERROR */
    WIRE_CONTAINER =
        12,           /* struct wire_container, after PREPARED. No answer here but an ERROR, whose
                         process is the container's number, if there will be no connection */
    WIRE_FORGET = 15, /* struct wire_forget, after the host has taken these shares away */
    /* On the connection of a pod's container only; answered by DONE or ERROR: */
    WIRE_FREEZE = 13, /* struct wire_freeze: of the container's cgroup in the guest */
    WIRE_UPDATE = 14, /* OCI linux.resources (JSON) for the container's cgroup in the guest */
    /* guest -> host */
    WIRE_READY = 32,       /* struct wire_ready: hybrid-init runs and awaits CONFIG or POD */
    WIRE_STARTED = 33,     /* the process's execve succeeded */
    WIRE_ERROR = 34,       /* struct wire_error and a text: the process could not be started */
    WIRE_EXITED = 35,      /* struct wire_exited: the process ended and its streams are drained */
    WIRE_STATS_REPLY = 36, /* struct wire_stats */
    WIRE_PREPARED = 37,    /* CONFIG is carried out up to the command's execve, or POD is */
    WIRE_DONE = 38,        /* FREEZE or UPDATE is carried out */
};

/* Head of every frame; `length` payload bytes follow. */
struct wire_frame {
    uint32_t type;    /* enum wire_type */
    uint32_t process; /* 0: the workload; 1...: an exec session, numbered by the host; or
                         WIRE_REQUEST_PROCESS; in the ERROR of a CONTAINER, its number */
    uint32_t length;
    uint32_t reserved; /* 0 */
};

/* How a process's streams are joined. A port of 0 means: /dev/null. */
struct wire_process {
    uint32_t ports[WIRE_STREAMS];
    uint32_t flags; /* enum wire_process_flags */
    uint16_t rows;  /* initial size of the terminal; 0: leave it */
    uint16_t columns;
    uint32_t reserved; /* 0 */
};

struct wire_rlimit { /* as struct rlimit; all ones: none */
    uint64_t soft, hard;
};

struct wire_config {
    struct wire_process process;
    uint64_t memory_limit; /* bytes for the workload's cgroup in the guest; 0: no limit of its own,
                              in a pod only */
    int64_t clock_seconds; /* the host's CLOCK_REALTIME */
    uint32_t clock_nanoseconds;
    uint32_t layer_count; /* EROFS partitions that follow the init root; 0: a bundle, whose root
                             is one of the shares */
    /* What every process of the workload gets before its plan's own limits: those that hybrid has,
     * so that both isolations start from the same. By RLIMIT_ number. */
    struct wire_rlimit limits[WIRE_RLIMITS];
};

struct wire_filter {
    uint32_t flags;    /* SECCOMP_FILTER_FLAG_* */
    uint32_t reserved; /* 0 */
};

enum wire_process_flags {
    WIRE_TERMINAL = 1,     /* allocate a pty; stream 0 carries both directions */
    WIRE_SHARES = 4,       /* CONFIG and POD only: there are shares; in the CONFIG of a pod's
                              container: they are mounted already */
    WIRE_SCRATCH_DISK = 2, /* CONFIG only: /dev/vdb is the ext4 writable layer; else tmpfs */
};

/*
 * For a pod's machine what CONFIG is for the rest. In the CONFIG of a pod's container the clock is
 * ignored, there are no layers and no scratch disk, and limits of processor time are in the
 * configuration's linux.resources and hold for its cgroup in the guest: the host's cgroup bounds
 * the whole pod.
 */
struct wire_pod {
    int64_t clock_seconds; /* the host's CLOCK_REALTIME */
    uint32_t clock_nanoseconds;
    uint32_t flags;    /* WIRE_SHARES */
    uint64_t shm_size; /* bytes of the tmpfs on WIRE_SHM_DIRECTORY; 0: there is none */
};

/* Whose pid namespace a container is in, if it is not the one of the container of that number. Each
 * is joined by the container's plan as "/proc/self/ns/pid", except its own, which it makes. */
#define WIRE_OWN_PROCESSES 0
#define WIRE_PODS_PROCESSES                                                                        \
    UINT32_MAX /* that of all which say so; its process 1 is hybrid-init's */

struct wire_container {
    uint32_t port;      /* for its control connection */
    uint32_t number;    /* 1...: new in this machine */
    uint32_t processes; /* WIRE_OWN_PROCESSES, WIRE_PODS_PROCESSES, or a container's number */
    uint32_t reserved;  /* 0 */
};

/*
 * Shares that a container had and that are entries of the file system no more: hybrid-init drops
 * what the guest's kernel remembers of them, so that the host's file systems are let go. Its
 * processes are killed or will be; what is still mounted of these shares is unmounted.
 */
struct wire_forget {
    uint32_t first, count; /* entries "first" to "first + count - 1" */
};

struct wire_freeze {
    uint32_t frozen;   /* 1: freeze, 0: thaw */
    uint32_t reserved; /* 0 */
};

struct wire_names {     /* see names.h */
    uint32_t port;      /* of the connection for questions */
    uint8_t address[4]; /* of the name server: in 127.0.0.0/8 */
};

struct wire_signal {
    uint32_t signal;
    uint32_t all; /* 1: every process of the workload, not only the first */
};

struct wire_resize {
    uint16_t rows;
    uint16_t columns;
};

struct wire_ready {
    uint32_t version;          /* WIRE_VERSION */
    uint32_t reserved;         /* 0 */
    uint64_t boot_nanoseconds; /* CLOCK_BOOTTIME when hybrid-init was ready */
};

struct wire_error {
    uint32_t exit_code; /* 125, 126 or 127 */
    uint32_t reserved;  /* 0 */
};

struct wire_exited {
    uint32_t status; /* 0..255 as the shell counts: 128+n for signal n */
    uint32_t flags;  /* enum wire_exited_flags */
};

enum wire_exited_flags {
    WIRE_EXITED_OOM = 1, /* the kernel's OOM killer ended a process of the workload */
};

struct wire_stats {
    uint64_t memory_bytes;
    uint64_t pids;
    uint64_t cpu_microseconds;
};

#endif
