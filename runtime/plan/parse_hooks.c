/* hooks of an OCI configuration. Specification: runtime-spec 1.2, config.md, "POSIX-platform
 * Hooks". */
#include "json_read.h"
#include "parse_parts.h"

static const char *const list_names[PLAN_HOOKS_KINDS] = {
    [PLAN_HOOKS_PRESTART] = "prestart",
    [PLAN_HOOKS_CREATE_RUNTIME] = "createRuntime",
    [PLAN_HOOKS_POSTSTART] = "poststart",
    [PLAN_HOOKS_POSTSTOP] = "poststop",
};

enum { MAX_TIMEOUT = 24 * 60 * 60 };

static int read_hook(struct plan *plan, const json_t *entry, const char *path,
                     struct plan_hook *hook, struct error *err)
{
    json_t *args = NULL, *env = NULL;
    int64_t timeout = 0;
    if (!json_is_object(entry))
        return error_set(err, EXIT_OURS, "%s must be an object", path);
    if (json_read_string(entry, path, "path", &hook->path, err) < 0 ||
        json_read_strings(entry, path, "args", &args, err) < 0 ||
        json_read_strings(entry, path, "env", &env, err) < 0 ||
        json_read_integer(entry, path, "timeout", 1, MAX_TIMEOUT, &timeout, err) < 0)
        return -1;
    if (!hook->path || *hook->path != '/')
        return json_read_refuse(path, "path", "an absolute path", err);
    hook->timeout = (int)timeout;
    hook->env = env ? plan_string_vector(plan, env, err) : NULL;
    if (json_array_size(args) > 0) {
        hook->argv = plan_string_vector(plan, args, err);
    } else {
        const char **alone = plan_allocate(plan, 2, sizeof *alone, err);
        if (alone)
            alone[0] = hook->path;
        hook->argv = alone;
    }
    return hook->argv && (hook->env || !env) ? 0 : -1;
}

/* Reads hooks.KIND into *list. */
static int read_list(struct plan *plan, const json_t *hooks, const char *kind,
                     struct plan_hook_list *list, struct error *err)
{
    json_t *entries = NULL;
    if (json_read_array(hooks, "hooks", kind, &entries, err) < 0)
        return -1;
    size_t index, count = json_array_size(entries);
    struct plan_hook *result = plan_allocate(plan, count, sizeof *result, err);
    if (!result)
        return -1;
    const json_t *entry;
    json_array_foreach(entries, index, entry)
    {
        char path[64];
        (void)snprintf(path, sizeof path, "hooks.%s[%zu]", kind, index);
        result[index].kind = kind;
        if (read_hook(plan, entry, path, &result[index], err) < 0)
            return -1;
    }
    *list = (struct plan_hook_list){ result, count };
    return 0;
}

static int add_steps(struct plan *plan, const json_t *hooks, const char *kind,
                     enum plan_step_kind step_kind, struct error *err)
{
    struct plan_hook_list list = { 0 };
    if (read_list(plan, hooks, kind, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        struct plan_step *step = plan_add_step(plan, step_kind, err);
        if (!step)
            return -1;
        step->hook = list.hooks[i];
    }
    return 0;
}

static int hooks_of(const struct plan *plan, json_t **hooks, struct error *err)
{
    return json_read_object(plan->document, "", "hooks", hooks, err);
}

int parse_hooks(struct plan *plan, struct error *err)
{
    json_t *hooks = NULL;
    if (hooks_of(plan, &hooks, err) < 0)
        return -1;
    for (int i = 0; i < PLAN_HOOKS_KINDS; i++)
        if (read_list(plan, hooks, list_names[i], &plan->hooks[i], err) < 0)
            return -1;
    bool runtime = plan->hooks[PLAN_HOOKS_PRESTART].count > 0 ||
                   plan->hooks[PLAN_HOOKS_CREATE_RUNTIME].count > 0;
    if (runtime && !plan_add_step(plan, PLAN_HOOKS, err))
        return -1;
    return add_steps(plan, hooks, "createContainer", PLAN_HOOK_CREATE, err);
}

int parse_start_hooks(struct plan *plan, struct error *err)
{
    json_t *hooks = NULL;
    if (hooks_of(plan, &hooks, err) < 0)
        return -1;
    return add_steps(plan, hooks, "startContainer", PLAN_HOOK_START, err);
}
