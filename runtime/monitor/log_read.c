/* Reading the log back, byte by byte as the workload wrote. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "log.h"

bool log_parse(const char *line, size_t length, struct log_line *parsed)
{
    const char *end = line + length;
    const char *stamp_end = memchr(line, ' ', length);
    if (!stamp_end || stamp_end == line || end - stamp_end < (ptrdiff_t)strlen(" stdout F "))
        return false;
    const char *name = stamp_end + 1;
    if (memcmp(name, "stdout ", 7) == 0)
        parsed->stream = LOG_STDOUT;
    else if (memcmp(name, "stderr ", 7) == 0)
        parsed->stream = LOG_STDERR;
    else
        return false;
    if ((name[7] != 'F' && name[7] != 'P') || name[8] != ' ')
        return false;
    parsed->timestamp = line;
    parsed->timestamp_length = (size_t)(stamp_end - line);
    parsed->whole = name[7] == 'F';
    parsed->text = name + 9;
    parsed->length = (size_t)(end - parsed->text);
    return true;
}

static void print_line(const struct log_view *view, struct log_reader *reader,
                       const struct log_line *line)
{
    FILE *out = line->stream == LOG_STDOUT ? view->out : view->error;
    if (view->timestamps && !reader->inside[line->stream])
        (void)fprintf(out, "%.*s ", (int)line->timestamp_length, line->timestamp);
    (void)fwrite(line->text, 1, line->length, out);
    if (line->whole)
        (void)fputc('\n', out);
    reader->inside[line->stream] = !line->whole;
}

/*
 * Reads what is there. view NULL: only counts. *skip: whole lines not to print. Returns the number
 * of lines read, an unfinished last one included. Stops before one that is still being written.
 */
static int64_t read_lines(struct log_reader *reader, FILE *file, const struct log_view *view,
                          int64_t *skip)
{
    int64_t count = 0;
    bool inside = false;
    for (;;) {
        ssize_t length = getline(&reader->line, &reader->room, file);
        if (length <= 0)
            break;
        if (reader->line[length - 1] != '\n') {
            (void)fseeko(file, -(off_t)length, SEEK_CUR);
            break;
        }
        struct log_line line;
        if (!log_parse(reader->line, (size_t)length - 1, &line))
            continue;
        if (view && *skip <= 0)
            print_line(view, reader, &line);
        inside = !line.whole;
        if (line.whole) {
            count++;
            (*skip)--;
        }
    }
    clearerr(file);
    return count + (inside ? 1 : 0);
}

static FILE *open_log(const char *data_dir, const char *name, uint64_t *inode)
{
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/%s", data_dir, name) < 0)
        return NULL;
    FILE *file = fopen(path, "re");
    struct stat status;
    if (file && fstat(fileno(file), &status) == 0)
        *inode = status.st_ino;
    return file;
}

/* Opens both files, consistently also while the monitor rotates them. *old may stay NULL. */
static int open_both(struct log_reader *reader, FILE **old, struct error *err)
{
    for (int attempt = 0; attempt < 16; attempt++) {
        uint64_t old_inode = 0;
        reader->file = open_log(reader->data_dir, LOG_NAME, &reader->inode);
        int cause = errno;
        *old = open_log(reader->data_dir, LOG_OLD_NAME, &old_inode);
        if (reader->file && (!*old || old_inode != reader->inode))
            return 0;
        if (!reader->file && !*old)
            return error_set_errno(err, EXIT_OURS, cause, "cannot open %s/" LOG_NAME,
                                   reader->data_dir);
        if (*old)
            (void)fclose(*old);
        if (reader->file)
            (void)fclose(reader->file);
        *old = reader->file = NULL;
    }
    return error_set(err, EXIT_OURS, "the log in %s changes too fast to be read; try again",
                     reader->data_dir);
}

int log_print(const char *data_dir, const struct log_view *view, struct log_reader *reader,
              struct error *err)
{
    _cleanup_fclose_ FILE *old = NULL;
    *reader = (struct log_reader){ .data_dir = strdup(data_dir) };
    if (!reader->data_dir)
        return error_set(err, EXIT_OURS, "out of memory");
    if (open_both(reader, &old, err) < 0)
        return -1;
    int64_t skip = 0;
    if (view->tail >= 0) {
        int64_t ignored = 0;
        int64_t lines = old ? read_lines(reader, old, NULL, &ignored) : 0;
        lines += read_lines(reader, reader->file, NULL, &ignored);
        skip = lines - view->tail;
        if (old)
            rewind(old);
        rewind(reader->file);
    }
    if (old)
        (void)read_lines(reader, old, view, &skip);
    (void)read_lines(reader, reader->file, view, &skip);
    return 0;
}

int log_follow(const struct log_view *view, struct log_reader *reader, struct error *err)
{
    int64_t skip = 0;
    (void)read_lines(reader, reader->file, view, &skip);
    uint64_t inode = reader->inode;
    FILE *next = open_log(reader->data_dir, LOG_NAME, &inode);
    if (!next)
        return errno == ENOENT ? 0
                               : error_set_errno(err, EXIT_OURS, errno, "cannot open %s/" LOG_NAME,
                                                 reader->data_dir);
    if (inode == reader->inode) {
        (void)fclose(next);
        return 0;
    }
    /* Rotated: the old file got no line after that, but perhaps some since we looked at it. */
    (void)read_lines(reader, reader->file, view, &skip);
    (void)fclose(reader->file);
    reader->file = next;
    reader->inode = inode;
    (void)read_lines(reader, reader->file, view, &skip);
    return 0;
}

void log_reader_close(struct log_reader *reader)
{
    if (reader->file)
        (void)fclose(reader->file);
    free(reader->data_dir);
    free(reader->line);
    *reader = (struct log_reader){ 0 };
}
