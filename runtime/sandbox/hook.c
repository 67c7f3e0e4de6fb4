/*
 * Hooks: programs of the bundle that are run at points of a container's life with its state on
 * their standard input. Specification: runtime-spec 1.2, config.md, "POSIX-platform Hooks".
 *
 * The specification says neither which environment a hook has that names none, nor where the root
 * file system is while it is not entered yet. Hooks lean on what runc does: outside, the caller's
 * environment (to find programs by PATH); the container's in the container; and the root at its own
 * path, so that what a hook mounts there is mounted in the container.
 *
 * createContainer is a program of the host, with the host's rights, that begins in the container's
 * files. The container's environment has what its image says: LD_PRELOAD=./x.so would run that
 * there as root (CVE-2025-23266). The caller's may have an empty component in LD_LIBRARY_PATH or
 * PATH, which is the directory it begins in. So it has neither, only where the host's programs are.
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
                                     .env = hook->env ? hook->env : (const char *const *)environ,
                                     .timeout = hook->timeout };
    return program_run(&program, state, NULL, err);
}

static int run_at_root(const struct sandbox *sandbox, const struct plan_hook *hook,
                       const char *state, struct error *err)
{
    static const char *const absolute[] = { "PATH=" DEFAULT_PATH, NULL };
    struct plan_hook completed = *hook;
    if (!hook->env)
        completed.env = absolute;
    if (fchdir(sandbox->root_fd) < 0)
        return sandbox_fail(err, "cannot go to the root file system for a hook");
    int result = hook_run(&completed, state, err);
    if (chdir("/") < 0 && result == 0)
        result = sandbox_fail(err, "cannot leave the root file system after a hook");
    return result;
}

static int run_inside(const struct sandbox *sandbox, const struct plan_hook *hook,
                      const char *state, struct error *err)
{
    const struct plan *plan = sandbox->plan;
    _cleanup_free_ char *home = NULL;
    const struct plan_step *last = &plan->steps[plan->step_count - 1];
    const struct plan_exec none = { 0 };
    _cleanup_free_ const char **environment =
        exec_environment(sandbox, last->kind == PLAN_EXEC ? &last->exec : &none, &home);
    struct plan_hook completed = *hook;
    if (!environment)
        return error_set(err, EXIT_OURS, "out of memory");
    if (!hook->env)
        completed.env = environment;
    return hook_run(&completed, state, err);
}

/* A hook among the steps: the process itself is the container's, and knows its own number. */
int hook_apply(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const char *known = sandbox->request->hook_state;
    bool creating = step->kind == PLAN_HOOK_CREATE;
    const char *status = creating ? "creating" : "created";
    _cleanup_free_ char *state = NULL;
    if (!known)
        return error_set(err, EXIT_OURS, "the plan has a %s hook, but no state to give it",
                         step->hook.kind);
    if (asprintf(&state, "%s,\"status\":\"%s\",\"pid\":%d}", known, status, (int)getpid()) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    return creating ? run_at_root(sandbox, &step->hook, state, err)
                    : run_inside(sandbox, &step->hook, state, err);
}
