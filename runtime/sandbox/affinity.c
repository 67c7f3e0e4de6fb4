/*
 * The processors of a process. They are those of its cgroup, whatever those of the caller: an
 * engine whose daemon is bound to some does not bind its containers to them. A further process of a
 * container may have others, on its way into the cgroup and from then on: process.execCPUAffinity
 * (runtime-spec, config.md).
 */
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "context.h"

/* By the system call: the C library's type is of a header that the kernel's does not go with. */
static int set_processors(const struct plan_processors *processors)
{
    return (int)syscall(SYS_sched_setaffinity, 0, sizeof *processors, processors);
}

int affinity_begin(const struct sandbox_request *request, struct plan_processors *before,
                   struct error *err)
{
    const struct plan_processors *initial = request->plan->affinity_initial;
    *before = (struct plan_processors){ { 0 } }; /* the kernel writes as much as it has */
    if (request->join_pidfd < 0 || !initial)
        return 0;
    /* The child inherits it: so it holds from the first instruction on. */
    if (syscall(SYS_sched_getaffinity, 0, sizeof *before, before) < 0 ||
        set_processors(initial) < 0)
        return sandbox_fail(err, "cannot run on the processors of process.execCPUAffinity.initial");
    return 1;
}

int affinity_end(const struct plan_processors *before, struct error *err)
{
    if (set_processors(before) < 0)
        return sandbox_fail(err, "cannot go back to the processors from before");
    return 0;
}

int affinity_settle(const struct sandbox_request *request, struct error *err)
{
    const struct plan_processors *final =
        request->join_pidfd >= 0 ? request->plan->affinity_final : NULL;
    struct plan_processors every;
    memset(&every, 0xff, sizeof every);
    if (set_processors(final ? final : &every) == 0)
        return 0;
    return final
               ? sandbox_fail(err, "cannot run on the processors of process.execCPUAffinity.final; "
                                   "are they among linux.resources.cpu.cpus?")
               : sandbox_fail(err, "cannot run on the processors of the cgroup");
}
