/*
 * What the child knows while it applies its plan, and the functions that apply one kind of step
 * each. Everything here runs in the child, between clone3 and execve, with its own copy of the
 * caller's memory.
 */
#ifndef HYBRID_SANDBOX_CONTEXT_H
#define HYBRID_SANDBOX_CONTEXT_H

#include <sys/resource.h>

#include "cleanup.h"
#include "sandbox.h"

/* What travels on the socket between the caller and the child; one message a packet. */
enum sandbox_message_type {
    /* caller -> child */
    SANDBOX_ROOT = 1, /* a detached mount comes along: the root, made outside the user namespace */
    SANDBOX_GIVEN,    /* what the child asked for comes along */
    SANDBOX_SET_UP,   /* apply the plan */
    SANDBOX_EXECUTE,  /* execute the command; success is the end of the socket (close-on-exec) */
    SANDBOX_RELEASE,  /* wait for a connection to the start_listener, and for SANDBOX_EXECUTE there
                       */
    /* child -> caller */
    SANDBOX_SOURCE,    /* the source of a bind, `step`, lies where a user namespace's root may not
                        * go: GIVEN is an O_PATH descriptor of it */
    SANDBOX_MAP,       /* a detached clone of that source comes along: GIVEN is it, its ids mapped
                        */
    SANDBOX_MOUNTED,   /* PLAN_HOOKS is reached */
    SANDBOX_LISTENING, /* the filter asks an agent: a page of shared memory comes along, in which
                        * the listener's number will be (listener.c) */
    SANDBOX_READY,     /* the plan is applied; the terminal's master comes along if there is one */
    SANDBOX_FAILED,    /* exit_code and text; the child ends */
    SANDBOX_NODE,      /* the device `step`: GIVEN is a detached mount that has it (node.c), or none
                        * if the host's is to be bound */
    SANDBOX_PEER,      /* as SANDBOX_SOURCE, before its turn: GIVEN has none if there is none yet */
};

/* In place of a step: the root file system. */
#define SANDBOX_STEP_ROOT UINT32_MAX

struct sandbox_message {
    uint32_t type; /* enum sandbox_message_type */
    uint32_t step; /* of the plan's; SANDBOX_SOURCE, which may be of the root, _MAP and _NODE */
    struct error error;
};

/* Who the command will be: PLAN_USER resolves it, PLAN_CAPABILITIES becomes it. */
struct identity {
    bool known;
    bool named; /* found by name in the image: the plan's maker did not know the uid */
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* malloc'd */
    size_t group_count;
    char *home; /* malloc'd; NULL: none found */
};

enum { CONFINEMENTS = 2 }; /* kinds of them, as in label.c */

struct sandbox {
    const struct sandbox_request *request;
    const struct plan *plan;
    const struct namespaces_joined *joined;
    int sync_fd;
    int given_fd;        /* from SANDBOX_GIVEN; -1 */
    int given_root_fd;   /* from SANDBOX_ROOT; -1: make it here */
    int root_fd;         /* O_PATH: the workload's /, whether entered already or not */
    int workshop_fd;     /* a tmpfs that only this process sees, gone with the old root */
    int proc_fd, sys_fd; /* roots of our own procfs and sysfs */
    int proc_sys_fd;     /* "sys" of our own procfs, from before it was made read-only */
    int oom_score_fd;    /* of this process, from before it left the host's ids; or -1 */
    int confinement_fds[CONFINEMENTS]; /* likewise, of its next confinements; -1: none */
    const char *mount_label;    /* of its own file systems; NULL: none, or there is no SELinux */
    int null_fd, empty_fd;      /* what hides files and directories */
    bool null_used, empty_used; /* attached already: further masks are clones */
    int *readonly_fds;          /* mounts that are made read-only when all is in them; malloc'd */
    size_t readonly_count;
    struct peer *peers;         /* by the number of the step, propagation.c; malloc'd or NULL */
    unsigned int *host_groups;  /* if one of them is shared: the host's; ends with 0; malloc'd */
    int terminal_fd;            /* master; -1: none (yet) */
    int terminal_peer_fd;       /* its slave */
    int parent_fd;              /* of the device or link made last, */
    char parent[256];           /* and its path: the next is probably beside it */
    unsigned int file_count;    /* contents made in the workshop so far */
    bool user_namespace;        /* it has one of its own */
    uint64_t held_capabilities; /* that the caller had when the child was born */
    struct identity identity;
    struct rlimit descriptors; /* RLIMIT_NOFILE of the command, */
    bool descriptors_limited;  /* if it is to have one that is not set yet */
    bool terminal_taken;
};

