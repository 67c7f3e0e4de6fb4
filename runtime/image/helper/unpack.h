/*
 * Applies one layer (OCI image-spec 1.1, layer.md) to an empty directory, in the form overlayfs
 * reads: a whiteout is a character device 0:0, an opaque directory has trusted.overlay.opaque=y.
 * The archive is hostile: nothing is written outside the directory, whatever it holds.
 */
#ifndef HYBRID_UNPACK_H
#define HYBRID_UNPACK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "runtime/image/helper/archive.h"

enum { UNPACK_MAX_ENTRIES = 2000000 };
#define UNPACK_MAX_BYTES (64LL << 30) /* of file content, holes included */

struct unpack_directory { /* times are set last: what is put into a directory changes them */
    char *path;
    struct timespec mtime;
};

struct unpack {
    int root_fd;
    int parent_fd; /* cache: the parent of the last entry; -1: none */
    char parent[ARCHIVE_MAX_PATH + 1];
    uint64_t entries;
    int64_t bytes;
    size_t longest_name; /* of a component */
    struct unpack_directory *directories;
    size_t directory_count, directory_room;
};

/* root_fd, an empty directory, stays the caller's. Returns 0, or -1 with *err. */
int unpack_begin(struct unpack *unpack, int root_fd, struct error *err);

/* Applies one entry; its content is read from archive. Returns 0, or -1 with *err naming it. */
int unpack_entry(struct unpack *unpack, struct archive *archive, struct archive_entry *entry,
                 struct error *err);

/* Sets the times of directories. Returns 0, or -1 with *err. */
int unpack_finish(struct unpack *unpack, struct error *err);
void unpack_free(struct unpack *unpack);

#endif
