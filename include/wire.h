/*
 * What `hybrid` and `hybrid-init` say to each other over vsock: framed, bounded, typed, versioned.
 *
 * One control connection carries frames. One further connection per byte stream carries nothing but
 * the bytes, so that no stream blocks another and half-close has its natural meaning. One more may
 * carry questions for names (names.h). All connections are opened by the guest, to ports of the
 * host (CID 2) that hybrid has offered; stream ports are random numbers that travel in CONFIG and
 * EXEC, so a workload cannot guess them.
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

enum {
    WIRE_VERSION = 3,
    WIRE_CONTROL_PORT = 1,           /* vsock port of the control connection */
    WIRE_MAX_TO_GUEST = 1024 * 1024, /* payload bytes of the largest frame to the guest */
    WIRE_MAX_FROM_GUEST = 4096,      /* payload bytes of the largest frame from the guest */
    WIRE_MAIN_PROCESS = 0,           /* process number of the workload itself */
    WIRE_MAX_PROCESSES = 256,        /* the workload and concurrent exec sessions */
    WIRE_STREAMS = 3,                /* stdin, stdout, stderr; a terminal uses stream 0 only */
    WIRE_RLIMITS = 16,               /* RLIMIT_CPU to RLIMIT_RTTIME */
};

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
    WIRE_NAMES = 10,   /* struct wire_names: after NETWORK, before CONFIG */
    /* guest -> host */
    WIRE_READY = 32,       /* struct wire_ready: hybrid-init runs and awaits CONFIG */
    WIRE_STARTED = 33,     /* the process's execve succeeded */
    WIRE_ERROR = 34,       /* struct wire_error and a text: the process could not be started */
    WIRE_EXITED = 35,      /* struct wire_exited: the process ended and its streams are drained */
    WIRE_STATS_REPLY = 36, /* struct wire_stats */
    WIRE_PREPARED = 37,    /* CONFIG is carried out up to the command's execve */
};

/* Head of every frame; `length` payload bytes follow. */
struct wire_frame {
    uint32_t type;    /* enum wire_type */
    uint32_t process; /* 0: the workload; 1...: an exec session, numbered by the host */
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
    uint64_t memory_limit; /* bytes for the workload's cgroup in the guest */
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
    WIRE_SHARES = 4,       /* CONFIG only: there are shares */
    WIRE_SCRATCH_DISK = 2, /* CONFIG only: /dev/vdb is the ext4 writable layer; else tmpfs */
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
