/* Writing the log. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"

enum { LOG_BATCH = 64 * 1024, LOG_HEAD = 64 };

struct log {
    int directory, file; /* file -1: failed */
    uint64_t size, max_bytes;
    int failure; /* errno to be reported once */
    size_t used; /* bytes in batch */
    char batch[LOG_BATCH];
};

static int open_file(struct log *log)
{
    log->file = openat(log->directory, LOG_NAME, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    struct stat status;
    if (log->file < 0 || fstat(log->file, &status) < 0)
        return -1;
    log->size = (uint64_t)status.st_size;
    return 0;
}

struct log *log_open(const char *data_dir, uint64_t max_bytes, struct error *err)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    log->max_bytes = max_bytes;
    log->file = -1;
    log->directory = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (log->directory < 0 || open_file(log) < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot open %s/" LOG_NAME, data_dir);
        log_close(log);
        return NULL;
    }
    return log;
}

static void fail(struct log *log)
{
    log->failure = errno;
    if (log->file >= 0)
        (void)close(log->file);
    log->file = -1;
}

static void flush(struct log *log)
{
    if (log->file >= 0 && log->used > 0 && io_write_all(log->file, log->batch, log->used) < 0)
        fail(log);
    log->size += log->used;
    log->used = 0;
}

static void put(struct log *log, const char *data, size_t length)
{
    while (length > 0) {
        size_t part = LOG_BATCH - log->used;
        if (part == 0) {
            flush(log);
            continue;
        }
        if (part > length)
            part = length;
        memcpy(log->batch + log->used, data, part);
        log->used += part;
        data += part;
        length -= part;
    }
}

/* Only between lines, so that no line is in two files. */
static void rotate(struct log *log)
{
    flush(log);
    if (log->file < 0)
        return;
    (void)close(log->file);
    if (renameat(log->directory, LOG_NAME, log->directory, LOG_OLD_NAME) < 0 || open_file(log) < 0)
        fail(log);
}

static size_t format_head(enum log_stream stream, char head[LOG_HEAD])
{
    struct timespec now;
    struct tm utc;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    size_t length = strftime(head, LOG_HEAD, "%Y-%m-%dT%H:%M:%S", &utc);
    length += (size_t)snprintf(head + length, LOG_HEAD - length, ".%09ldZ %s ", now.tv_nsec,
                               stream == LOG_STDOUT ? "stdout" : "stderr");
    return length;
}

void log_write(struct log *log, enum log_stream stream, const char *data, size_t length)
{
    char head[LOG_HEAD];
    size_t head_length = format_head(stream, head);
    while (length > 0 && log->file >= 0) {
        const char *newline = memchr(data, '\n', length);
        size_t text = newline ? (size_t)(newline - data) : length;
        put(log, head, head_length);
        put(log, newline ? "F " : "P ", 2);
        put(log, data, text);
        put(log, "\n", 1);
        size_t taken = text + (newline ? 1 : 0);
        data += taken;
        length -= taken;
        if (log->size + log->used > log->max_bytes)
            rotate(log);
    }
    flush(log);
}

int log_failure(struct log *log)
{
    int failure = log->failure;
    log->failure = 0;
    return failure;
}

void log_close(struct log *log)
{
    if (!log)
        return;
    if (log->file >= 0)
        (void)close(log->file);
    if (log->directory >= 0)
        (void)close(log->directory);
    free(log);
}
