/*
 * Paths inside a root file system that nobody trusts. Every path is resolved once, by openat2 with
 * RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS, to a descriptor, and whatever follows (mount, mkdir,
 * mknod) works on the descriptor: a symbolic link cannot lead out of the root, and a name exchanged
 * later changes nothing.
 */
#ifndef HYBRID_SANDBOX_PATH_H
#define HYBRID_SANDBOX_PATH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/* Opens `path` below root_fd; `flags` as open(2), O_CLOEXEC is added. Returns -1 with errno. */
int path_open(int root_fd, const char *path, int flags);

/* As path_open, but a symbolic link anywhere in `path` fails with ELOOP. */
int path_open_real(int root_fd, const char *path, int flags);

/* Opens a path of the host, not of a root: a symbolic link anywhere in it fails with ELOOP. */
int path_open_straight(const char *path, int flags);

/* Opens a name below a directory of our own (procfs): no links, no `..`, no other mount. */
int path_open_beneath(int directory_fd, const char *path, int flags);

/* Returns an O_PATH descriptor of the directory, made with its parents (mode 0755) if absent. */
int path_make_directory(int root_fd, const char *path, struct error *err);

/* As path_make_directory, and refuses symbolic links: for /proc, /sys and /dev. */
int path_make_real_directory(int root_fd, const char *path, struct error *err);

/* Returns an O_PATH descriptor of what is there and no directory, or of a new empty file. */
int path_make_file(int root_fd, const char *path, struct error *err);

/* Returns an O_PATH descriptor of the parent (made if absent); *leaf points into path. */
int path_make_parent(int root_fd, const char *path, const char **leaf, struct error *err);

/* Mounts a detached mount onto what target_fd refers to. Returns 0, or -1 with errno. */
int path_attach(int mount_fd, int target_fd);

#endif
