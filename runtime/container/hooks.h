/* The hooks that the runtime runs in its own namespaces. Specification: runtime-spec 1.2,
 * config.md. */
#ifndef HYBRID_CONTAINER_HOOKS_H
#define HYBRID_CONTAINER_HOOKS_H

#include <stdbool.h>
#include <sys/types.h>

#include "error.h"
#include "plan.h"

/*
 * The state that hooks are given, as a JSON object without its last brace: what is still to come is
 * status and pid. malloc'd, or NULL without memory.
 */
char *hooks_open_state(const char *id, const char *bundle, const struct plan *plan);

/* Whether there are hooks between the mounts and the root. */
bool hooks_are_awaited(const struct plan *plan);

/* Runs the hooks of one kind in order, up to the first that fails. Returns 0, or -1 with *err. */
int hooks_run(const struct plan *plan, enum plan_hooks kind, const char *open_state,
              const char *status, pid_t pid, struct error *err);

#endif
