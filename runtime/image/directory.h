/* Reading the store's directories: what cannot be read is told apart from the end. */
#ifndef HYBRID_DIRECTORY_H
#define HYBRID_DIRECTORY_H

#include <dirent.h>

/*
 * Opens a directory to read it from its beginning; "." is dir_fd itself, which stays as it is. A
 * symbolic link is none. Close the result with closedir(3). NULL with errno.
 */
DIR *directory_open(int dir_fd, const char *name);

/* The next entry besides "." and "..". NULL: with errno, which is 0 at the end. */
const struct dirent *directory_next(DIR *directory);

#endif
