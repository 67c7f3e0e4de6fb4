/* hybrid-image reads what others wrote: it gives up what unpacking layers does not need. */
#ifndef HYBRID_PRIVILEGES_H
#define HYBRID_PRIVILEGES_H

#include <stdbool.h>

#include "error.h"

/*
 * Own mount, network, IPC and UTS namespaces, for children a pid namespace (where the caller may
 * make them), no core dumps, no new privileges, and of the capabilities only those that files of
 * other owners need, or, with packs, a directory that is packed with all its attributes. The first
 * child is the namespace's process 1: when it ends, all its children do, and this process can have
 * no others. Returns 0, or -1 with *err.
 */
int privileges_reduce(bool packs, struct error *err);

/*
 * For the process that has the network: everything goes, and root becomes nobody. It keeps only
 * the descriptors it holds. Clears the parent-death signal. Returns 0, or -1 with *err.
 */
int privileges_drop(struct error *err);

#endif
