/* What the parts of the VM back end know of a running VM. */
#ifndef HYBRID_VM_PARTS_H
#define HYBRID_VM_PARTS_H

#include "console.h"
#include "names.h"
#include "shares.h"
#include "spawn.h"
#include "vm.h"

#include "include/machine.h"
#include "include/wire.h"
#include "include/wire_io.h"
#include "runtime/network/network.h"

/* How far the machine has come; an error names it. */
enum vm_stage {
    VM_SPAWNED,  /* hybrid-vmm was executed */
    VM_RUNNING,  /* jailed; the guest kernel was entered */
    VM_SPEAKING, /* the guest kernel has written to its console */
    VM_READY,    /* hybrid-init awaits its orders */
    VM_PREPARED, /* the workload is set up */
    VM_STARTED,  /* its command was executed */
    VM_EXITED,   /* its command has ended */
    VM_STAGES,
};

/* What a control connection is about. */
enum vm_kind {
    VM_SOLO,      /* a machine and the one workload in it */
    VM_POD,       /* a machine that is a pod's, in its keeper */
    VM_CONTAINER, /* a workload in a machine that a keeper has */
};

struct vm_session { /* an exec session */
    bool used, started;
    bool ended; /* and nobody has been told: status and error are valid */
    uint32_t number;
    uint32_t ports[WIRE_STREAMS]; /* offered to the guest; 0: none */
    int status;
    struct error *error; /* NULL: it ran */
};

typedef void vm_refused(void *context, uint32_t number, const struct error *error);
typedef void vm_exec_ended(void *context, uint32_t number, int status, const struct error *error);

/* Where a monitor that stands in for its workload is at home, and where it is seen. -1: nowhere. */
struct stand_in {
    int host_mounts, host_root, own_mounts, own_root;
};

/* A machine: hybrid-vmm, and what it has of the host. */
struct vm_machine {
    struct spawned monitor;     /* hybrid-vmm */
    int threads_fd;             /* its threads as proc(5) has them; -1: unknown */
    int64_t kept_before;        /* VM_CONTAINER: machine_kept_waiting when it came */
    struct share_server server; /* where there are shares */
    struct name_helper names;   /* where the network has a name server of its own */
    int control_fd;             /* to hybrid-vmm; -1: it is gone */
    struct console console;
    struct network network; /* with netlink_fd -1: the machine has none */
    int landlock;           /* that confines hybrid-vmm: its version; 0: none */
    bool ended;             /* ENDED arrived: end and text are valid */
    uint32_t end;           /* enum machine_end; not of a VM_CONTAINER: see keepers_word */
    char text[1024];
    char warning[256]; /* the first that hybrid-vmm gave; "": none */
};

/* What runs in a machine, as told to hybrid-init over one control connection. */
struct workload {
    char *id;
    enum vm_kind kind;
    struct vm_machine machine; /* VM_CONTAINER: only control_fd, for offers, the threads, and how it
                                  ended */
    int keeper_fd;             /* VM_CONTAINER: to the keeper of its machine; -1: it is gone */
    struct error keepers_word; /* VM_CONTAINER: with machine.ended: why; the status it has then */
    uint32_t first_share;      /* VM_CONTAINER: as the keeper says */
    vm_refused *refused;       /* VM_POD: the guest cannot have a container; with refused_context */
    void *refused_context;
    size_t refusable; /* VM_POD: containers that were asked for, less those that were refused */
    size_t requests;  /* FREEZE and UPDATE that the guest has not answered */
    struct error request_error; /* of the last that it has; no message: it was carried out */
    struct cgroup *cgroup;      /* of the machine, and of who stands in for the workload */
    char *cgroup_name;
    char *guest_config;           /* the configuration as the guest gets it */
    uint32_t ports[WIRE_STREAMS]; /* of its own streams, offered to the guest; 0: none */
    int wire_fd;                  /* to hybrid-init; -1: it is gone */
    struct wire_reader reader;    /* of wire_fd */
    enum vm_stage stage;
    const struct workload_watch *watch; /* until the command is started; NULL: nobody */
    int kill_timer; /* timerfd: by then a killed guest has said so; -1: not killed */
    bool keep_writable;
    bool told_to_end;
    bool cut_off; /* it did not end when it was told to */
    /* We are in its cgroup, which is somebody else's to remove, and in its network namespace. */
    bool held;
    struct stand_in stand_in;
    bool command_failed; /* the guest said why it could not prepare or execute the command */
    struct error command_error;
    struct workload_exit exit; /* valid from VM_EXITED on, or with exit.failed */
    struct vm_session sessions[WIRE_MAX_PROCESSES];
    vm_exec_ended *exec_ended; /* during dispatch; else NULL */
    void *exec_context;
};

