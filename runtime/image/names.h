/*
 * From an image to its names: <store>/images/<image id>/<manifest>/<file name of an index entry>.
 * The index is the truth, and this the way back, which saves reading all of it. Whoever changes
 * the store by other means (an earlier version of hybrid, a restored backup) does not keep it: that
 * shows, and then the whole index is read.
 */
#ifndef HYBRID_NAMES_H
#define HYBRID_NAMES_H

#include <sys/stat.h>

#include "index.h"

/* The seconds of the lock's time while a change is being made: no change was then. */
enum { NAMES_CHANGING = 0 };

/*
 * Is what is below <store>/images as the index says? lock: status of <store>/lock, index: of
 * <store>/index. The lock is another name of images/lock, which it would not be in a copy whose
 * hard links are files of their own; and its time of modification is when the index changed last
 * (st_ctime, which nobody can set: touch, tar and rsync make other times alike), unless a change is
 * being made, or was broken off, or was made by who does not know of this. Such a one stays
 * unnoticed only if he changes the index within the tick of the file system's clock in which it was
 * changed last: some milliseconds, and none where the kernel tells changes apart (Linux 6.13).
 */
bool names_are_kept(const struct stat *lock, const struct stat *index);

/* The same, of a store by its path, as far as a look without its lock can tell. */
bool names_are_kept_in(const char *store_dir);

/* Is the name of a file in an image's directory that of an index entry, not of a blob or layer? */
bool names_is_one(const char *file_name);

/*
 * The index entries of all names of an image, and the one that it has if it has none; sorted.
 * id: 64 hex digits. An image that is not there has none. kept: names_are_kept_in(), or were before
 * the caller, who has the lock, began to change them; if not, the whole index is read. Returns 0,
 * or -1 with *err.
 */
int names_of_image(const char *store_dir, const char *id, bool kept, struct index_list *list,
                   struct error *err);

/*
 * The only image whose id begins with `prefix`. 1: *id is it, 0: there is none, -1: *err: there are
 * several. Only of use where names_are_kept_in().
 */
int names_find_id(const char *store_dir, const char *prefix, char id[STORE_DIGEST_HEX + 1],
                  struct error *err);

#endif
