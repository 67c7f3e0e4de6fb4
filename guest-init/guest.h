/*
 * hybrid-init, PID 1 of the guest: everything it knows. One thread, one loop; the control
 * connection says what to do, and everything that takes time happens in children.
 *
 * In a machine of its own PID 1 serves the workload. In a pod's machine each container has an init
 * of its own, a child of PID 1 that serves the container's connection in the same way. A further
 * child of PID 1 is process 1 of the pid namespace that containers may share ("hybrid-pause").
 */
#ifndef HYBRID_INIT_GUEST_H
#define HYBRID_INIT_GUEST_H

#include "error.h"
#include "guest-init/names.h"
#include "guest-init/relay.h"
#include "include/wire.h"
#include "include/wire_io.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/sandbox/sandbox.h"

enum {
    PROCESS_RELAYS = 4,          /* a terminal takes two each way */
    CONTROL_TIMEOUT = 10 * 1000, /* milliseconds for the host to take a frame */
    POD_MEMBERS = 256,           /* containers of a pod at a time */
    CGROUP_NAME = 32,            /* bytes of the name of a workload's cgroup */
};

/* Whom a process of hybrid-init serves. */
enum guest_role {
    GUEST_OWN = 1,       /* PID 1 of a machine of its own; what it is may not be known yet */
    GUEST_POD = 2,       /* PID 1 of a pod's machine */
    GUEST_CONTAINER = 4, /* a child of that: the init of one container */
};

enum process_state {
    PROCESS_UNUSED,
    PROCESS_PREPARED, /* set up, awaits WIRE_START */
    PROCESS_RUNNING,
    PROCESS_ENDED, /* reaped; its streams are being drained */
};

/* The workload itself or an exec session. */
struct process {
    enum process_state state;
    uint32_t number; /* WIRE_MAIN_PROCESS, or as the host counts */
    struct sandbox_child child;
    struct relay relays[PROCESS_RELAYS];
    int status;         /* when ended: 0..255, as the shell counts */
    uint64_t oom_kills; /* of the workload's cgroup when the process started */
    int64_t ended;      /* wire_clock_milliseconds */
    bool terminal;
};

struct guest_filter {
    uint32_t process, flags;
    uint8_t *program; /* NULL: none came */
    size_t length;
};

/* What runs: in a machine of its own, or as one container of a pod. */
struct workload {
    bool configured;                              /* CONFIG came */
    struct process processes[WIRE_MAX_PROCESSES]; /* [0]: the workload itself */
    struct guest_filter next_filter;              /* for the CONFIG or EXEC that comes next */
    struct guest_filter filter;                   /* what `plan` points to */
    struct plan plan;
    struct cgroup *cgroup;
    struct wire_rlimit limits[WIRE_RLIMITS];
    char **layers; /* mount points, lowest first */
    size_t layer_count;
    bool scratch_mounted;
    bool frozen;
};

struct pod_member {
    pid_t pid;       /* of its init; 0: unused */
    uint32_t number; /* of the container */
    int news_fd;     /* from its init, which sends its pid namespace; -1: it has come */
    int pids_fd;     /* that; -1: it has not come, or nobody has asked for it */
};

/* One process of hybrid-init. */
struct guest {
    enum guest_role role;
    uint32_t number; /* of the container; 0: none of a pod */
    int control_fd, signal_fd;
    struct wire_reader reader;
    bool done; /* nothing more is to be served */
    struct names names;
    bool networked; /* WIRE_NETWORK came: what runs lives in our own network namespace */
    bool shared;    /* of a pod: the host's files are mounted */
    pid_t pause;    /* of a pod: process 1 of the pid namespace that is shared; 0: none yet */
    /* Of a container: */
    int news_fd;        /* to PID 1 */
    bool joins;         /* it has no pid namespace of its own, but that of */
    int pids_fd;        /* this, */
    char pids_path[32]; /* which is opened by this */
    struct workload workload;
    struct pod_member members[POD_MEMBERS];
};

/* boot.c: the guest's own file systems and clock. */

/* Mounts what hybrid-init and the sandbox need before anything is known of the workload. */
int boot_mount_system(struct error *err);
/* Mounts the image's layers (EROFS partitions), if there are any, and the writable layer (ext4 disk
 * or memory). */
int boot_mount_layers(struct workload *workload, const struct wire_config *config,
                      struct error *err);
/* Mounts the host's files (virtiofs). */
int boot_mount_shares(struct error *err);
/* Mounts a pod's shared memory, so many bytes at most. */
int boot_mount_shm(uint64_t size, struct error *err);
/* Sets CLOCK_REALTIME to the host's if the guest's is noticeably off. */
int boot_set_clock(int64_t seconds, uint32_t nanoseconds, struct error *err);
/* Syncs, unmounts the writable layer, ends the machine. The workload must be dead. */
void boot_power_off(const struct workload *workload) __attribute__((noreturn));

extern const char BOOT_UPPER[], BOOT_WORK[]; /* directories of the writable layer */

/* network.c: the network of a workload that is joined to one on the host. */

/* Sets up what a WIRE_NETWORK frame describes. Returns 0, or -1 with *err. */
int guest_network_set_up(struct guest *guest, const uint8_t *data, size_t length,
                         struct error *err);
/* Takes questions for the name server of a WIRE_NAMES frame. Returns 0, or -1 with *err. */
int guest_network_take_names(struct guest *guest, const struct wire_names *request,
                             struct error *err);
/*
 * Makes the plan, which joins a namespace by its path on the host, one that stays in ours. Returns
 * 0, or -1 with *err: the host did not describe it.
 */
int guest_network_adopt(struct guest *guest, struct error *err);
/*
 * Whether what the workload's processes wrote into TCP connections before they ended is still on
 * its way. On the host such bytes outlive the process; here they would die with the machine.
 */
