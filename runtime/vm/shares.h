/*
 * What a VM's workload has of the host's files: the sources of its bind mounts, and the root
 * directory of a bundle. All of them are served to the guest by one virtiofsd, as the entries "0",
 * "1", ... of one file system (WIRE_SHARE_TAG), so that the guest's plan differs from a container's
 * in the sources of its mounts only.
 */
#ifndef HYBRID_VM_SHARES_H
#define HYBRID_VM_SHARES_H

#include "error.h"
#include "runtime/monitor/workload.h"
#include "spawn.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct share {
    const char *source;   /* on the host, as the configuration has it; borrowed */
    const char *resolved; /* where it led when a policy judged it; borrowed; NULL: none did */
    char *path;           /* absolute; owned */
    bool read_only;       /* enforced on the host, for everything below it too */
    bool recursive;       /* with the mounts below it */
};

struct shares {
    struct share *entries;
    size_t count;
    uint32_t first; /* the number that the first of them has in the guest; the others follow */
    bool later;     /* a pod's: the server is for those that are added while it runs */
};

/*
 * Lists what the plan needs. Refuses what a file system device cannot carry: sockets, pipes and
 * device nodes, mapped ids, propagation to the host. Returns 0, or -1 with *err naming the mount;
 * shares_free is safe in both cases.
 */
int shares_list(const struct workload_spec *spec, struct shares *shares, struct error *err);
void shares_free(struct shares *shares);

/*
 * The configuration as the guest gets it: as the workload's own, with sources (and a bundle's root)
 * in place of which the guest finds the shares. networked: the guest is given interfaces, which the
 * workload of a bundle is to have. New reference, or NULL with *err.
 */
json_t *shares_rewrite(const struct workload_spec *spec, const struct shares *shares,
                       bool networked, struct error *err);

/* The share as a detached mount, with its restrictions. The caller's; -1 with *err. */
int share_clone(const struct share *share, struct error *err);

/* The virtiofsd of a VM. */
struct share_server {
    struct spawned process; /* pid 0: none */
    int log_fd;             /* what it says; -1 */
};

/*
 * Starts the server for the shares, jailed, in the cgroup. *socket: connected to it, for
 * hybrid-vmm; the caller's. directory: a directory of the workload's own, which nobody else can
 * enter. Returns 0, or -1 with *err: no virtiofsd is installed, a source does not exist.
 */
int share_server_start(struct share_server *server, const struct shares *shares,
                       const char *directory, const struct cgroup *cgroup, int *socket,
                       struct error *err);

/*
 * Puts mounts of share_clone, which stay the caller's, before a server that was started for `later`
 * shares: entries first, first + 1 and so on, new ones. Returns 0, or -1 with *err; then, as at the
 * end, share_server_remove. Nothing of the server's process changes but what it is served with.
 */
int share_server_add(const struct share_server *server, uint32_t first, const int *mounts,
                     size_t count, struct error *err);

/* Takes entries away, those of them that are there. The server lets go of what it has open there
 * when its guest forgets it. Returns 0, or -1 with *err. */
int share_server_remove(const struct share_server *server, uint32_t first, size_t count,
                        struct error *err);

/* What a server has of entries: mounts, by their numbers. */
struct share_mounts {
    pid_t pid;
    int *ids;
    size_t count;
};

/* Those of entries that are still there. Returns 0, or -1: share_mounts_free is safe either way. */
int share_mounts_list(const struct share_server *server, uint32_t first, size_t count,
                      struct share_mounts *mounts);
void share_mounts_free(struct share_mounts *mounts);

/* Waits until the server, whose guest was told to forget them, has nothing open there. Returns
 * whether that is so. */
bool share_mounts_await_release(const struct share_mounts *mounts, int milliseconds);

/*
 * The same in a process that nobody awaits, and that has the descriptor, which stays the caller's,
 * as long as it waits. Returns 0, or -1 with errno if none can be made.
 */
int share_mounts_hold_until_release(const struct share_mounts *mounts, int milliseconds, int fd);

/* Whether it has ended though it was needed: then *text says how, with its last words. */
bool share_server_failed(const struct share_server *server, char *text, size_t size);

void share_server_stop(struct share_server *server);

/* The program that would be used, or NULL; *package: what to install where there is none. */
const char *share_server_program(const char **package);

#endif
