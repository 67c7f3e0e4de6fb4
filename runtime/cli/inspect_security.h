/* `hybrid inspect --security`: what the kernel says of a running workload's process. */
#ifndef HYBRID_INSPECT_SECURITY_H
#define HYBRID_INSPECT_SECURITY_H

#include "error.h"

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Reads from /proc what is in force for a process: ids, capabilities, seccomp of each thread,
 * namespaces, mounts, descriptors, limits. start: its start time (state_process_start), so that no
 * other process of the same number is described. Returns a new reference, or NULL with *err.
 */
json_t *inspect_security(pid_t pid, uint64_t start, struct error *err);

#endif
