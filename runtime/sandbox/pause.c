/*
 * What a pod's sandbox does in place of a command: nothing, as PID 1 of its namespace, until
 * SIGTERM or SIGINT, as the pause programs of container engines do it; in a guest, where engines do
 * not see it and containers that share its namespace do, until SIGKILL. No file of an image is
 * executed or even visible. It lives on in the memory of the program that made it.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context.h"

int namespaces_hold(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)step;
    sigset_t all;
    (void)sigfillset(&all);
    /* Blocked, not caught: the kernel keeps signals without a handler from a namespace's PID 1. */
    if (sigprocmask(SIG_SETMASK, &all, NULL) < 0)
        return sandbox_fail(err, "cannot block signals");
    (void)prctl(PR_SET_NAME, "hybrid-pause", 0, 0, 0);
    const bool for_good = sandbox->request->hold_for_good;
    /* The end of sync_fd is what tells the caller of success; streams keep nobody waiting. */
    if (close_range(0, ~0U, 0) < 0)
        return sandbox_fail(err, "cannot close descriptors");
    for (;;) {
        int signal = sigwaitinfo(&all, NULL);
        if (!for_good && (signal == SIGTERM || signal == SIGINT))
            _exit(0);
        while (signal == SIGCHLD && waitpid(-1, NULL, WNOHANG) > 0)
            ; /* orphans of who joined the process namespace */
    }
}
