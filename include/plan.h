/*
 * The plan: what is to be done to a process before it runs the command, as one ordered list of
 * steps, and what it may use. Made by runtime/plan from an OCI runtime configuration, applied by
 * runtime/sandbox to the calling process, on the host's kernel or on the guest's.
 *
 * Ownership: strings and arrays belong to the plan (most are borrowed from `document`) and live
 * until plan_free. Specification: OCI runtime-spec 1.2, config-linux.
 */
#ifndef HYBRID_PLAN_H
#define HYBRID_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum plan_step_kind {
    /* In the new mount namespace, before and after the root is entered, in list order. */
    PLAN_MOUNT,         /* one entry of `mounts` */
    PLAN_FILE,          /* a file with given content, mounted over target (extension) */
    PLAN_DEVICE,        /* one device node */
    PLAN_SYMLINK,       /* /dev/fd and its kin */
    PLAN_CONSOLE,       /* the pty slave bound at /dev/console */
    PLAN_HOOKS,         /* the caller runs its hooks (prestart, createRuntime) now */
    PLAN_HOOK_CREATE,   /* one createContainer hook, found by its path on the host */
    PLAN_ROOT,          /* enter the root: pivot_root; later paths are the workload's own */
    PLAN_CWD_MAKE,      /* what PLAN_CWD enters, if absent, while a read-only root is not yet */
    PLAN_MASK,          /* hide a path */
    PLAN_READONLY_PATH, /* make a path read-only */
    PLAN_READONLY_ROOT, /* make / read-only */
    PLAN_SYSCTL,
    PLAN_HOSTNAME,
    PLAN_DOMAINNAME,
    PLAN_LOOPBACK_UP, /* bring lo up in the new network namespace */
    /* On the process itself. */
    PLAN_OOM_SCORE,
    PLAN_PERSONALITY,
    PLAN_SCHEDULER,
    PLAN_IO_PRIORITY,
    PLAN_RLIMIT,
    PLAN_UMASK,
    PLAN_USER,         /* resolve names, set groups, gid, uid */
    PLAN_CWD,          /* entered, checked to lie inside the root */
    PLAN_APPARMOR,     /* the profile that confines from exec on */
    PLAN_SELINUX,      /* the label that it has from exec on */
    PLAN_CAPABILITIES, /* five sets; bounding first, the others with PLAN_USER's change of ids */
    PLAN_NO_NEW_PRIVS,
    PLAN_HOOK_START, /* when the command is to start: one startContainer hook, in the root */
    PLAN_SECCOMP,    /* plan->filter */
    PLAN_EXEC,       /* last: argv, env, PATH search */
    PLAN_PAUSE,      /* last instead of it: a pod's sandbox, which holds its namespaces */
    PLAN_STEP_KINDS,
};

struct plan_id_map {
    uint32_t container, host, size;
};

/*
 * Members of a configuration that hybrid itself writes where a policy judged a path, so that what
 * is opened later is what was judged: beside the source of a mount and root.path, where that led
 * (it is opened without following a symbolic link), and beside the path of a namespace, that it was
 * not the host's. In a bundle's own configuration, and where there is no policy any more, they are
 * removed before they are read.
 */
#define PLAN_RESOLVED_KEY  "hybrid.resolved"
#define PLAN_NOT_HOSTS_KEY "hybrid.notHosts"

struct plan_mount {
    const char *source;        /* NULL where the type has none */
    const char *target;        /* absolute, inside the root */
    const char *type;          /* "bind" for binds */
    unsigned long flags;       /* MS_* to set */
    unsigned long propagation; /* MS_PRIVATE... with or without MS_REC; 0: leave */
    uint64_t recursive_set;    /* MOUNT_ATTR_* set on the whole tree (rro, rnosuid...) */
    uint64_t recursive_clear;  /* MOUNT_ATTR_* cleared on the whole tree */
    const char *data;          /* file system options, comma-separated; NULL: none */
    bool copy_up;              /* tmpcopyup: copy the covered directory's content */
    bool idmap;                /* ids are mapped: as below, or as the user namespace has it */
    bool idmap_recursive;      /* also those of the mounts below it */
    const char *resolved;      /* PLAN_RESOLVED_KEY; NULL: what is opened is the source */
    const struct plan_id_map *uid_maps, *gid_maps; /* host: as it shows; container: in the source */
    size_t uid_map_count, gid_map_count;
};

struct plan_file {
    const char *target;
    const char *content;
    size_t length;
    mode_t mode;
};

struct plan_device {
    const char *path;
    mode_t mode; /* type and permission bits */
    uint32_t major, minor;
    uid_t uid;
    gid_t gid;
    bool standard; /* every container has it, and the configuration does not list it */
};

