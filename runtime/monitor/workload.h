/*
 * What the monitor knows of a running workload, whichever back end runs it. A back end is a table
 * of operations; the monitor's event loop calls them and knows neither KVM nor namespaces.
 */
#ifndef HYBRID_WORKLOAD_H
#define HYBRID_WORKLOAD_H

#include <poll.h>

#include "error.h"
#include "plan.h"
#include "runtime/cgroup/scope.h"

/* Files and directories of one workload; strings owned by the caller, absolute. */
struct workload_paths {
    const char *root;      /* <root>: runtime directory */
    const char *data;      /* <data> */
    const char *state_dir; /* <root>/<id> */
    const char *data_dir;  /* <data>/workloads/<id>: writable layer and log */
    const char *exe_dir;   /* where hybrid-vmm, vmlinux, guest-root.erofs are */
};

/* A running container that a command is to be executed in. */
struct workload_join {
    const char *id, *bundle; /* bundle: NULL: made from an image */
    pid_t pid;               /* its first process, */
    int pidfd;               /* and a descriptor of it */
    const char *cgroup;      /* to be joined: as recorded in the state, or below; "" if none */
    const struct plan *base; /* its own plan */
    int keep_fds;            /* descriptors 3..3+n-1 are the command's too */
    /* Told of the command's process when it is executed; NULL: nobody asks. Returns 0, or -1 with
     * *err and the process is ended. */
    int (*started)(const void *context, pid_t pid, struct error *err);
    const void *started_context;
};

/* Who may want an end of a workload while its creation still takes its time: a guest boots. */
struct workload_watch {
    /* Descriptors to poll for reading. Returns their number (at most max). */
    size_t (*poll_fds)(void *context, struct pollfd *fds, size_t max);
    /* Serves them. Returns false if nobody wants the workload any more: create or start fails. */
    bool (*serve)(void *context);
    void *context;
};

enum { WORKLOAD_WATCHED_FDS = 72 };

/* A workload that outlives who creates it: an engine is its parent and has it started. Of a VM,
 * whose monitor stays, only that it is one matters. */
struct workload_hold {
    const int *start_listener; /* see sandbox_request */
    int keep_fds;              /* descriptors 3..3+n-1 are the command's too */
    bool keep_keyring;         /* the creator's session keyring is the command's too */
    bool no_cgroup;            /* it stays in the cgroup of its creator */
};

/* Whose processes a container of a pod's machine is among. */
enum workload_processes_kind { WORKLOAD_OWN, WORKLOAD_OF_POD, WORKLOAD_OF_CONTAINER };

struct workload_processes {
    enum workload_processes_kind kind;
    pid_t monitor;          /* WORKLOAD_OF_CONTAINER: the process that stands in for it, */
    uint64_t monitor_start; /* and its start time, against reuse of the number */
};

/* VM only: the pod whose machine a workload is to run in, with the pod's other containers. */
struct workload_pod {
    const char *directory; /* the state directory of its sandbox */
    const char *shm;       /* the pod's /dev/shm on the host, as the mounts' source; NULL: none */
    struct workload_processes processes;
};

/* What a back end needs to start a workload. Everything is borrowed for the call's duration. */
struct workload_spec {
    const char *id;
    struct workload_paths paths;
    const struct plan *plan;        /* with its seccomp filter */
    const char *config_text;        /* the OCI configuration, as stored */
    const char *const *layer_files; /* EROFS files, lowest first, absolute */
    const char *const *layer_ids;   /* their diff ids in hex, same order */
    size_t layer_count;
    bool keep_writable; /* false: --rm, the writable layer may be in memory */
    /* Non-terminal: the workload's ends of stdin, stdout, stderr pipes, the back end's from now on
     * (also on failure). Terminal: -1. */
    int stdio[3];
    uint16_t rows, columns;             /* initial terminal size; 0: leave */
    const struct workload_watch *watch; /* served until the command is started; NULL: nobody */
    const struct workload_join *join;   /* exec_container_ops only */
    const char *bundle;                 /* absolute; NULL: made from an image */
    const struct workload_hold *hold;   /* NULL: dies with its monitor */
    const struct cgroup_scope *scope;   /* whose cgroup it gets; NULL: one of our own making */
    const struct workload_pod *pod;     /* NULL: its machine is its own */
};

struct workload_exit {
    int status;  /* 0..255; 128+n by signal n */
    bool oom;    /* the OOM killer ended a process of the workload */
    bool failed; /* hybrid failed (guest died, monitor failed): status is 125 and error says why */
    struct error error;
};

