/*
 * Landlock: rules of the process's own making that it cannot take off again. A monitor's allow
 * nothing: no file is opened, made or removed, no TCP port bound or connected to (but one, where
 * that is the process's purpose), no abstract socket or process outside reached. Descriptors that
 * are open already stay what they are. Specification: landlock(7).
 */
#ifndef HYBRID_VMM_LANDLOCK_H
#define HYBRID_VMM_LANDLOCK_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Confines the calling thread, and those that it starts, as far as the kernel knows how. Needs
 * no_new_privs. connect_port: the TCP port that may be connected to, 0: none. *abi: the version of
 * the kernel's interface that is in force, 0 if it has none. Returns 0, or -1 with err where the
 * kernel has Landlock and refuses.
 */
int landlock_confine(uint16_t connect_port, int *abi, struct error *err);

struct landlock_tree {
    int fd;         /* O_PATH, of a directory; the caller's */
    bool read_only; /* files below are read, mapped and executed only; else all is allowed */
};

/*
 * The same, except that the files below these directories can be reached. Where the kernel knows no
 * more than version 1, under which nothing can be renamed from one directory to another, there is
 * no confinement, and *abi is 0.
 */
int landlock_confine_to(const struct landlock_tree *trees, size_t count, int *abi,
                        struct error *err);

#endif