struct plan_symlink {
    const char *path;
    const char *target;
};

struct plan_sysctl {
    const char *key; /* dotted */
    const char *value;
};

struct plan_rlimit {
    int resource; /* RLIMIT_* */
    const char *name;
    uint64_t soft, hard; /* RLIM_INFINITY: none */
    bool at_most;        /* as much of it as can be had without CAP_SYS_RESOURCE */
};

struct plan_scheduler { /* as sched_setattr(2) takes it */
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period; /* nanoseconds */
};

struct plan_oom_score {
    int score;
    bool at_least; /* not lower than can be had without CAP_SYS_RESOURCE */
};

struct plan_user {
    uid_t uid;
    gid_t gid;
    const gid_t *additional_groups;
    size_t additional_group_count;
    const char *name; /* extension: "user[:group]", resolved inside the root; NULL: ids above */
};

struct plan_capabilities { /* bit n = capability n */
    uint64_t bounding, effective, inheritable, permitted, ambient;
};

struct plan_exec {
    const char *const *argv; /* NULL-terminated */
    const char *const *env;  /* NULL-terminated; HOME is added from the user's entry if absent */
};

struct plan_hook {
    const char *kind;        /* "prestart", for messages */
    const char *path;        /* absolute */
    const char *const *argv; /* NULL-terminated */
    const char *const *env;  /* NULL-terminated: this and nothing else; NULL: not given */
    int timeout;             /* seconds; 0: none */
};

/* Hooks that the caller runs, in its own namespaces. The other two are steps. */
enum plan_hooks {
    PLAN_HOOKS_PRESTART,
    PLAN_HOOKS_CREATE_RUNTIME,
    PLAN_HOOKS_POSTSTART,
    PLAN_HOOKS_POSTSTOP,
    PLAN_HOOKS_KINDS,
};

struct plan_hook_list {
    const struct plan_hook *hooks;
    size_t count;
};

struct plan_step {
    enum plan_step_kind kind;
    union {
        struct plan_mount mount;
        struct plan_file file;
        struct plan_device device;
        struct plan_symlink symlink;
        struct plan_sysctl sysctl;
        struct plan_rlimit rlimit;
        struct plan_user user;
        struct plan_capabilities capabilities;
        struct plan_exec exec;
        struct plan_hook hook; /* HOOK_CREATE, HOOK_START */
        const char *path;      /* CWD_MAKE, MASK, READONLY_PATH, CWD */
        const char *name;      /* HOSTNAME, DOMAINNAME, APPARMOR, SELINUX */
        struct plan_oom_score oom_score;
        mode_t umask;              /* UMASK */
        unsigned long personality; /* PERSONALITY: PER_* */
        struct plan_scheduler scheduler;
        int io_priority; /* IO_PRIORITY: as ioprio_set(2) takes it */
    };
};

struct plan_time_offset {
    const char *clock; /* as the kernel names it */
    int64_t seconds;
    uint32_t nanoseconds;
};

struct plan_namespaces {
    int create;             /* CLONE_NEW* of namespaces to make */
    const char *path[8];    /* to join, by enum plan_namespace; NULL: none */
    unsigned int not_hosts; /* PLAN_NOT_HOSTS_KEY: bit n = enum plan_namespace n */
    struct plan_time_offset time_offsets[2];
    size_t time_offset_count;
};

enum plan_namespace {
    PLAN_NS_PID,
    PLAN_NS_NETWORK,
    PLAN_NS_MOUNT,
    PLAN_NS_IPC,
    PLAN_NS_UTS,
    PLAN_NS_USER,
    PLAN_NS_CGROUP,
    PLAN_NS_TIME,
};

struct plan_device_rule { /* linux.resources.devices */
    int64_t major, minor; /* -1: any */
    char type;            /* 'a', 'b', 'c' */
    bool allow;
    bool read, write, mknod;
};

/* The value of one control file, in the form it has on each version of cgroups. */
struct plan_cgroup_setting {
    const char *what;           /* the member of the configuration, for messages */
    const char *controller;     /* on v1, and on v2 unless: */
    const char *v2_controller;  /* NULL: the same name */
    const char *v1_file;        /* NULL: v1 has no such thing */
    const char *v1_alternative; /* the file's name on other kernels; NULL */
    const char *v1_value;
    const char *v2_file; /* NULL: v2 has no such thing */
    const char *v2_value;
    bool optional; /* a kernel without the file is no error */
};