typedef int sandbox_step(struct sandbox *sandbox, const struct plan_step *step, struct error *err);

/* root.c */
int root_prepare(struct sandbox *sandbox, struct error *err);
int root_make_outside(const struct sandbox_request *request, int user_namespace_fd,
                      struct error *err);
sandbox_step root_enter, root_make_readonly;

/* mount.c, cgroupfs.c */
sandbox_step mount_apply;
int mounts_make_readonly(struct sandbox *sandbox, struct error *err); /* when the root is entered */
int mount_make(const char *type, const char *source, const char *data, unsigned long flags,
               const char *label, struct error *err);
uint64_t mount_attributes(unsigned long flags);
/* A detached clone of the source of the bind that is step `number`, or -1 with errno. question:
 * SANDBOX_SOURCE, or SANDBOX_PEER before its turn. */
int mount_clone_source(struct sandbox *sandbox, uint32_t number, uint32_t question);
int mount_set_attributes(int fd, uint64_t set, uint64_t clear, bool recursive);
int cgroupfs_mount(struct sandbox *sandbox, const struct plan_mount *mount, struct error *err);

/* idmap.c: in the caller, maps the ids of a detached clone of the mount's source. pid: whose user
 * namespace the container's is. Returns 0, or -1 with *err. */
int idmap_set(const struct plan_mount *mount, int tree, pid_t pid, struct error *err);

/* propagation.c: before the mounts leave their peer groups, clones the sources of the binds that do
 * not. Returns 0, or -1 with *err. */
int propagation_prepare(struct sandbox *sandbox, struct error *err);
/* Puts that clone in the place of one that was made at its turn, if its source is on the same mount
 * yet; errno stays. */
void propagation_keep(struct sandbox *sandbox, uint32_t number, int *tree_fd);
/* Refuses a step that would mount something on the host, through a bind that is shared with it.
 * Returns 0, or -1 with *err. */
int propagation_check(struct sandbox *sandbox, const struct plan_step *step, struct error *err);

/* copy.c: fills a new, still detached mount with the directory it will cover. -1 with errno. */
int directory_copy_up(int target_fd, int mount_fd);

/* device.c, file.c, mask.c */
sandbox_step device_make, symlink_make, file_make, mask_path, path_make_readonly;

/*
 * node.c, in the caller: a detached mount with the device, for the process's user namespace.
 * Returns 0, with *mount_fd -1 if the host's is to be bound; or -1 with *err.
 */
int node_make(const struct plan *plan, const struct plan_device *device, pid_t pid, int *mount_fd,
              struct error *err);
/* node.c, in the child: a detached mount of the device alone, the child's, in *node_fd; -1: the
 * host's is to be bound. Returns 0, or -1 with *err. */
int node_take(struct sandbox *sandbox, const struct plan_step *step, int *node_fd,
              struct error *err);

/* mask.c: streams that are the null device become the workload's own /dev/null, if it has one:
 * programs that ask for their name find it. */
void null_settle(const struct sandbox *sandbox);

/* label.c. The host's files are opened before its /proc is out of sight; the workload's might be
 * anything. */
sandbox_step label_set;
int label_open(struct sandbox *sandbox, struct error *err);
/* linux.mountLabel; NULL: none, or there is no SELinux. */
const char *label_in_use(const struct plan *plan);
/* The label that a new file system of this type is given when it is made; NULL: none. */
const char *label_option(const struct sandbox *sandbox, const char *type);
/* Gives it to one that is not given it then. Returns 0, or -1 with *err. */
int label_mount(const struct sandbox *sandbox, const char *type, int mount_fd, struct error *err);

