/*
 * A pod's sandbox: the container whose namespaces the others of a pod join. What it is to run is a
 * program that does nothing; here that is hybrid's own (PLAN_PAUSE), in an empty root, as nobody,
 * without capabilities and with a filter for the few calls that it makes. Nothing else of the
 * bundle's process, root and mounts is used: there is nobody to use it.
 */
#include "json_read.h"
#include "parse_parts.h"

enum { NOBODY = 65534 };

static int add_identity(struct plan *plan, struct error *err)
{
    static const enum plan_step_kind kinds[] = {
        PLAN_USER, PLAN_CAPABILITIES, PLAN_NO_NEW_PRIVS, PLAN_SECCOMP, PLAN_PAUSE,
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct plan_step *step = plan_add_step(plan, kinds[i], err);
        if (!step)
            return -1;
        if (kinds[i] == PLAN_USER)
            step->user = (struct plan_user){ .uid = NOBODY, .gid = NOBODY };
    }
    return 0;
}

int parse_sandbox(struct plan *plan, const json_t *linux_part, const json_t *process,
                  struct error *err)
{
    static const struct unsupported labels[] = { { "selinuxLabel", false }, { NULL, false } };
    if (parse_refuse(process, "process", labels, err) < 0 || parse_hooks(plan, err) < 0 ||
        !plan_add_step(plan, PLAN_ROOT, err) || parse_identity(plan, linux_part, err) < 0 ||
        !plan_add_step(plan, PLAN_READONLY_ROOT, err) ||
        parse_oom_score(plan, process, 0, err) < 0 || parse_start_hooks(plan, err) < 0)
        return -1;
    return add_identity(plan, err);
}

/* What pause.c calls from the filter on. */
json_t *plan_sandbox_filter(void)
{
    enum { SET_NAME = 15 }; /* PR_SET_NAME */
    return json_pack("{s:s, s:[{s:[s,s,s,s,s], s:s}, {s:[s], s:s, s:[{s:i, s:i, s:s}]}]}",
                     "defaultAction", "SCMP_ACT_KILL_PROCESS", "syscalls", "names", "close_range",
                     "rt_sigprocmask", "rt_sigtimedwait", "wait4", "exit_group", "action",
                     "SCMP_ACT_ALLOW", "names", "prctl", "action", "SCMP_ACT_ALLOW", "args",
                     "index", 0, "value", SET_NAME, "op", "SCMP_CMP_EQ");
}
