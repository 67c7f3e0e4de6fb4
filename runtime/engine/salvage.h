/* Workloads whose state is damaged: ended and removed as far as they can be known without. */
#ifndef HYBRID_ENGINE_SALVAGE_H
#define HYBRID_ENGINE_SALVAGE_H

#include "runtime/launch/workload.h"

/*
 * Ends and removes such a workload, an engine's or one of `hybrid run`: by its monitor, if one
 * listens in its directory; by the cgroups that bear the directory's mark; by the record of its
 * pod's machine; by its configuration, as to a network. Nothing else of the host is touched:
 * numbers of processes, which only the state tells, might be anybody's. What that means is a
 * warning. Returns 0 if it is gone, 1 if there is no such workload or its state is not damaged (see
 * state_is_damaged): nothing was done that the usual way does not do, or -1 with *err.
 */
int engine_salvage(const struct runtime *runtime, const char *id, struct error *err);

#endif
