/* What reading any archive of others has in common. */
#ifndef HYBRID_ARCHIVE_H
#define HYBRID_ARCHIVE_H

#include <archive.h>
#include <archive_entry.h>

#include "error.h"

enum {
    ARCHIVE_BLOCK = 1024 * 1024,
    ARCHIVE_MAX_PATH = 4096,
    ARCHIVE_MAX_DEPTH = 256, /* directories below each other */
};

static inline void cleanup_archive(struct archive **archive)
{
    if (*archive)
        (void)archive_read_free(*archive);
}
#define _cleanup_archive_ __attribute__((cleanup(cleanup_archive)))

/*
 * Writes the path of an entry without "." and empty components; "" is the root. Refused: absolute
 * paths, "..", and paths too long or too deep. Returns 0, or -1 with *err naming the entry.
 */
int archive_clean_path(const char *name, char path[ARCHIVE_MAX_PATH + 1], struct error *err);

/* Steps to the next entry. 1: there is one, 0: the end, -1: *err, naming `what`. */
int archive_next_entry(struct archive *archive, const char *what, struct archive_entry **entry,
                       struct error *err);

#endif
