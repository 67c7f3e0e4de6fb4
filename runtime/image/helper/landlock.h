/* Landlock (Linux: Documentation/userspace-api/landlock.rst), as far as the kernel has it. */
#ifndef HYBRID_LANDLOCK_H
#define HYBRID_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

enum landlock_access {
    LANDLOCK_READ,    /* files and directories */
    LANDLOCK_EXECUTE, /* the same, and programs */
    LANDLOCK_CHANGE,  /* everything but programs */
};

/* What this process may go on to use: a file, or a directory with all below it. */
struct landlock_place {
    enum landlock_access access;
    const char *path; /* NULL: the descriptor; one that is not there is left out */
    int fd;
};

/*
 * Confines the calling process and its children to these places of the file system; signals,
 * abstract sockets and (network: false) TCP reach nothing outside either. Descriptors that are open
 * stay as they are. Needs no_new_privs. A kernel without Landlock, or older than 5.19, whose
 * Landlock knows no renaming across directories, confines nothing: that is no error. Returns 0, or
 * -1 with *err.
 */
int landlock_enter(const struct landlock_place *places, size_t count, bool network,
                   struct error *err);

#endif
