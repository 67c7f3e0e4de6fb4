/* What create.c and engine.c share. */
#ifndef HYBRID_ENGINE_PARTS_H
#define HYBRID_ENGINE_PARTS_H

#include "plan.h"
#include "runtime/runtime.h"
#include "runtime/state/state.h"

/* In the state directory: where a created container waits for its start. */
#define START_SOCKET "start"

/*
 * The poststop hooks. The container is gone whatever they do: a failure is a warning (runtime.md,
 * "Lifecycle").
 */
void engine_run_last_hooks(const struct runtime *runtime, const struct plan *plan,
                           const struct state *state);

#endif
