#include "runtime/image/helper/archive.h"

#include <stdbool.h>

#include "runtime/image/document.h"

static int refuse(const char *name, const char *reason, struct error *err)
{
    char printable[300];
    return error_set(err, EXIT_OURS, "archive entry %s: %s",
                     document_printable(name, printable, sizeof printable), reason);
}

int archive_clean_path(const char *name, char path[ARCHIVE_MAX_PATH + 1], struct error *err)
{
    size_t used = 0;
    size_t depth = 0;
    path[0] = '\0';
    if (!name || !*name)
        return refuse("(nameless)", "it has no name", err);
    if (name[0] == '/')
        return refuse(name, "its path is absolute", err);
    for (const char *at = name; *at;) {
        size_t length = strcspn(at, "/");
        if (length == 2 && strncmp(at, "..", 2) == 0)
            return refuse(name, "its path contains \"..\"", err);
        if (length > 0 && !(length == 1 && *at == '.')) {
            if (used + (used > 0) + length > ARCHIVE_MAX_PATH)
                return refuse(name, "its path is longer than 4096 bytes", err);
            if (++depth > ARCHIVE_MAX_DEPTH)
                return refuse(name, "its path has more than 256 components", err);
            if (used > 0)
                path[used++] = '/';
            memcpy(path + used, at, length);
            used += length;
            path[used] = '\0';
        }
        at += length + (at[length] == '/');
    }
    return 0;
}

/*
 * The program runs in the C locale, where libarchive hands out names as the bytes they are (in a
 * UTF-8 locale it would change them to normal form C) and warns that it did not convert them.
 */
static bool is_conversion_warning(struct archive *archive)
{
    const char *text = archive_error_string(archive);
    return text && strstr(text, "can't be converted from");
}

int archive_next_entry(struct archive *archive, const char *what, struct archive_entry **entry,
                       struct error *err)
{
    int result = archive_read_next_header(archive, entry);
    if (result == ARCHIVE_EOF)
        return 0;
    if (result == ARCHIVE_OK || (result == ARCHIVE_WARN && is_conversion_warning(archive)))
        return 1;
    char printable[300];
    const char *reason = archive_error_string(archive);
    return error_set(
        err, EXIT_OURS, "%s: not a sound archive: %s", what,
        document_printable(reason ? reason : "unknown error", printable, sizeof printable));
}
