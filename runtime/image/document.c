#include "document.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "io.h"

struct shape {
    size_t deepest; /* nesting of arrays and objects: the parser recurses */
    size_t values;  /* at most so many: each takes a hundred times what it takes in the text */
};

/* Measured before parsing. */
static struct shape measure(const char *text, size_t length)
{
    struct shape shape = { .values = 1 };
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
            shape.values++;
            if (depth > shape.deepest)
                shape.deepest = depth;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
        shape.values += c == ',' && !in_string;
    }
    return shape;
}

json_t *document_parse(const char *text, size_t length, const char *what, struct error *err)
{
    if (length > DOCUMENT_MAX_BYTES) {
        error_set(err, EXIT_OURS, "%s is larger than %d bytes", what, DOCUMENT_MAX_BYTES);
        return NULL;
    }
    const struct shape shape = measure(text, length);
    if (shape.deepest > DOCUMENT_MAX_DEPTH) {
        error_set(err, EXIT_OURS, "%s nests deeper than %d levels", what, DOCUMENT_MAX_DEPTH);
        return NULL;
    }
    if (shape.values > DOCUMENT_MAX_VALUES) {
        error_set(err, EXIT_OURS, "%s has more than %d values", what, DOCUMENT_MAX_VALUES);
        return NULL;
    }
    json_error_t cause;
    json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES, &cause);
    if (!value) {
        char printable[JSON_ERROR_TEXT_LENGTH * 2];
        error_set(err, EXIT_OURS, "%s is not valid JSON: line %d: %s", what, cause.line,
                  document_printable(cause.text, printable, sizeof printable));
    }
    return value;
}

static void read_failed(const char *what, int *errnum, struct error *err)
{
    *errnum = errno;
    error_set_errno(err, EXIT_OURS, errno, "cannot read %s", what);
}

/* A document that did not fit into the first read. */
static json_t *read_large(int fd, const char *what, int *errnum, struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        read_failed(what, errnum, err);
        return NULL;
    }
    if (!S_ISREG(status.st_mode) || status.st_size > DOCUMENT_MAX_BYTES) {
        error_set(err, EXIT_OURS, "%s is not a file of at most %d bytes", what, DOCUMENT_MAX_BYTES);
        return NULL;
    }
    size_t size = (size_t)status.st_size;
    _cleanup_free_ char *text = malloc(size + 1);
    ssize_t length = text && lseek(fd, 0, SEEK_SET) == 0 ? io_read_all(fd, text, size) : -1;
    if (length < 0) {
        read_failed(what, errnum, err);
        return NULL;
    }
    return document_parse(text, (size_t)length, what, err);
}

/* Most documents are small, and a listing reads a thousand: one read, no stat, no allocation. */
json_t *document_read(int dir_fd, const char *path, const char *what, int *errnum,
                      struct error *err)
{
    char text[4096];
    int unused;
    if (!errnum)
        errnum = &unused;
    *errnum = 0;
    _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (length < 0) {
        read_failed(what, errnum, err);
        return NULL;
    }
    if (length == (ssize_t)sizeof text)
        return read_large(fd, what, errnum, err);
    return document_parse(text, (size_t)length, what, err);
}

static int wrong_type(const char *key, const char *what, const char *expected, struct error *err)
{
    return error_set(err, EXIT_OURS, "%s: \"%s\" is not %s", what, key, expected);
}

int document_get_string(const json_t *object, const char *key, const char *what, const char **value,
                        struct error *err)
{
    const json_t *member = json_object_get(object, key);
    *value = NULL;
    if (!member || json_is_null(member))
        return 0;
    if (!json_is_string(member))
        return wrong_type(key, what, "a string", err);
    *value = json_string_value(member);
    return 0;
}

int document_get_array(const json_t *object, const char *key, const char *what,
                       const json_t **value, struct error *err)
{
    *value = json_object_get(object, key);
    if (json_is_null(*value))
        *value = NULL;
    if (*value && !json_is_array(*value))
        return wrong_type(key, what, "an array", err);
    return 0;
}

int document_get_object(const json_t *object, const char *key, const char *what,
                        const json_t **value, struct error *err)
{
    *value = json_object_get(object, key);
    if (json_is_null(*value))
        *value = NULL;
    if (*value && !json_is_object(*value))
        return wrong_type(key, what, "an object", err);
    return 0;
}

int document_check_strings(const json_t *object, const char *key, const char *what,
                           struct error *err)
{
    const json_t *array;
    if (document_get_array(object, key, what, &array, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++)
        if (!json_is_string(json_array_get(array, i)))
            return wrong_type(key, what, "an array of strings", err);
    return 0;
}

const char *document_printable(const char *name, char *text, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    enum { ESCAPE = 4, DOTS = 3 };
    size_t used = 0;
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        if (used + ESCAPE + DOTS + 1 > size) {
            memcpy(text + used, "...", DOTS);
            used += DOTS;
            break;
        }
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            text[used++] = (char)c;
            continue;
        }
        text[used++] = '\\';
        text[used++] = 'x';
        text[used++] = hex[c >> 4];
        text[used++] = hex[c & 15];
    }
    text[used] = '\0';
    return text;
}
