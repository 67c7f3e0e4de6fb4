/* Puts what has been received and converted into the store, and names it. */
#ifndef HYBRID_COMMIT_H
#define HYBRID_COMMIT_H

#include "runtime/image/helper/incoming.h"

/*
 * Moves blobs and layers of all images into place and writes their index entries, the entries
 * last. Takes the store's lock. Returns 0, or -1 with *err.
 */
int commit_images(const struct staging *staging, const struct incoming *incoming,
                  struct error *err);

/*
 * Gives the image `name` another name: reference, normalised. An image that loses it, and has no
 * other, stays under its id. Takes the store's lock. Returns 0, or -1 with *err.
 */
int commit_tag(const struct store *store, const char *name, const char *reference,
               struct error *err);

#endif
