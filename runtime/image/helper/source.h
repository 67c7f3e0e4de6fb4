/*
 * What is being loaded: an archive (a tar, itself plain, gzip, zstd or xz) or a directory, seen as
 * named members. An archive is read once, front to back, so that it may be a pipe: its members are
 * received into the staging directory. A directory's members are received when asked for.
 */
#ifndef HYBRID_SOURCE_H
#define HYBRID_SOURCE_H

#include "runtime/image/helper/blob.h"

enum {
    SOURCE_MAX_MEMBERS = 10000,
};
#define SOURCE_MAX_BYTES (64LL << 30) /* of all members, and of each */

struct source_member {
    char *name;
    char *link; /* the member it stands for (docker save links equal layers); NULL: itself */
    struct blob blob;
};

struct source {
    const struct staging *staging;
    const char *path; /* for messages */
    int dir_fd;       /* a directory; -1: an archive */
    struct source_member *members;
    size_t count, room;
};

/* Opens path ("-": stdin). Returns 0, or -1 with *err. */
int source_open(const struct staging *staging, const char *path, struct source *source,
                struct error *err);
void source_free(struct source *source);

/* Is there a member of this name? */
bool source_has(const struct source *source, const char *name);

/*
 * Receives a member. expected: hex of its digest (NULL: unknown), expected_size: -1 unknown; both
 * are verified. Returns 0, or -1 with *err.
 */
int source_get(struct source *source, const char *name, const char *expected, int64_t expected_size,
               struct blob *blob, struct error *err);

#endif
