/* How the kernel treats the process: personality, scheduler, I/O priority. */
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "context.h"

int personality_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)sandbox;
    if (personality(step->personality) < 0)
        return sandbox_fail(err, "cannot set the personality to %#lx", step->personality);
    return 0;
}

int scheduler_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)sandbox;
    const struct plan_scheduler *wanted = &step->scheduler;
    struct sched_attr attributes = {
        .size = sizeof attributes,
        .sched_policy = wanted->policy,
        .sched_flags = wanted->flags,
        .sched_nice = wanted->nice,
        .sched_priority = wanted->priority,
        .sched_runtime = wanted->runtime,
        .sched_deadline = wanted->deadline,
        .sched_period = wanted->period,
    };
    if (syscall(SYS_sched_setattr, 0, &attributes, 0) == 0)
        return 0;
    bool realtime = wanted->policy == SCHED_FIFO || wanted->policy == SCHED_RR;
    if (errno == EPERM && realtime)
        return sandbox_fail(err,
                            "cannot set the scheduler (process.scheduler, policy %u): it needs "
                            "CAP_SYS_NICE, and where the kernel shares out real time by cgroup "
                            "v1 also linux.resources.cpu.realtimeRuntime",
                            wanted->policy);
    return sandbox_fail(err, "cannot set the scheduler (process.scheduler, policy %u)",
                        wanted->policy);
}

int io_priority_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)sandbox;
    if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, step->io_priority) < 0)
        return sandbox_fail(err, "cannot set the I/O priority (process.ioPriority)");
    return 0;
}
