/*
 * Control groups of one workload, on whatever the host has: cgroup v2, v1 controllers mounted one
 * by one below /sys/fs/cgroup, or v1 with v2 beside them in /sys/fs/cgroup/unified. Used by both
 * back ends, and by hybrid-init for the workload in the guest.
 *
 * A cgroup is known by its name, a path below each hierarchy ("hybrid-1f2e3d4c5b6a"); the name is
 * all that another process needs to find and remove it. Specification: OCI runtime-spec 1.2,
 * config-linux, "Control groups".
 */
#ifndef HYBRID_CGROUP_H
#define HYBRID_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "plan.h"

/* What to do about a cgroup that has processes, and so hands controllers on to none below it. */
#define CGROUP_CROWD_REMEDY                                                                        \
    "move them into another one below that (in a container: mkdir "                                \
    "/sys/fs/cgroup/init; echo 0 >/sys/fs/cgroup/init/cgroup.procs)"

struct cgroup;
struct cgroup_scope; /* scope.h */

struct cgroup_stats {
    uint64_t memory_bytes;     /* in use, page cache included */
    uint64_t pids;             /* tasks */
    uint64_t cpu_microseconds; /* user and system time since the creation */
};

/*
 * Makes the cgroup, for one container: where processes are in it already, in whichever hierarchy of
 * the host, or another container's is being made or held open under that name, it is refused, and
 * what is there stays as it is. owner: what cgroup_belongs_to is to know it by; NULL: nobody asks.
 * It is made in every hierarchy that is needed and applies the limits. Fields of `resources` that
 * are -1 or NULL set nothing; a limit whose controller this host lacks is an error that names it.
 * Parents in `name` are made as needed. Returns the cgroup, or NULL with *err: then nothing is left
 * behind, and no process was ended.
 */
struct cgroup *cgroup_create(const char *name, const char *owner,
                             const struct plan_resources *resources, struct error *err);

/*
 * The same, of a scope that systemd makes, which must not exist. Until the workload is in it a
 * process of ours is: then call cgroup_settle. What changes or removes the cgroup tells systemd.
 */
struct cgroup *cgroup_create_in_scope(const struct cgroup_scope *scope, const char *owner,
                                      const struct plan_resources *resources, struct error *err);

/*
 * Lets go of what held a scope for the workload. Nothing happens if it has been, or is no scope.
 * Returns 0, or -1 with *err.
 */
int cgroup_settle(struct cgroup *cgroup, struct error *err);

/* Opens a cgroup that exists. Returns NULL with *err if it does not. */
struct cgroup *cgroup_open(const char *name, struct error *err);

/*
 * Applies limits to an existing cgroup. Its processes move into the hierarchies of controllers that
 * no limit named before. Returns 0, or -1 with *err.
 */
int cgroup_set_resources(struct cgroup *cgroup, const struct plan_resources *resources,
                         struct error *err);

/*
 * Whether `below`, a cgroup in that of this name, can be joined in its place: it is there wherever
 * that is. Returns 0, or -1 with *err.
 */
int cgroup_check_below(const char *name, const char *below, struct error *err);

/* A copy of the name belongs to the cgroup. */
const char *cgroup_name(const struct cgroup *cgroup);

/* The cgroup v2 directory, for CLONE_INTO_CGROUP; -1 where there is no v2. The cgroup's. */
int cgroup_birth_fd(const struct cgroup *cgroup);

/*
 * Where on v2 a further process of a workload is born whose cgroup has handed controllers to those
 * below it (cgroup.subtree_control), and so may take none itself: the one that `pid`, a process of
 * the workload, is in. Returns a directory as cgroup_birth_fd's, which the caller closes, or -1: it
 * is born in the cgroup itself. That nested one may be the workload's making: only one that lies in
 * this cgroup is returned.
 */
int cgroup_open_nested(const struct cgroup *cgroup, pid_t pid);

/*
 * The `tasks` files of the v1 hierarchies. A process with one thread that writes "0" to each moves
 * itself at once; moving another process takes a system-wide lock and several milliseconds.
 * *hierarchies: which they are, as options of a v1 mount ("memory", "cpu,cpuacct", "name=systemd").
 * Both belong to the cgroup. Returns their number.
 */
size_t cgroup_task_fds(const struct cgroup *cgroup, const int **fds,
                       const char *const **hierarchies);

/* Moves a process into the cgroup, in every hierarchy: slow. Returns 0, or -1 with *err. */
int cgroup_add_process(struct cgroup *cgroup, pid_t pid, struct error *err);

/* Sends SIGKILL to every process in it, also while they fork. Does not wait. */
void cgroup_kill(struct cgroup *cgroup);

