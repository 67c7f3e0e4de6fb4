/* What an engine is handed over: the terminal through its socket, and the number of a process. */
#ifndef HYBRID_ENGINE_CONSOLE_H
#define HYBRID_ENGINE_CONSOLE_H

#include <stdbool.h>
#include <sys/types.h>

#include "error.h"

/* --console-socket belongs to a terminal, and a terminal that nobody here watches needs one. */
int console_check(const char *socket_path, bool terminal, struct error *err);

/* Sends the terminal's master. Closes it. Returns 0, or -1 with *err. */
int console_send(const char *socket_path, int terminal_fd, struct error *err);

/* Writes the number for --pid-file: nobody reads a half of it. Returns 0, or -1 with *err. */
int pid_file_write(const char *path, pid_t pid, struct error *err);

/* The path as seen from here, made absolute before the working directory changes; NULL stays NULL.
 * malloc'd into *absolute. Returns 0, or -1 with *err. */
int path_make_absolute(const char *path, char **absolute, struct error *err);

#endif
