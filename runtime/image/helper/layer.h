/* One layer: from the blob as received to the EROFS file named by its diff id. */
#ifndef HYBRID_LAYER_H
#define HYBRID_LAYER_H

#include "runtime/image/helper/blob.h"

enum {
    /* A layer may unpack to so many times its size (gzip reaches 1,032 with zeros) ... */
    LAYER_MAX_RATIO = 250,
};
/* ... once it is larger than this; and never to more than that. */
#define LAYER_RATIO_FREE_BYTES (1LL << 30)
#define LAYER_MAX_BYTES        (80LL << 30) /* of the uncompressed archive */

/* Tells how far the conversion is: bytes of the blob that have been read. */
struct layer_progress {
    void (*report)(void *context, int64_t bytes);
    void *context;
};

/*
 * Unpacks blob (a tar: plain, gzip or zstd, recognised by its content), verifies its diff id and
 * makes <staging>/<diff_id>.erofs, synced. Returns 0, or -1 with *err.
 */
int layer_convert(const struct staging *staging, const struct blob *blob, const char *diff_id,
                  const struct layer_progress *progress, struct error *err);

/*
 * Computes the diff id of a layer: the digest of what the blob holds, decompressed. Returns 0, or
 * -1 with *err.
 */
int layer_find_diff_id(const struct staging *staging, const struct blob *blob,
                       char diff_id[STORE_DIGEST_HEX + 1], struct error *err);

/*
 * Does the store have the layer converted already? Then it is kept from being lost. 1: it has,
 * 0: not, -1: *err.
 */
int layer_find(const struct staging *staging, const char *diff_id, struct error *err);

/* The name of a layer's file below <store>/layers and in the staging directory. */
void layer_file_name(const char *diff_id, char name[STORE_DIGEST_HEX + 8]);

#endif
