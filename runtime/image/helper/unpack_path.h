/* Paths of a layer, resolved below the root that it is unpacked to. */
#ifndef HYBRID_UNPACK_PATH_H
#define HYBRID_UNPACK_PATH_H

#include "runtime/image/helper/unpack.h"

/*
 * Splits path (clean, not empty) and opens its parent directory, made if the layer left it out.
 * The descriptor belongs to unpack and is good until the next call. *base points into path.
 * Returns it, or -1 with *err.
 */
int unpack_open_parent(struct unpack *unpack, const char *path, const char **base,
                       struct error *err);

/* Forgets the cached parent: it may have been removed. */
void unpack_forget_parent(struct unpack *unpack);

/*
 * Opens a directory below the root ("") without leaving it. flags: O_NOFOLLOW or 0.
 * Returns it, or -1 with errno.
 */
int unpack_open_directory(const struct unpack *unpack, const char *path, int flags);

/* Notes the time that a directory shall have in the end. Returns 0, or -1 with errno. */
int unpack_remember_directory(struct unpack *unpack, const char *path, struct timespec mtime);

/* error_set_errno with the entry in front: "layer entry usr/bin/x: cannot ...: cause". */
int unpack_fail(const char *path, int errnum, const char *action, struct error *err);
/* The same without errno. */
int unpack_refuse(const char *path, const char *reason, struct error *err);

#endif
