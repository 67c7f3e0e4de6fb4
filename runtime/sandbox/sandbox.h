/*
 * The one implementation of "set up a process as the plan says", linked into hybrid and into
 * hybrid-init: on the host's kernel or on the guest's.
 *
 *   sandbox_spawn     clone3 into the plan's namespaces; the child waits
 *     (caller: cgroup v1 membership; the id maps are written here)
 *   sandbox_mount     with PLAN_HOOKS only: the child applies the steps before it
     (caller: runs the hooks)
 *   sandbox_set_up    the child applies every step up to the command; the terminal arrives
 *   sandbox_execute   the child executes the command
 * Between the calls the caller may run hooks, record state, join the terminal.
 *
 * With a `start_listener`, another process than the caller has the command executed: the caller
 calls
 * sandbox_release and may end. Whoever connects to the socket then calls sandbox_execute.
 */
#ifndef HYBRID_SANDBOX_H
#define HYBRID_SANDBOX_H

#include "error.h"
#include "plan.h"

/* Where the root file system comes from: layers with a writable layer above, or a directory. */
struct sandbox_root {
    const char *const *layers; /* absolute paths of mounted layers, lowest first */
    size_t layer_count;        /* 0: plan->root_path is the root, or nothing at all */
    const char *upper, *work;  /* directories of the writable layer; NULL: no such directory */
    bool volatile_upper;       /* it need not survive a crash of the machine */
    bool upper_in_memory;      /* instead: a writable layer that ends with the workload */
};

struct sandbox_request {
    const struct plan *plan;
    const struct sandbox_root *root; /* NULL: exec into an existing workload */
    int stdio[3];                    /* the child's 0, 1, 2; ignored with plan->terminal */
    int cgroup_fd;       /* cgroup v2 directory to be born in (CLONE_INTO_CGROUP); -1: none */
    const int *task_fds; /* `tasks` files of cgroup v1 directories that the child joins by itself */
    const char *const *task_hierarchies; /* controllers of each: "memory", "name=systemd" */
    size_t task_fd_count;
    const char *cgroup_name;   /* below each hierarchy; NULL: none of its own */
    int join_pidfd;            /* exec: the process whose namespaces are joined; -1: none */
    int keep_fds;              /* descriptors 3..3+n-1 stay open for the command (--preserve-fds) */
    uint16_t rows, columns;    /* initial size of the terminal; 0: the plan's, or none */
    bool keep_keyring;         /* the caller's session keyring, instead of a new one */
    int death_signal;          /* for PR_SET_PDEATHSIG; 0: none */
    bool hold_for_good;        /* PLAN_PAUSE: SIGTERM and SIGINT do not end it */
    const int *start_listener; /* listening SOCK_SEQPACKET that tells when to execute; NULL: the
                                  caller tells */
    const char *hook_state; /* for hooks among the steps: a JSON object without its last brace, to
                               which status and pid are added; NULL: there are none */
};

struct sandbox_child {
    pid_t pid;
    int pidfd;   /* the caller's */
    int sync_fd; /* the caller's; closed by sandbox_execute */
    const struct plan *plan;
    int terminal_fd; /* pty master after sandbox_set_up with plan->terminal; else -1 */
    /*
     * Set by the caller before sandbox_execute where the filter asks an agent: is given the
     * listener, which stays the caller's, while the process waits. On failure it is not executed.
     */
    int (*pass_listener)(const void *context, int listener, struct error *err);
    const void *listener_context;
};

/*
 * Gives a new writable layer the owner, mode and time of the image's root directory, since
 * overlayfs shows the upper one's: of the topmost of the layers (lowest first) that says something
 * of it. With a user namespace, ids are shifted as the plan says. Returns 0, or -1 with *err.
 */
int sandbox_imitate_root(const char *upper, const char *const *layers, size_t count,
                         const struct plan *plan, struct error *err);

/* Starts the child, which waits for sandbox_set_up. Returns 0, or -1 with *err and no child left.
 */
int sandbox_spawn(const struct sandbox_request *request, struct sandbox_child *child,
                  struct error *err);

/* Lets the child apply the steps before PLAN_HOOKS. On failure the child has ended. */
int sandbox_mount(struct sandbox_child *child, struct error *err);

/* Lets the child apply the plan up to the last step before exec. On failure the child has ended. */
int sandbox_set_up(struct sandbox_child *child, struct error *err);

/* Lets the child execute the command. err->exit_code is 126 or 127 where the command is at fault.
 */
int sandbox_execute(struct sandbox_child *child, struct error *err);

/*
 * Lets go of a child with a start_listener: it waits for a connection, whatever becomes of the
 * caller. The descriptors are closed. Returns 0, or -1 with *err and the child ended.
 */
int sandbox_release(struct sandbox_child *child, struct error *err);

/*
 * A detached clone of the mount that a path of the host leads to; if a policy has judged where that
 * is (PLAN_RESOLVED_KEY, else NULL), of what is there without following a symbolic link. recursive:
 * with the mounts below. Returns -1 with errno.
 */
int sandbox_clone_tree(const char *path, const char *resolved, bool recursive);

/*
 * A descriptor of the host's null device, if it is one, becomes one of a mount that is read-only:
 * by the other, whoever is root where it goes could change the node for everybody (fchmod). Where
 * that cannot be had, it stays as it is: rules of a cgroup above deny all devices, or the caller is
 * in a user namespace that does not own its mounts and so cannot clone one (a child that was born
 * there without a mount namespace of its own; what the plan then gives it as /dev/null takes the
 * place before the command starts).
 */
void sandbox_guard_null(int fd);

/*
 * Runs one hook with `state` (JSON) on its standard input, and waits for it at most as long as it
 * may take. Returns 0, or -1 with *err: what it printed, if it failed.
 */
int hook_run(const struct plan_hook *hook, const char *state, struct error *err);

/* Ends the child if it still waits, reaps it and closes the descriptors. Safe on a zeroed struct
 * whose descriptors are -1. */
void sandbox_abandon(struct sandbox_child *child);

/*
 * Whether the plan's command could be executed by the caller, in its root directory as it is.
 * Returns 0, or -1 with *err and its exit_code 126 or 127.
 */
int sandbox_check_command(const struct plan *plan, struct error *err);

#endif