bool guest_network_is_busy(const struct guest *guest);

/* workload.c: from a document to a process that waits for its command. */

/* Makes the workload of a CONFIG frame; its process is PROCESS_PREPARED then. */
int workload_prepare(struct guest *guest, const struct wire_config *config, const char *document,
                     size_t length, struct error *err);
/* Makes and starts an exec session. */
int workload_exec(struct guest *guest, uint32_t number, const struct wire_process *wire,
                  const char *document, size_t length, struct error *err);
/* Sends a signal to every process of the workload. */
void workload_signal_all(const struct workload *workload, int signal);
/* Kills every process of the workload and waits until they are gone, for some seconds at most. */
void workload_end(struct workload *workload);

/* The name of the cgroup of a container, or of the workload of a machine of its own (number 0). */
void workload_name_cgroup(uint32_t number, char name[static CGROUP_NAME]);

/* pod.c: a pod's PID 1. */

/* Makes the machine a pod's. Returns 0, or -1 with *err. */
int pod_prepare(struct guest *guest, const struct wire_pod *request, struct error *err);
/* Starts the init of a container. Returns 0, or -1 with *err: there is no such container. */
int pod_start_container(struct guest *guest, const struct wire_container *request,
                        struct error *err);
/* Drops what the kernel remembers of shares that the host has taken away. */
void pod_forget(const struct wire_forget *request);
/* A child has ended: if it was a container's init, cleans up after one that could not; if it was
 * process 1 of the containers that share theirs, these have ended with it. */
void pod_note_end(struct guest *guest, pid_t pid, int status);
/* Kills all that runs and waits until it is gone, for some seconds at most. */
void pod_end(struct guest *guest);

/* pids.c: pid namespaces that containers of a pod share. */

/*
 * In PID 1: opens the pid namespace of WIRE_PODS_PROCESSES, whose process 1 is made if there is
 * none, or of a container. Returns it, or -1 with *err.
 */
int pids_open(struct guest *guest, uint32_t whose, struct error *err);
/* In a container's init: tells PID 1 of the pid namespace of a process. Returns 0, or -1 with *err.
 */
int pids_announce(struct guest *guest, pid_t pid, struct error *err);
/* In a container's init: makes the plan, if it joins a pid namespace, one that joins the given one.
 * Returns 0, or -1 with *err: host and document disagree. */
int pids_adopt(struct guest *guest, struct error *err);

/* container.c: the init of one container of a pod. */

struct container_ends {
    int control_fd; /* its connection */
    int news_fd;    /* to PID 1: see struct pod_member */
    int pids_fd;    /* the pid namespace that it joins; -1: it makes one */
};

/* What a child of a pod's PID 1 does; takes the descriptors over. */
void container_serve(struct guest *guest, const struct container_ends *ends, uint32_t number)
    __attribute__((noreturn));
/*
 * What CONFIG asks of a container's surroundings: checks that the pod has it, and makes the plan,
 * which joins ipc and uts namespaces by paths on the host, one that stays in ours, and the pid
 * namespace that which was given. Returns 0, or -1 with *err.
 */
int container_adopt(struct guest *guest, const struct wire_config *config, struct error *err);
/* Freezes or thaws its processes, and waits for that. Returns 0, or -1 with *err. */
int container_freeze(struct workload *workload, bool frozen, struct error *err);
/* Changes the limits of its cgroup. document: linux.resources. Returns 0, or -1 with *err. */
int container_update(struct workload *workload, const char *document, struct error *err);

/* connect.c */

/* Connects to a port of the host. Returns the socket, or -1 with *err. */
int stream_connect(uint32_t port, struct error *err);

/* stream.c: connections to the host, joined to a process's standard streams. */

struct stream_set {
    int stdio[WIRE_STREAMS]; /* the child's ends; -1 with a terminal */
    int terminal_socket;     /* with a terminal, until it exists; else -1 */
};

/* Makes the pipes and connections of a process that is about to be spawned. */
int stream_open(struct process *process, const struct wire_process *request,
                struct stream_set *streams, struct error *err);
/* Closes the child's ends and whatever was not handed over. */
void stream_set_close(struct stream_set *streams);
/* Joins the terminal to its connection, when the sandbox has made it. */
int stream_join_terminal(struct process *process, struct stream_set *streams, struct error *err);

/* process.c: the table of processes. */

struct process *process_find(struct workload *workload, uint32_t number);
struct process *process_allocate(struct workload *workload, uint32_t number, struct error *err);
/* Kills the child if there is one, closes all; the slot is free again. */
void process_release(struct process *process);
/* Reaps everything that ended; children of the workload's orphans as well. */
void process_reap(struct guest *guest);
/* Waits until there is no child left, for some seconds at most: they have been killed. */
void process_await_all(void);
/* Sends WIRE_EXITED for processes that ended and whose streams are drained. Returns milliseconds
 * until it should be called again, -1: no need. */
int process_report(struct guest *guest);

/* serve.c: the loop. */

/* Blocks SIGCHLD and opens a descriptor that tells of it. Returns 0, or -1 with *err. */
int serve_open_signals(struct guest *guest, struct error *err);
/* Does what the host says on guest->control_fd, from READY on. Returns 0 once nothing more is to be
 * served, or -1 with *err: the host is gone or broke the rules. */
int serve(struct guest *guest, struct error *err);

/* control.c: frames from and to the host. */

/* Reads and carries out what has arrived. Returns 0, or -1 with *err: the machine must end. */
int control_handle(struct guest *guest, struct error *err);
/* Returns 0, or -1 with *err. */
int control_send(struct guest *guest, uint32_t type, uint32_t process, const void *fixed,
                 size_t length, struct error *err);

#endif
