/*
 * Landlock: rules of the process's own making that it cannot take off again. Here it allows
 * nothing: no file is opened, made or removed, no TCP port bound or connected to (but one, where
 * that is the process's purpose), no abstract socket or process outside reached. Descriptors that
 * are open already stay what they are. Specification: landlock(7).
 */
#ifndef HYBRID_VMM_LANDLOCK_H
#define HYBRID_VMM_LANDLOCK_H

#include "error.h"

#include <stdint.h>

/*
 * Confines the calling thread, and those that it starts, as far as the kernel knows how. Needs
 * no_new_privs. connect_port: the TCP port that may be connected to, 0: none. *abi: the version of
 * the kernel's interface that is in force, 0 if it has none. Returns 0, or -1 with err where the
 * kernel has Landlock and refuses.
 */
int landlock_confine(uint16_t connect_port, int *abi, struct error *err);

#endif
