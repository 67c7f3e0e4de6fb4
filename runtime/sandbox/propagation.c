/*
 * Binds that stay in touch with the host's mounts: what is mounted below a "slave" there appears in
 * the container too, and below a "shared" one also the other way round (mount_namespaces(7),
 * "Shared subtrees"). All else of the new mount namespace leaves its peer groups before anything is
 * mounted; the sources of these binds are cloned before that. A source in the container's own root
 * may be covered by another mount until its turn has come: that one has no peers on the host.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"

static bool keeps_peers(const struct plan_step *step)
{
    return step->kind == PLAN_MOUNT && strcmp(step->mount.type, "bind") == 0 &&
           (step->mount.propagation & (MS_SHARED | MS_SLAVE));
}

int propagation_prepare(struct sandbox *sandbox, struct error *err)
{
    const struct plan *plan = sandbox->plan;
    for (size_t i = 0; i < plan->step_count; i++) {
        if (!keeps_peers(&plan->steps[i]))
            continue;
        if (!sandbox->peers) {
            sandbox->peers = malloc(plan->step_count * sizeof *sandbox->peers);
            if (!sandbox->peers)
                return error_set(err, EXIT_OURS, "out of memory");
            memset(sandbox->peers, 0xff, plan->step_count * sizeof *sandbox->peers); /* -1 */
        }
        sandbox->peers[i] = mount_clone_source(sandbox, (uint32_t)i, &plan->steps[i].mount);
    }
    return 0;
}

static bool is_same(int one_fd, int other_fd)
{
    struct stat one, other;
    return fstat(one_fd, &one) == 0 && fstat(other_fd, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

void propagation_keep(struct sandbox *sandbox, uint32_t number, int *tree_fd)
{
    _cleanup_close_ int peer = sandbox->peers ? take_fd(&sandbox->peers[number]) : -1;
    if (peer < 0 || *tree_fd < 0 || !is_same(peer, *tree_fd))
        return;
    (void)close(*tree_fd);
    *tree_fd = take_fd(&peer);
}
