/* Other limits for a running container in the VM of a pod. */
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "machine.h"
#include "runtime/monitor/control.h"

/* Of memory and swap the guest has no swap: there is nothing to change. */
static int check(const struct state *state, const struct plan_resources *resources,
                 struct error *err)
{
    const char *what = machine_find_unheld(resources);
    if (!what)
        return 0;
    return error_set(err, EXIT_OURS,
                     "cannot update %s: %s: it runs in the VM of its pod, where its memory, "
                     "processor time and number of processes can be limited, and nothing else",
                     state->id, what);
}

int machine_update(const struct runtime *runtime, const struct state *state,
                   const struct plan_resources *resources, struct error *err)
{
    struct control_message question = { .type = CONTROL_UPDATE };
    if (check(state, resources, err) < 0)
        return -1;
    _cleanup_free_ char *text = machine_describe_limits(resources);
    if (!text)
        return error_set(err, EXIT_OURS, "out of memory");
    if (strlen(text) >= sizeof question.text)
        return error_set(err, EXIT_OURS,
                         "cannot update %s: more than %zu bytes of limits at once; give them in "
                         "several calls",
                         state->id, sizeof question.text - 1);
    (void)snprintf(question.text, sizeof question.text, "%s", text);
    return machine_ask(runtime, state, &question, err);
}
