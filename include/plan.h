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
    PLAN_ROOT,          /* enter the root: pivot_root; later paths are the workload's own */
    PLAN_MASK,          /* hide a path */
    PLAN_READONLY_PATH, /* make a path read-only */
    PLAN_READONLY_ROOT, /* make / read-only */
    PLAN_SYSCTL,
    PLAN_HOSTNAME,
    PLAN_DOMAINNAME,
    PLAN_LOOPBACK_UP, /* bring lo up in the new network namespace */
    /* On the process itself. */
    PLAN_OOM_SCORE,
    PLAN_RLIMIT,
    PLAN_UMASK,
    PLAN_USER,         /* resolve names, set groups, gid, uid */
    PLAN_CWD,          /* made if absent, entered, checked to lie inside the root */
    PLAN_CAPABILITIES, /* five sets; bounding first, the others with PLAN_USER's change of ids */
    PLAN_NO_NEW_PRIVS,
    PLAN_SECCOMP, /* plan->filter */
    PLAN_EXEC,    /* last: argv, env, PATH search */
    PLAN_STEP_KINDS,
};

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
        const char *path; /* MASK, READONLY_PATH, CWD */
        const char *name; /* HOSTNAME, DOMAINNAME */
        int oom_score;    /* OOM_SCORE */
        mode_t umask;     /* UMASK */
    };
};

struct plan_id_map {
    uint32_t container, host, size;
};

struct plan_namespaces {
    int create;          /* CLONE_NEW* of namespaces to make */
    const char *path[8]; /* to join, by enum plan_namespace; NULL: none */
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

/* What a VM has where no limit says otherwise. */
enum { PLAN_VM_MEMORY = 256 << 20, PLAN_VM_CPUS = 1 };

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
    const char *root_path; /* root.path of a bundle; NULL when the root is made of layers */
    bool root_readonly;
    unsigned long root_propagation; /* MS_* for / of the namespace; 0: MS_PRIVATE|MS_REC */
    bool terminal;
    uint16_t terminal_rows, terminal_columns; /* 0: not given */
    bool init; /* extension: a reaping PID 1 in front of the command */
    /* Set by the caller after parsing, who keeps owning it, when there is a PLAN_SECCOMP step. */
    const uint8_t *filter;     /* seccomp BPF, an array of struct sock_filter; NULL: none */
    size_t filter_length;      /* bytes */
    unsigned int filter_flags; /* SECCOMP_FILTER_FLAG_* */
    void *document;            /* the configuration's JSON; owned */
    void *storage;             /* everything the parser allocated; owned */
};

struct error;

/* Writes one step as a line of --dry-run, without newline. Returns as snprintf. */
int plan_step_describe(const struct plan_step *step, char *text, size_t size);

void plan_free(struct plan *plan);

#endif
