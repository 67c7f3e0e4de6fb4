/* Making the links of links.h anew, from the index: for stores that have none, or wrong ones. */
#ifndef HYBRID_REBUILD_H
#define HYBRID_REBUILD_H

#include "runtime/image/helper/links.h"

/*
 * Makes the directories of all images, and what is kept for workloads, as they should be, and
 * nothing else; then the links can be relied upon. list: the whole index, and all images in it are
 * readable. Nothing is removed but links. Returns 0, or -1 with *err.
 */
int rebuild_links(const struct store *store, int lock, const struct index_list *list,
                  const struct users *users, struct error *err);

#endif