/* machine.c */

/* One of which there is nothing yet. */
void machine_init(struct vm_machine *machine);

/* Opens what machine_kept_waiting reads: by the host's /proc, before the workload's root directory
 * is ours. */
void machine_open_threads(struct vm_machine *machine);
void machine_close_threads(struct vm_machine *machine);

/*
 * For how many milliseconds, since it was started, the thread of hybrid-vmm that was kept waiting
 * longest could have run and had no processor of the host. 0: that cannot be told.
 */
int64_t machine_kept_waiting(const struct vm_machine *machine);

/* Ends hybrid-vmm without waiting for it. */
void machine_kill(const struct vm_machine *machine);

/* Ends all of its processes, and lets go of what it had. */
void machine_end(struct vm_machine *machine);

/* link.c: messages from and to hybrid-vmm and hybrid-init. */

/*
 * Reads what has arrived from the console, from hybrid-vmm, and at most one frame of the guest.
 * What it means is written into the workload; a machine that is lost makes exit.failed.
 * Returns whether there was a frame.
 */
bool link_pump(struct workload *vm);

/* Notes that the stage was reached. */
void link_reach(struct workload *vm, enum vm_stage stage);

/* A VM whose shares are not served any more, or whose questions for names, fails; one that has
 * ended already does not. */
void link_check_helpers(struct workload *vm);

/* Reads the messages of hybrid-vmm that are there. */
void link_drain_control(struct workload *vm);

/*
 * Waits until the stage is reached, the command or the machine failed, or nobody wants it any more.
 * The machine fails when there was no frame for so many milliseconds, and as many more as it could
 * have run since it was started, or the container came, and the host had no processor for it, but
 * at most thrice as many in all. Returns 0, or -1 with *err.
 */
int link_wait_for(struct workload *vm, enum vm_stage stage, int milliseconds, struct error *err);

/* Waits until hybrid-vmm says that the machine has ended, or is gone. Returns whether it has. */
bool link_wait_for_end(struct workload *vm, int milliseconds);

/* Tells a guest whose writable layer is kept to write it out and to end, once, and waits for that:
 * cut_off says that it was in vain. */
void link_shut_down(struct workload *vm, int milliseconds);

/* Sends a frame to hybrid-init. Returns 0, or -1 with *err. */
int link_send(struct workload *vm, uint32_t type, uint32_t process, const void *fixed,
              size_t fixed_length, const void *text, size_t text_length, struct error *err);

/*
 * Offers descriptors to the guest under a port (MACHINE_OFFER); closes them in any case.
 * Returns 0, or -1 with *err.
 */
int link_offer(const struct workload *vm, uint32_t port, uint32_t flags, int fd, struct error *err);

/*
 * Offers the streams of a process and writes their ports into *request. stdio is taken over; with
 * `terminal`, *terminal_fd becomes our end instead. Returns 0, or -1 with *err.
 */
int link_offer_streams(const struct workload *vm, const int stdio[WIRE_STREAMS], bool terminal,
                       int *terminal_fd, struct wire_process *request, struct error *err);

/* Offers the connection to the VM's hybrid-names, and writes its port into *port. 0, or -1 with
 * *err. */
int link_offer_names(struct workload *vm, uint32_t *port, struct error *err);

/* Makes a connection into the guest: offers one end under a random port. Returns ours, or -1 with
 * *err. */
int link_offer_connection(const struct workload *vm, uint32_t *port, struct error *err);

/* Sends a FREEZE or UPDATE of a container in a pod, and waits for its answer. 0, or -1 with *err.
 */
