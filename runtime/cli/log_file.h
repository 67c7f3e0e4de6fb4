/* --log: the file in which an engine looks for what went wrong. */
#ifndef HYBRID_LOG_FILE_H
#define HYBRID_LOG_FILE_H

#include <stdbool.h>

struct log_file {
    int fd; /* opened for appending; -1: none */
    bool json;
};

/*
 * Appends one line: {"level":"error","msg":"...","time":"..."} as containerd and podman read it, or
 * the same as logfmt. Without a file nothing happens; what cannot be written is lost.
 */
void log_file_write(const struct log_file *log, const char *level, const char *message);

#endif
