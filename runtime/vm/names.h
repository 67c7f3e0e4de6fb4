/*
 * hybrid-names, for a VM in a network namespace with a name server of its own (include/names.h):
 * started before the guest boots, told to it with its network.
 */
#ifndef HYBRID_VM_NAMES_H
#define HYBRID_VM_NAMES_H

#include "error.h"
#include "runtime/network/network.h"
#include "spawn.h"

struct name_helper {
    struct spawned process; /* pid 0: none */
    int stream_fd;          /* for the guest to be connected to; -1: there is none, or it is */
};

/*
 * Starts it for the network's name server, in the cgroup. exe_dir: where the program is. stderr_fd:
 * where it says what it dies of. Returns 0, or -1 with *err; name_helper_stop is safe in both
 * cases.
 */
int name_helper_start(struct name_helper *helper, const struct network *network,
                      const char *exe_dir, int stderr_fd, const struct cgroup *cgroup,
                      struct error *err);

/* Whether it has ended though it was needed: then *text says how. */
bool name_helper_failed(const struct name_helper *helper, char *text, size_t size);

void name_helper_stop(struct name_helper *helper);

#endif
