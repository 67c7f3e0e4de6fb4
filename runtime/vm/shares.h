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

/* Whether it has ended though it was needed: then *text says how, with its last words. */
bool share_server_failed(const struct share_server *server, char *text, size_t size);

void share_server_stop(struct share_server *server);

/* The program that would be used, or NULL; *package: what to install where there is none. */
const char *share_server_program(const char **package);

#endif
