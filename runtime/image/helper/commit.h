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

#endif
