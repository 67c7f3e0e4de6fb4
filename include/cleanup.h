/* Scope-bound resources: `_cleanup_close_ int fd = -1`, and ownership that passes visibly. */
#ifndef HYBRID_CLEANUP_H
#define HYBRID_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close(const int *fd)
{
    if (*fd >= 0) {
        int saved = errno; /* a clean-up must not hide the cause that the caller will report */
        (void)close(*fd);
        errno = saved;
    }
}

static inline void cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void cleanup_fclose(FILE **file)
{
    if (*file)
        (void)fclose(*file);
}

static inline void cleanup_closedir(DIR **dir)
{
    if (*dir)
        (void)closedir(*dir);
}

/* The names are systemd's, known to every reader of such code.
 * NOLINTBEGIN(bugprone-reserved-identifier) */
#define _cleanup_close_    __attribute__((cleanup(cleanup_close)))
#define _cleanup_free_     __attribute__((cleanup(cleanup_free)))
#define _cleanup_fclose_   __attribute__((cleanup(cleanup_fclose)))
#define _cleanup_closedir_ __attribute__((cleanup(cleanup_closedir)))
/* NOLINTEND(bugprone-reserved-identifier) */

/* Hands the descriptor in *fd to the caller; *fd becomes -1. */
static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Hands the allocation in *pointer to the caller; *pointer becomes NULL. */
static inline void *take_pointer(void *pointer)
{
    void *taken = *(void **)pointer;
    *(void **)pointer = NULL;
    return taken;
}

#endif