/* Where there is to be no limit, though there might be one now. */
#define PLAN_UNLIMITED INT64_MAX
/* What a VM has where no limit says otherwise. */
enum { PLAN_VM_MEMORY = 256 << 20, PLAN_VM_CPUS = 1 };
/* What that of a pod has for all of its containers. */
enum { PLAN_VM_POD_MEMORY = 1 << 30, PLAN_VM_POD_CPUS = 2 };

/* What a second may see of the workload's disks and networks (extension). */
enum plan_rate {
    PLAN_DISK_READ_BYTES,
    PLAN_DISK_WRITE_BYTES,
    PLAN_DISK_READ_REQUESTS,
    PLAN_DISK_WRITE_REQUESTS,
    PLAN_NETWORK_RECEIVE_BYTES,
    PLAN_NETWORK_SEND_BYTES,
    PLAN_NETWORK_RECEIVE_PACKETS,
    PLAN_NETWORK_SEND_PACKETS,
    PLAN_RATES,
    PLAN_DISK_RATES = PLAN_NETWORK_RECEIVE_BYTES, /* so many, the first ones, are of disks */
};

/* Limits. -1 where an OCI field is absent (0 and other values mean what the specification says). */
struct plan_resources {
    int64_t memory_limit;       /* bytes */
    int64_t memory_swap;        /* bytes, memory plus swap as the specification counts */
    int64_t memory_reservation; /* bytes */
    int64_t cpu_shares;
    int64_t cpu_quota;  /* microseconds a period */
    int64_t cpu_period; /* microseconds */
    const char *cpuset_cpus;
    const char *cpuset_mems;
    int64_t pids_limit;
    const struct plan_device_rule *devices;
    size_t device_count;
    const struct plan_cgroup_setting *settings; /* everything else, in the order of writing */
    size_t setting_count;
    int64_t rates[PLAN_RATES]; /* of all disks together, of each network; 0: no limit */
    bool every_controller;     /* a cgroup in every hierarchy: engines read counters there */
    bool check_memory;         /* refuse a memory limit below what is used */
};

/* An initializer: nothing is limited, nothing is changed. */
#define PLAN_NO_RESOURCES                                                                          \
    {                                                                                              \
        .memory_limit = -1, .memory_swap = -1, .memory_reservation = -1, .cpu_shares = -1,         \
        .cpu_quota = -1, .cpu_period = -1, .pids_limit = -1                                        \
    }

/* Bit n % 64 of word n / 64: processor n; as sched_setaffinity(2) takes it. */
enum { PLAN_MAX_PROCESSORS = 1024 };
struct plan_processors {
    uint64_t words[PLAN_MAX_PROCESSORS / 64];
};

struct plan {
    struct plan_step *steps;
    size_t step_count;
    struct plan_namespaces namespaces;
    const struct plan_id_map *uid_maps, *gid_maps;
    size_t uid_map_count, gid_map_count;
    struct plan_resources resources;
    const char *cgroup_path; /* linux.cgroupsPath; NULL: the back end chooses */
    const char *hostname;
    const char *root_path;     /* root.path of a bundle; NULL: made of layers, or of nothing */
    const char *root_resolved; /* PLAN_RESOLVED_KEY of it; NULL */
    bool root_readonly;
    const char *mount_label;        /* linux.mountLabel; means nothing without SELinux; NULL */
    unsigned long root_propagation; /* MS_* for / of the namespace; 0: MS_PRIVATE|MS_REC */
    bool terminal;
    uint16_t terminal_rows, terminal_columns; /* 0: not given */
    bool init; /* extension: a reaping PID 1 in front of the command */
    struct plan_hook_list hooks[PLAN_HOOKS_KINDS];
    /* process.execCPUAffinity, for exec alone: before and after the cgroup is entered; NULL: not
     * given. */
    const struct plan_processors *affinity_initial, *affinity_final;
    /* Set by the caller after parsing, who keeps owning it, when there is a PLAN_SECCOMP step. */
    const uint8_t *filter;     /* seccomp BPF, an array of struct sock_filter; NULL: none */
    size_t filter_length;      /* bytes */
    unsigned int filter_flags; /* SECCOMP_FILTER_FLAG_* */
    /* linux.seccomp.listenerPath and listenerMetadata: who decides about system calls that the
     * filter neither allows nor refuses (SECCOMP_FILTER_FLAG_NEW_LISTENER); NULL: not given. */
    const char *listener_path, *listener_metadata;
    void *document; /* the configuration's JSON; owned */
    void *storage;  /* everything the parser allocated; owned */
};

struct error;

/* Writes one step as a line of --dry-run, without newline. Returns as snprintf. */
int plan_step_describe(const struct plan_step *step, char *text, size_t size);

void plan_free(struct plan *plan);

#endif
