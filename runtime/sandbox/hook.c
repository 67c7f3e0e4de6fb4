/*
 * Hooks: programs of the bundle that are run at points of a container's life with its state on
 * their standard input. Specification: runtime-spec 1.2, config.md, "POSIX-platform Hooks".
 */
#include <unistd.h>

#include "context.h"
#include "runtime/program/program.h"

int hook_run(const struct plan_hook *hook, const char *state, struct error *err)
{
    char what[64];
    (void)snprintf(what, sizeof what, "the %s hook", hook->kind);
    const struct program program = { .what = what,
                                     .path = hook->path,
                                     .argv = hook->argv,
                                     .env = hook->env,
                                     .timeout = hook->timeout };
    return program_run(&program, state, NULL, err);
}

/* A hook among the steps: the process itself is the container's, and knows its own number. */
int hook_apply(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const char *known = sandbox->request->hook_state;
    const char *status = step->kind == PLAN_HOOK_CREATE ? "creating" : "created";
    _cleanup_free_ char *state = NULL;
    if (!known)
        return error_set(err, EXIT_OURS, "the plan has a %s hook, but no state to give it",
                         step->hook.kind);
    if (asprintf(&state, "%s,\"status\":\"%s\",\"pid\":%d}", known, status, (int)getpid()) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    return hook_run(&step->hook, state, err);
}
