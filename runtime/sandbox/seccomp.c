/* The system call filter: a program compiled elsewhere, loaded as bytes. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "context.h"

bool filter_listens(const struct plan *plan)
{
    return plan->filter && (plan->filter_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

int filter_load(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)step;
    const struct plan *plan = sandbox->plan;
    size_t count = plan->filter_length / sizeof(struct sock_filter);
    if (!plan->filter)
        return 0;
    if (count == 0 || count > BPF_MAXINSNS)
        return error_set(err, EXIT_OURS,
                         "the seccomp filter has %zu instructions; the kernel takes 1 to %d", count,
                         BPF_MAXINSNS);
    struct sock_fprog program = { .len = (unsigned short)count,
                                  .filter = (struct sock_filter *)(void *)plan->filter };
    struct listener_page *page = NULL;
    bool listens = filter_listens(plan);
    if (listens && !(page = listener_announce(sandbox, err)))
        return -1;
    long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, plan->filter_flags, &program);
    if (listener < 0)
        return sandbox_fail(err, "cannot load the seccomp filter");
    if (listens)
        listener_offer(page, (int)listener);
    return 0;
}
