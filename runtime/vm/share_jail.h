/*
 * What a virtiofsd gives up before it is executed. What it can reach: the shares, each a private,
 * non-recursive or recursive bind without devices and programs, read-only where that was asked for.
 */
#ifndef HYBRID_VM_SHARE_JAIL_H
#define HYBRID_VM_SHARE_JAIL_H

#include <stddef.h>

struct share_jail {
    const char
        *place;  /* an existing directory: becomes what is described, for this process alone */
    int *mounts; /* detached; entry n of the shared directory */
    size_t count;
};

/* Where share_jail_close has the shared directory. */
#define SHARE_JAIL_NAME      "share"
#define SHARE_JAIL_DIRECTORY "/" SHARE_JAIL_NAME

/*
 * Both are for a process in its own namespaces that is to execute a virtiofsd next, `context` is a
 * struct share_jail. They return 0, or -1 with errno.
 *
 * share_jail_close does all of it, for a program that need only chroot: its root directory is
 * `place` with the shared directory, the system's libraries, and its own descriptors of /proc; no
 * capability but a file server's and the one to chroot; Landlock where the kernel has it; and the
 * filter of share_rules.c, under which the one execve must have its path in SHARE_PROGRAM_PAGE.
 *
 * share_jail_open leaves root directory, filter and capabilities to a program that sees to them
 * before it has another thread: `place` is the shared directory.
 */
int share_jail_close(void *context);
int share_jail_open(void *context);

/*
 * Makes the entry `number`, a directory or a file as the mount is one, in a directory, and attaches
 * the mount there, as the directory is seen in another mount of it, or in the same. Returns 0, or
 * -1 with errno.
 */
int share_jail_add(int made_in, int seen_in, size_t number, int mount_fd);

#endif