int link_request(struct workload *vm, uint32_t type, const void *payload, size_t length,
                 struct error *err);

/* Ends the machine, which is of no use any more, or has its keeper end it. */
void link_end_machine(struct workload *vm);

/* Where news of the machine come from: hybrid-vmm, or the keeper; -1: neither is there any more. */
int link_news_fd(const struct workload *vm);

/* Takes back an offer that the guest may not have taken up: its descriptor is closed then. */
void link_withdraw(const struct workload *vm, uint32_t port);

/*
 * Closes the streams of a process that has ended, or never began, whether the guest has taken them
 * up, or lets go of them, or not: nobody must wait for their end. What came of them is delivered.
 */
void link_close_streams(const struct workload *vm, const uint32_t ports[WIRE_STREAMS]);

/* frames.c */

/* Acts on the frame that was read (vm->reader). Returns whether it makes sense now. */
bool link_handle_frame(struct workload *vm);

struct vm_session *link_find_session(struct workload *vm, uint32_t number);

/* Tells of exec sessions that ended while nobody could be told. */
void link_tell_ended(struct workload *vm);

/* The text of somebody who may say anything as one for a terminal and for a document: as many whole
 * characters as there is room for. */
void link_copy_text(char *copy, size_t size, const char *text, size_t length);

/* boot.c */

/*
 * Starts hybrid-vmm for the workload and waits until hybrid-init is ready. What was made is in *vm,
 * also on failure. Returns 0, or -1 with *err.
 */
int boot_machine(struct workload *vm, const struct workload_spec *spec, struct error *err);

/*
 * Makes the cgroup of a machine that is booted later, and refuses what can be refused now. Returns
 * 0, or -1 with *err.
 */
int boot_reserve(struct workload *vm, const struct workload_spec *spec, struct error *err);

/* reserve.c: a pod's shares are those of its containers, which come later; its processors are more
 * than those of a workload. */
int boot_list_shares(const struct workload *vm, const struct workload_spec *spec,
                     struct shares *shares, struct error *err);
bool boot_serves(const struct shares *shares);
int boot_count_cpus(const struct workload *vm, const struct plan_resources *resources,
                    struct error *err);
int boot_make_cgroup(struct workload *vm, const struct workload_spec *spec,
                     const struct shares *shares, struct error *err);

/* The configuration as the guest gets it. 0, or -1 with *err. */
int boot_keep_config(struct workload *vm, const struct workload_spec *spec,
                     const struct shares *shares, struct error *err);

/* vm.c */

/* A workload of which nothing runs yet, and its end. */
struct workload *vm_new(const struct workload_spec *spec, enum vm_kind kind, struct error *err);
void vm_release(struct workload *vm);

/* What the guest is to know of its network. 0, or -1 with *err. */
int vm_send_network(struct workload *vm, struct error *err);

/* claim.c: a container's part of what pod.h describes. */

/* Has the keeper of its pod take the workload in, and waits until its init in the guest is ready.
 * Returns 0, or -1 with *err. */
int claim_attach(struct workload *vm, const struct workload_spec *spec, struct error *err);

/* Reads a message of the keeper. Returns whether there was one. */
bool claim_read(struct workload *vm);

/* Lets go of the machine, and waits until the keeper has taken away what the workload had. */
void claim_detach(struct workload *vm);

/* stand_in.c: the caller becomes the process of a workload whose cgroup is there. 0, or -1 with
 * *err. */
int stand_in_begin(struct workload *vm, const struct workload_spec *spec, struct error *err);

/* Leaves the workload's root directory for the host's, and enters it again, for good. 0, or -1 with
 * *err. */
int stand_in_leave(struct workload *vm, struct error *err);
int stand_in_return(struct workload *vm, struct error *err);

void stand_in_close(struct stand_in *stand_in);

/* diagnosis.c: what to tell the user when a machine is lost. */

/* Why the machine has ended or is of no use: `what` first, then stage, console and remedy. */
void diagnose(struct workload *vm, const char *what, struct error *err);

/* The same for a machine that ended by itself; hybrid-vmm's own words say how. */
void diagnose_end(struct workload *vm, struct error *err);

#endif