/* Sends a signal to every process that is in it or below it at the moment. */
void cgroup_signal(const struct cgroup *cgroup, int signal);

/* The processes in it and below it, ascending; *pids is malloc'd. Returns 0, or -1 with *err. */
int cgroup_list_processes(const struct cgroup *cgroup, pid_t **pids, size_t *count,
                          struct error *err);

/* Stops all its processes where they are, or lets them go on, and waits for that. 0, or -1 with
 * *err. */
int cgroup_freeze(struct cgroup *cgroup, bool frozen, struct error *err);

/* How many processes the out-of-memory killer has ended in it. */
uint64_t cgroup_oom_kills(const struct cgroup *cgroup);

/* A number in a control file: where it is on v1 and on v2. */
struct cgroup_file {
    const char *controller;
    const char *v1_file, *v1_key; /* key NULL: the file holds one number, or "max" */
    const char *v2_file, *v2_key;
    uint64_t v2_factor; /* v2's unit in v1's */
};

/* Reads it ("max": UINT64_MAX). Returns false if this host does not have it. */
bool cgroup_read_number(const struct cgroup *cgroup, const struct cgroup_file *file,
                        uint64_t *number);

/* Returns 0, or -1 with *err. A counter whose controller is absent reads 0. */
int cgroup_read_stats(const struct cgroup *cgroup, struct cgroup_stats *stats, struct error *err);

/* Closes the descriptors and frees; the cgroup stays. NULL is allowed. */
void cgroup_close(struct cgroup *cgroup);

/*
 * Kills what is left in the cgroup of that name and removes it with its children, waiting for the
 * killed to be gone (at most about ten seconds). A cgroup that does not exist is no error, nor is
 * one that has been made for another owner meanwhile: that stays. Returns 0, or -1 with *err.
 */
int cgroup_remove(const char *name, struct error *err);

/*
 * Whether the cgroup of that name was last made for this owner. A container that has stopped leaves
 * its cgroup to whoever asks for the same one; one that was refused never had it.
 */
bool cgroup_belongs_to(const char *name, const char *owner);

/*
 * Looks through all cgroups for one that was last made for this owner: there may be several, a
 * sandbox's and that of its pod's machine, and which is found first is not said; nothing below it
 * is looked at. 1: name is it, 0: there is none, and name is "", -1: *err.
 */
int cgroup_find(const char *owner, char name[PATH_MAX], struct error *err);

/*
 * open(2) of a device that hybrid itself needs, such as /dev/kvm, O_CLOEXEC. Where the rules of our
 * cgroup deny it (EPERM), it is opened from the root of the hierarchy, for which there must be the
 * right to move a process there. Returns the descriptor, or -1 with errno, that of the first try.
 *
 * Why that is no way around an administrator's rules: it is done with the caller's own rights
 * (hybrid is not set-uid), and who may write to cgroup.procs of the root is root on this host, and
 * can leave his cgroup whatever is done here. In a container the root is that container's own
 * cgroup, if there is a cgroup file system at all: the same rules deny the device a second time.
 * Rules of a cgroup are about what the workload reaches; a VM's, whose kernel is its own, reaches
 * nothing by a descriptor that only hybrid-vmm holds. Whether VMs may be run is the policy's
 * question. So this is for paths that are written in hybrid, never for one that a configuration
 * names: those are devices for the workload. The exception is /dev/null, which a workload without
 * input, of a container too, has as its descriptor 0: it leads nowhere, and the rules that hybrid
 * sets for a workload always allow it (config-linux.md, "Default Devices").
 *
 * A loop device, too, is not the workload's: the kernel chooses a free one, it is made of a layer
 * of the store, for reading only, and both descriptors are closed before anything of the image
 * runs. What the workload has is files of a file system, as from kernel 6.12 on, where no device is
 * asked for: a node of the device that it made would be denied it by the rules as before.
 */
int cgroup_open_device(const char *path, int flags);

/*
 * mount(2) of such a device, which opens it, and so asks the rules again. The same: for devices
 * that hybrid has chosen. Returns 0, or -1 with errno.
 */
int cgroup_mount_device(const char *device, const char *target, const char *type,
                        unsigned long flags);

/*
 * Whether we are root of a user namespace only, as a rootless engine's runtime is: in the first one
 * every id is itself. Such a root can neither mark a cgroup nor ask the machine's systemd for one;
 * both ways to make one are refused then.
 */
bool cgroup_root_is_mapped(void);

/* Refuses that root, before whatever fails first: without cgroups nothing would limit, find or end
 * the workload. Returns 0, or -1 with *err. */
int cgroup_check_root(struct error *err);

#endif
