/*
 * hybrid-init, PID 1 of the guest: everything it knows. One thread, one loop; the control
 * connection says what to do, and everything that takes time happens in children.
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

/* What runs. */
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
};

/* The process that serves it. */
struct guest {
    int control_fd, signal_fd;
    struct wire_reader reader;
    bool done; /* nothing more is to be served */
    struct names names;
    bool networked; /* WIRE_NETWORK came: what runs lives in our own network namespace */
    struct workload workload;
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
