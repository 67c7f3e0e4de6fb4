/*
 * process.apparmorProfile: what confines the command from its execve on. Specification:
 * runtime-spec 1.2, config.md, "Linux Process"; the kernel's
 * Documentation/admin-guide/LSM/apparmor.rst.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "context.h"
#include "io.h"

#define ATTRIBUTE "/proc/self/attr/apparmor/exec"

/* The host's file, from before its /proc is out of sight; the workload's might be anything. */
int apparmor_open(struct sandbox *sandbox, struct error *err)
{
    const struct plan *plan = sandbox->plan;
    size_t i = 0;
    while (i < plan->step_count && plan->steps[i].kind != PLAN_APPARMOR)
        i++;
    if (i == plan->step_count)
        return 0;
    sandbox->apparmor_fd = open(ATTRIBUTE, O_WRONLY | O_CLOEXEC);
    if (sandbox->apparmor_fd < 0)
        return sandbox_fail(
            err,
            "cannot confine the command by the AppArmor profile %s: this kernel has "
            "no AppArmor (" ATTRIBUTE ")",
            plan->steps[i].name);
    return 0;
}

int apparmor_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    _cleanup_free_ char *text = NULL;
    if (asprintf(&text, "exec %s", step->name) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    int written = io_write_all(sandbox->apparmor_fd, text, strlen(text));
    int cause = errno;
    cleanup_close(&sandbox->apparmor_fd);
    sandbox->apparmor_fd = -1;
    if (written == 0)
        return 0;
    return error_set_errno(err, EXIT_OURS, cause,
                           "cannot confine the command by the AppArmor profile %s%s", step->name,
                           cause == ENOENT   ? " (is it loaded?)"
                           : cause == EINVAL ? " (AppArmor is not enabled)"
                                             : "");
}
