/* Digests that are in use: what a removal must leave, and what a removal would not bring. */
#ifndef HYBRID_MARKS_H
#define HYBRID_MARKS_H

#include "index.h"

struct marks {
    char (*hex)[STORE_DIGEST_HEX + 1];
    size_t count, room;
};

/* Adds a digest; hex may be NULL, which is an error. Returns 0, or -1 with *err. */
int marks_add(struct marks *marks, const char *hex, struct error *err);

/* Adds what an image consists of: its blobs and, by diff id, its layers. Returns 0, or -1 with
 * *err. */
int marks_add_image(int blobs_fd, const struct index_entry *entry, struct marks *blobs,
                    struct marks *layers, struct error *err);

/* To be called between the last addition and the first question. */
void marks_sort(struct marks *marks);
bool marks_have(const struct marks *marks, const char *hex);
void marks_free(struct marks *marks);

#endif
