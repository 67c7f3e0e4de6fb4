#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"

DIR *directory_open(int dir_fd, const char *name)
{
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory)
        (void)take_fd(&fd);
    return directory;
}

const struct dirent *directory_next(DIR *directory)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry || (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0))
            return entry;
    }
}
