/*
 * The index of the store: one small file per reference, <store>/index/<name>, so that the start
 * path reads exactly one. Its JSON carries what a listing needs. An image without a reference has
 * the file "@<manifest hex>".
 */
#ifndef HYBRID_INDEX_H
#define HYBRID_INDEX_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "store.h"

enum {
    INDEX_MAX_REFERENCE = 250, /* bytes: with a temporary suffix it must be a file name */
    INDEX_MIN_ID = 4,          /* fewest hex digits of an id prefix */
};

struct index_entry {
    char *reference; /* NULL: the image has no name */
    char manifest[STORE_DIGEST_HEX + 1];
    char config[STORE_DIGEST_HEX + 1];
    int64_t size;  /* bytes of its layers, unpacked as EROFS files */
    char *created; /* RFC 3339 as the configuration says; NULL: it does not */
    bool pulled;   /* a registry that the system vouches for gave this content that name */
};

struct index_list {
    struct index_entry *entries; /* sorted by reference; those without one last */
    size_t count, room;
};

/*
 * Writes the file name of an entry: `reference` with "/" as "%" (no reference contains one), or
 * "@<manifest>" where it is NULL.
 */
void index_file_name(const char *reference, const char *manifest, char name[NAME_MAX + 1]);

/* Opens <store>/index. -1 with *err, and *missing set where there is no store yet. */
int index_open(const char *store_dir, bool *missing, struct error *err);

/* Reads one entry by its file name. 1: found, 0: no such file, -1: *err. */
int index_read(int index_fd, const char *file_name, struct index_entry *entry, struct error *err);
void index_entry_free(struct index_entry *entry);

/* Reads all entries. A store that does not exist yet has none. Returns 0, or -1 with *err. */
int index_list(const char *store_dir, struct index_list *list, struct error *err);

/* Reads those of images without a name, and no others. The same. */
int index_list_unnamed(const char *store_dir, struct index_list *list, struct error *err);

/* Adds an entry, which is taken over, or freed on failure. Returns 0, or -1 with *err. */
int index_list_add(struct index_list *list, struct index_entry *entry, struct error *err);
void index_list_sort(struct index_list *list);
void index_list_free(struct index_list *list);

/*
 * Resolves a name: a reference (short names mean docker.io/library/NAME, then localhost/NAME), a
 * digest reference, or a unique prefix of an image id. 1: found, 0: no such image, or no image
 * can be called so (*err says which, with the remedy), -1: the store cannot be read (*err). exact
 * (optional): set when the name was a reference and not an id.
 */
int index_find(const char *store_dir, const char *name, struct index_entry *entry, bool *exact,
               struct error *err);

/* Says that an id prefix begins more than one id. Returns -1. */
int index_refuse_prefix(const char *prefix, const char *one, const char *other, struct error *err);

/* Is text 64 lower-case hex digits? */
bool digest_is_hex(const char *text);

/* The hex part of "sha256:<64 hex digits>", borrowed, or NULL. */
const char *digest_hex(const char *digest);

#endif
