/*
 * The store as hybrid-image writes it. What a command makes first lies in a directory of its own,
 * <store>/tmp/<random>, locked while the command lives; commit renames it into place under the
 * store's lock. A directory there that nobody locks is what a killed command left: it is removed.
 */
#ifndef HYBRID_STAGING_H
#define HYBRID_STAGING_H

#include <stdbool.h>
#include <sys/types.h>

#include "error.h"

struct store {
    const char *path;
    int fd;        /* <store> */
    int blobs_fd;  /* <store>/blobs/sha256 */
    int layers_fd; /* <store>/layers */
    int index_fd;  /* <store>/index */
    int images_fd; /* <store>/images */
    int tmp_fd;    /* <store>/tmp */
};

struct staging {
    const struct store *store;
    char name[32]; /* below <store>/tmp */
    int fd;        /* holds the lock */
};

/* Opens the store and makes it if need be. Returns 0, or -1 with *err. */
int store_open(const char *path, struct store *store, struct error *err);
void store_close(struct store *store);

/*
 * Opens a directory of the store, and makes it if need be: then *made, and the caller syncs it. A
 * symbolic link in the store is none. Returns it, or -1 with *err.
 */
int store_make_directory(const struct store *store, int dir_fd, const char *name, bool *made,
                         struct error *err);

/* The same, and syncs what it made. */
int store_open_directory(const struct store *store, int dir_fd, const char *name,
                         struct error *err);

/* Takes the lock under which the store changes. Close the result to release it. -1 with *err. */
int store_lock(const struct store *store, struct error *err);

/*
 * Makes a staging directory and removes those that killed commands left. *swept: there were some,
 * so the store may hold blobs that no image uses. Returns 0, or -1 with *err.
 */
int staging_begin(const struct store *store, struct staging *staging, bool *swept,
                  struct error *err);

/*
 * Calls visit for all that killed commands left in <store>/tmp, until it returns -1. The store's
 * lock is held, so that nothing is being made meanwhile. Returns 0, or -1 with *err.
 */
int staging_visit_left(const struct store *store,
                       int (*visit)(void *context, const char *name, struct error *err),
                       void *context, struct error *err);

/* Removes such a thing. Returns 0, or -1 with *err. */
int staging_remove_left(const struct store *store, const char *name, struct error *err);

/*
 * Gives the file `name` of a directory of the store a second name, the same, in the staging
 * directory: it stays there even if the store loses it before commit, which then puts it back.
 * 1: done, 0: the store has no such file, -1: *err.
 */
int staging_hold(const struct staging *staging, int dir_fd, const char *name, struct error *err);

/* Says why the file `name` of the store could not be given a further name. Returns -1. */
int store_refuse_link(const char *name, int errnum, struct error *err);

/* Removes the staging directory with all it holds. */
int staging_end(struct staging *staging, struct error *err);

/*
 * For a child of `parent`, right after fork: to be killed when the parent dies. Exits at once if it
 * has died already, which prctl(2) cannot tell.
 */
void staging_die_with(pid_t parent);

/* The same where the parent may be in another pid namespace: fd is a pipe whose other end only it
 * holds. */
void staging_die_with_holder(int fd);

/* Removes name below dir_fd, whatever it is, without following links. 0, or -1 with errno. */
int tree_remove(int dir_fd, const char *name);

#endif