/* proc.c, names.c */
sandbox_step oom_score_set, sysctl_set;
int oom_score_open(struct sandbox *sandbox, struct error *err);
sandbox_step hostname_set, domainname_set, loopback_up;
int mask_prepare(struct sandbox *sandbox, struct error *err);
int proc_open(struct sandbox *sandbox, struct error *err);
int proc_adopt(struct sandbox *sandbox, int mount_fd, struct error *err);

/* ids.c, caps.c, limits.c, scheduler.c */
sandbox_step user_resolve, capabilities_set, no_new_privs_set;
int identity_assume(struct sandbox *sandbox, struct error *err);
int identity_enter_user_namespace(const struct sandbox *sandbox, struct error *err);
/* Whenever its ids change, and when it joins a user namespace, the kernel forgets a process's death
 * signal and, with fs.suid_dumpable = 1, allows that it is traced: anew. 0, or -1 with *err. */
int identity_protect(int death_signal, struct error *err);
uint64_t capabilities_held(void);
sandbox_step rlimit_set, umask_set, cwd_make, cwd_enter;
/* Sets what rlimit_set left for the end. After it hardly anything can be opened. */
int descriptors_limit(struct sandbox *sandbox, struct error *err);
sandbox_step personality_set, scheduler_set, io_priority_set;

/* tty.c, seccomp.c, exec.c, pause.c, init.c */
bool filter_listens(const struct plan *plan); /* whether it leaves decisions to an agent */
sandbox_step console_make, filter_load, command_execute, namespaces_hold;
int terminal_make(struct sandbox *sandbox, struct error *err);
int terminal_take(struct sandbox *sandbox, struct error *err);
void init_conceal(struct sandbox *sandbox);
int init_start(struct sandbox *sandbox, struct error *err);

/*
 * listener.c, in the child: memory shared with the caller, which is told of it; then, when the
 * filter is loaded, the listener's number. The caller takes the listener before the second returns.
 */
struct listener_page;
struct listener_page *listener_announce(struct sandbox *sandbox, struct error *err);
void listener_offer(struct listener_page *page, int listener);

/* listener.c, in the caller: takes what was announced and passes it on, and sets the limit that
 * rlimit_set left for the end. Returns 0, also if the
 * child has failed, which it will say; or -1 with *err. */
int listener_accept(const struct sandbox_child *child, int page_fd, struct error *err);

/*
 * birth.c, in the caller: the child, on the processors that the plan says, and its pidfd. Returns
 * its pid; 0 in it; or -1 with *err and none.
 */
int birth_on_processors(const struct sandbox_request *request,
                        const struct namespaces_joined *joined, int *pidfd, struct error *err);

/* affinity.c: in the caller, around the birth of the child: 1 where `before` is to be restored, 0,
 * or -1 with *err; and in the child, when it is in its cgroups. */
int affinity_begin(const struct sandbox_request *request, struct plan_processors *before,
                   struct error *err);
int affinity_end(const struct plan_processors *before, struct error *err);
int affinity_settle(const struct sandbox_request *request, struct error *err);

/* hook.c */
sandbox_step hook_apply;

/* exec.c: the plan's environment, and HOME where it has none; the caller frees the array and *home.
 * NULL: out of memory. */
const char **exec_environment(const struct sandbox *sandbox, const struct plan_exec *exec,
                              char **home);

/* Whether the command could be executed as things are. 0, or -1 with *err. */
int command_check(struct sandbox *sandbox, struct error *err);

/* child.c */
sandbox_step hooks_await;
void child_await(struct sandbox *sandbox, uint32_t wanted);
int child_send(int sync_fd, uint32_t type, const struct error *error, const int *fd);
/* Asks the caller for something, with a descriptor that stays the child's, or NULL. *given_fd is
 * what was given; -1: nothing, which not every question allows. Returns 0, or -1 with errno; if the
 * caller cannot answer, the child does not come back. */
int child_ask(struct sandbox *sandbox, uint32_t type, uint32_t step, const int *fd, int *given_fd);
void child_run(const struct sandbox_request *request, const struct namespaces_joined *joined,
               int sync_fd) __attribute__((noreturn));

/* Where programs are, for one that is not told. Nothing in it is relative. */
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Sets *err for a failure of hybrid's own, with errno's text. */
#define sandbox_fail(err, ...) error_set_errno(err, EXIT_OURS, errno, __VA_ARGS__)

#endif
