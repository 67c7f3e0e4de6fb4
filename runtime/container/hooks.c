#include "hooks.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "runtime/sandbox/sandbox.h"

char *hooks_open_state(const char *id, const char *bundle, const struct plan *plan)
{
    const json_t *annotations = json_object_get(plan->document, "annotations");
    json_t *state =
        json_pack("{s:O, s:s, s:s?}", "ociVersion", json_object_get(plan->document, "ociVersion"),
                  "id", id, "bundle", bundle);
    if (json_is_object(annotations))
        (void)json_object_set(state, "annotations", (json_t *)annotations);
    char *text = state ? json_dumps(state, JSON_COMPACT) : NULL;
    json_decref(state);
    if (text)
        text[strlen(text) - 1] = '\0';
    return text;
}

bool hooks_are_awaited(const struct plan *plan)
{
    return plan->hooks[PLAN_HOOKS_PRESTART].count > 0 ||
           plan->hooks[PLAN_HOOKS_CREATE_RUNTIME].count > 0;
}

int hooks_run(const struct plan *plan, enum plan_hooks kind, const char *open_state,
              const char *status, pid_t pid, struct error *err)
{
    const struct plan_hook_list *list = &plan->hooks[kind];
    if (list->count == 0)
        return 0;
    _cleanup_free_ char *state = NULL;
    int length =
        pid > 0 ? asprintf(&state, "%s,\"status\":\"%s\",\"pid\":%d}", open_state, status, (int)pid)
                : asprintf(&state, "%s,\"status\":\"%s\"}", open_state, status);
    if (length < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < list->count; i++)
        if (hook_run(&list->hooks[i], state, err) < 0)
            return -1;
    return 0;
}
