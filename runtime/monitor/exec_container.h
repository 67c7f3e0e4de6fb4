/*
 * A command in a running container, as a workload of its own for the monitor's event loop: `hybrid
 * exec` is the parent of what it starts and relays its streams as `hybrid run` does.
 */
#ifndef HYBRID_EXEC_CONTAINER_H
#define HYBRID_EXEC_CONTAINER_H

#include "workload.h"

extern const struct workload_ops exec_container_ops;

#endif
