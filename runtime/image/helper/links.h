/*
 * Who uses a blob or a layer: hard links tell.
 *
 *   <store>/images/<image id>/<manifest>/     one directory per image, by its manifest:
 *       <hex>, <hex>.erofs                    links to all blobs and layers that it consists of
 *       <file name of an index entry>         empty: a name of the image, see names.h
 *   <store>/images/kept/<hex>.erofs           links to layers that workloads use
 *
 * A blob or layer that is removed from all of these has one link left, its name in the store, and
 * goes. So removing an image costs what it consists of, however much else there is, and the count
 * is the file system's own: nothing can drift from it. Whoever changes the index says so before
 * (links_begin_change) and after (links_end_change); if he did not come to the end, or if somebody
 * changed it who does not know of this, the links are not relied upon until collect_garbage has
 * made them right. All functions want the store's lock; `lock` is what store_lock returned.
 */
#ifndef HYBRID_LINKS_H
#define HYBRID_LINKS_H

#include <stdint.h>
#include <time.h>

#include "runtime/image/helper/staging.h"
#include "runtime/image/helper/users.h"

/* Below <store>/images; neither is an image id. */
#define LINKS_KEPT "kept"
#define LINKS_LOCK "lock" /* the lock's second name: see names_are_kept */

/* Can the links be relied upon? */
bool links_are_right(const struct store *store, int lock);

/* From here on they cannot. Returns 0, or -1 with *err. */
int links_begin_change(const struct store *store, int lock, struct error *err);

/* When the index was changed last, by the time that nobody can set. Returns 0, or -1 with *err. */
int links_last_change(const struct store *store, struct timespec *when, struct error *err);

/*
 * Has anybody changed the directories of an image (64 hex digits) since then? If that is when we
 * last changed the index, what they have is not relied upon: a name in them may have been removed
 * by hand. To be asked before one changes them, of the time before one changed the index: what is
 * changed now is newer than all that others did.
 *
 * It is a help against accidents, and finds what was done since the last change of whichever image:
 * with each pull, tag, rmi or prune that leaves these directories as they are, the index is as of
 * now, and what was done by hand before is not told from what we did. Neither is what is done
 * within the tick of the file system's clock in which the index was changed, as with
 * names_are_kept. `hybrid system check` compares all of them with the index.
 */
bool links_were_touched(const struct store *store, const struct timespec *since, const char *id);

/*
 * From here on they can: if not, as nothing depends on it, they are made anew. From here on counts
 * links_were_touched, for all images.
 */
void links_end_change(const struct store *store, int lock);

/* Opens the directory of an image, and makes it if need be. Returns it, or -1 with *err. */
int links_open_image(const struct store *store, const struct index_entry *image, struct error *err);

/*
 * Links the file `name` of dir_fd, a directory of the store, into that of an image. anew: also if
 * it seems to be there. 1: done, 0: the store has no such file, -1: *err.
 */
int links_add_part(int image_fd, int dir_fd, const char *name, bool anew, struct error *err);

/* Writes the name of an entry into its image's directory. Returns 0, or -1 with *err. */
int links_write_name(int image_fd, const struct index_entry *entry, struct error *err);

/* The same by the store, and syncs it: then the index may have it. */
int links_add_name(const struct store *store, const struct index_entry *entry, struct error *err);

/* Removes the name of an entry from its image alone: the index has it for another. The same. */
int links_forget_name(const struct store *store, const struct index_entry *entry,
                      struct error *err);

/* Removes an index entry, and the name from its image. Returns 0, or -1 with *err. */
int links_remove_name(const struct store *store, const struct index_entry *entry,
                      struct error *err);

/*
 * Removes an image that no name leads to any more, what nobody else uses of it, and who signed it.
 * Layers that workloads use are kept. Adds to *bytes what has been freed. The index has been
 * synced. Returns 0, or -1 with *err: if a name does lead to it, nothing has been removed.
 */
int links_remove_image(const struct store *store, const struct index_entry *image,
                       const struct users *users, int64_t *bytes, struct error *err);

/* Removes what was kept for workloads that are gone, unless an image uses it. The same. */
int links_remove_kept(const struct store *store, const struct users *users, int64_t *bytes,
                      struct error *err);

/* Removes what only a staging directory holds, and what it holds. Returns 0, or -1 with *err. */
int links_release_staging(const struct staging *staging, struct error *err);

/* Is a file of this name a blob (*dir_fd: of the store's blobs) or a layer? */
bool links_find_directory(const struct store *store, const char *name, int *dir_fd);

#endif
