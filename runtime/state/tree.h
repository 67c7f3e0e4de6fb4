/* Removing a directory with everything in it. */
#ifndef HYBRID_TREE_H
#define HYBRID_TREE_H

#include "error.h"

/*
 * Removes path and all below it, following no symbolic link and entering no other mount. A path
 * that does not exist is no error. Returns 0, or -1 with *err.
 */
int tree_remove(const char *path, struct error *err);

#endif
