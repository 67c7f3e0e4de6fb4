/*
 * The log of a workload: lines "2016-10-06T00:17:09.669794202Z stdout F text", the format of the
 * Kubernetes container runtime interface. F: a whole line; P: a part, what follows belongs to the
 * same line. Written and read byte by byte as the workload wrote: F adds the newline, P does not.
 *
 * Bounded: beyond LOG_MAX_BYTES the file becomes `log.1` (the one before is dropped) and a new one
 * is begun.
 */
#ifndef HYBRID_LOG_H
#define HYBRID_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"

#define LOG_NAME     "log"
#define LOG_OLD_NAME "log.1"

enum { LOG_MAX_BYTES = 64 * 1024 * 1024 };

enum log_stream { LOG_STDOUT = 1, LOG_STDERR = 2 };

struct log;

/* Opens <data_dir>/log for appending. Returns NULL with *err. max_bytes: LOG_MAX_BYTES. */
struct log *log_open(const char *data_dir, uint64_t max_bytes, struct error *err);

/*
 * Appends what was read from a stream at once. A failure (no space) is kept, and what follows is
 * dropped: log_failure returns its errno once, then 0.
 */
void log_write(struct log *log, enum log_stream stream, const char *data, size_t length);
int log_failure(struct log *log);

void log_close(struct log *log);

struct log_view {
    bool timestamps;
    int64_t tail; /* only the last lines; -1: all */
    FILE *out, *error;
};

/* One line of the log, parsed. text is borrowed and has no newline of its own. */
struct log_line {
    const char *timestamp;
    size_t timestamp_length;
    enum log_stream stream;
    bool whole;
    const char *text;
    size_t length;
};

/* Parses a line without its newline. Returns false if it is none of ours. */
bool log_parse(const char *line, size_t length, struct log_line *parsed);

/* Where a reader stands. */
struct log_reader {
    char *data_dir;
    FILE *file;
    uint64_t inode; /* of the file that is read, to see rotation */
    char *line;
    size_t room;
    bool inside[LOG_STDERR + 1]; /* by stream: the last was a P, what follows has no time stamp */
};

/*
 * Prints what is in the log from the beginning (view->tail: near its end). *reader then stands at
 * the end and log_follow prints what was added. Return 0, or -1 with *err.
 */
int log_print(const char *data_dir, const struct log_view *view, struct log_reader *reader,
              struct error *err);
int log_follow(const struct log_view *view, struct log_reader *reader, struct error *err);
void log_reader_close(struct log_reader *reader);

#endif
