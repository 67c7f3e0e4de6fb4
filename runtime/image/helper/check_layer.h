/* Is a file a sound layer? */
#ifndef HYBRID_CHECK_LAYER_H
#define HYBRID_CHECK_LAYER_H

#include <stdbool.h>

#include "error.h"

/*
 * Examines an EROFS file `name` below dir_fd: its superblock (magic, checksum, size) and, if
 * `full` and where it is installed, all that fsck.erofs looks at. Linux: fs/erofs/erofs_fs.h.
 * Returns 1: sound, or not there any more; 0: *cause says why not; -1: it could not be looked at,
 * *cause says why.
 */
int check_layer(int dir_fd, const char *name, bool full, struct error *cause);

#endif
