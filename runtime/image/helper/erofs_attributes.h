/* Extended attributes of an archive's entry, as an EROFS inode holds them. */
#ifndef HYBRID_EROFS_ATTRIBUTES_H
#define HYBRID_EROFS_ATTRIBUTES_H

#include <archive.h>
#include <archive_entry.h>

#include "error.h"
#include "runtime/image/helper/tree.h"

/*
 * Sets inode's attributes to those of entry, but for those that do not belong to the file:
 * overlayfs' own describe the overlay of whoever built the image, SELinux labels its host's policy.
 * Returns 0, or -1 with *err, which names the attribute but not the entry.
 */
int erofs_set_attributes(struct tree *tree, struct tree_inode *inode, struct archive_entry *entry,
                         struct error *err);

/* Adds the attribute `name`, of value "y". Returns 0, or -1 with errno. */
int erofs_mark(struct tree *tree, struct tree_inode *inode, const char *name);

#endif