enum { WORKLOAD_NOTE = 384 }; /* bytes that any note of say_farewell fits into */

struct workload; /* defined by each back end */

/* A process started by exec in a running workload. */
struct workload_exec {
    uint32_t number;          /* chosen by the caller, unique while it runs, 1... */
    const char *process_text; /* OCI process object */
    const struct plan *plan;  /* parsed from it, with its filter */
    int stdio[3];             /* as in workload_spec */
    uint16_t rows, columns;
};

struct workload_ops {
    const char *name; /* "container", "vm" */

    /* Prepares and starts everything up to, not including, the command's execve.
     * *terminal_fd: one descriptor for both directions with plan->terminal, else -1; the caller's.
     * Returns the workload, or NULL with *err and nothing left behind. */
    struct workload *(*create)(const struct workload_spec *spec, int *terminal_fd,
                               struct error *err);
    /* VM only (NULL elsewhere): what is there between an engine's create and start. The calling
     * process becomes what the engine takes for the workload's first one: its cgroup, its network
     * namespace and its root directory are the workload's. What the engine makes of that network
     * until the start is what the workload gets. Returns the workload, or NULL with *err. */
    struct workload *(*hold)(const struct workload_spec *spec, struct error *err);
    /* VM only: as `create`, for what is held. Returns 0, or -1 with *err. */
    int (*prepare)(struct workload *workload, const struct workload_spec *spec, int *terminal_fd,
                   struct error *err);
    /* Executes the command. Returns 0, or -1 with *err (126, 127 or 125). */
    int (*start)(struct workload *workload, struct error *err);
    /* The process that stands for the workload on the host (container init, or hybrid-vmm). */
    pid_t (*pid)(const struct workload *workload);
    /* Name of its cgroup as recorded in the state, for a later clean-up by another process; "" if
     * none. Borrowed. */
    const char *(*cgroup)(const struct workload *workload);
    /* VM only (NULL elsewhere): the version of Landlock that confines hybrid-vmm; 0: none. */
    int (*landlock)(const struct workload *workload);
    /* VM only (NULL elsewhere): what went wrong so far without ending it; "": nothing. It changes
     * once at most. Borrowed. */
    const char *(*warning)(const struct workload *workload);
    /* Descriptors to poll. Returns their number (at most max). */
    size_t (*poll_fds)(const struct workload *workload, struct pollfd *fds, size_t max);
    /* Handles what poll reported. Returns 1 when the workload has ended (*exit filled), 0 to go
     * on. exec sessions that ended are reported through exec_ended. */
    int (*dispatch)(struct workload *workload, const struct pollfd *fds, size_t count,
                    void (*exec_ended)(void *context, uint32_t number, int status,
                                       const struct error *error),
                    void *context, struct workload_exit *exit);
    /* Sends a signal to the workload's first process (or to all). Returns 0, or -1 with *err. */
    int (*signal)(struct workload *workload, int signal, bool all, struct error *err);
    /* Stops all its processes where they are, or lets them go on, and waits for that: a VM's are
     * those on the host, but in a pod, where the machine goes on, those in the guest. Returns 0, or
     * -1 with *err. */
    int (*pause)(struct workload *workload, bool pause, struct error *err);
    /* A VM in a pod (NULL elsewhere; refused for others): applies limits, an OCI linux.resources
     * as JSON, to what it is in its guest. Returns 0, or -1 with *err. */
    int (*update)(struct workload *workload, const char *resources, struct error *err);
    /* process 0: the workload; otherwise an exec session. */
    int (*resize)(struct workload *workload, uint32_t process, uint16_t rows, uint16_t columns,
                  struct error *err);
    /* VM only (a container is joined by `hybrid exec` itself; NULL there). Takes stdio. */
    int (*exec)(struct workload *workload, const struct workload_exec *exec, int *terminal_fd,
                struct error *err);
    /* Whether its command has been executed. */
    bool (*exec_started)(struct workload *workload, uint32_t number);
    int (*exec_signal)(struct workload *workload, uint32_t number, int signal, struct error *err);
    /* VM only (NULL elsewhere), at the end: what is to be kept is written to the disk, for which
     * it waits. `warning` is final then. note: what its user should know besides how it ended; "":
     * nothing. */
    void (*say_farewell)(struct workload *workload, char *note, size_t size);
    /* Kills what is left, removes cgroups and layer mounts, frees. The data directory stays. */
    void (*destroy)(struct workload *workload);
};

extern const struct workload_ops container_ops; /* runtime/container/container.h */
extern const struct workload_ops vm_ops;        /* runtime/vm/vm.h */

#endif
