/* Reading directories: no link is followed, what cannot be read is told apart from the end. */
#ifndef HYBRID_DIRECTORY_H
#define HYBRID_DIRECTORY_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"

/*
 * Reads the directory that *fd is open on, from where that stands. It takes the descriptor: *fd
 * becomes -1. Close the result with closedir(3). NULL with errno: the descriptor stays the
 * caller's.
 */
static inline DIR *directory_take(int *fd)
{
    DIR *directory = *fd >= 0 ? fdopendir(*fd) : NULL;
    if (directory)
        (void)take_fd(fd);
    return directory;
}

/*
 * Opens a directory to read it from its beginning; "." is dir_fd itself, which stays as it is. A
 * symbolic link is none. Close the result with closedir(3). NULL with errno.
 */
static inline DIR *directory_open(int dir_fd, const char *name)
{
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return directory_take(&fd);
}

/* The next entry besides "." and "..". NULL: with errno, which is 0 at the end. */
static inline const struct dirent *directory_next(DIR *directory)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry || (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0))
            return entry;
    }
}

#endif
