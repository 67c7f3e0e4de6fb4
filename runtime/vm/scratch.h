/* The writable layer of a VM that outlives it: a sparse file with an ext4 file system. */
#ifndef HYBRID_VM_SCRATCH_H
#define HYBRID_VM_SCRATCH_H

#include "error.h"

/*
 * Opens <data_dir>/scratch.ext4 for reading and writing, made with mke2fs(8) if it is not there.
 * Once a guest has had it, its content is hostile: the host never mounts or checks it. Returns the
 * descriptor, the caller's, or -1 with *err.
 */
int scratch_open(const char *data_dir, struct error *err);

#endif
