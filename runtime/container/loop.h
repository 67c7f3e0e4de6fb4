/* Loop devices, for kernels that cannot mount an EROFS file by itself (before 6.12). */
#ifndef HYBRID_CONTAINER_LOOP_H
#define HYBRID_CONTAINER_LOOP_H

#include <stddef.h>

#include "error.h"

/*
 * Attaches a file, read-only, to a free loop device; device receives its path. The device goes away
 * with its last user, so mount it before closing. Returns a descriptor of the device, or -1 with
 * *err.
 */
int loop_attach(const char *file, char *device, size_t size, struct error *err);

#endif
