/*
 * Binds that stay in touch with the host's mounts: what is mounted below a "slave" there appears in
 * the container too, and below a "shared" one also the other way round (mount_namespaces(7),
 * "Shared subtrees"). All else of the new mount namespace leaves its peer groups before anything is
 * mounted; the sources of these binds are cloned before that.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

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
        /* One that is not there yet may be among what is mounted before it, or it is missed then.
         */
        sandbox->peers[i] = mount_clone_source(sandbox, (uint32_t)i, &plan->steps[i].mount);
    }
    return 0;
}

int propagation_take(struct sandbox *sandbox, uint32_t number)
{
    return sandbox->peers ? take_fd(&sandbox->peers[number]) : -1;
}
