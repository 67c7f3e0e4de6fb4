/*
 * The image store as the start path reads it: one index entry and one configuration per image, no
 * growth with the number of images. Everything that writes the store is in hybrid-image (helper/).
 *
 *   <data>/store/blobs/sha256/<hex>     OCI blobs: manifests, configurations, layers as received
 *   <data>/store/layers/<hex>.erofs     one read-only EROFS file per layer, named by its diff id
 *   <data>/store/index/<escaped name>   one file per reference: the digest of its manifest
 *   <data>/store/images/<id>/<hex>/     one directory per image, by its manifest: hard links to its
 *                                       blobs and layers, which tell what removing it frees
 *                                       (helper/links.h), and its names (names.h)
 *   <data>/store/signatures/<hex>       keys whose signature of the manifest was verified
 *   <data>/store/tmp/, lock             of those that write it (helper/staging.h)
 */
#ifndef HYBRID_STORE_H
#define HYBRID_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"

enum { STORE_DIGEST_HEX = 64 };

struct store_image {
    char *reference;                     /* as resolved: docker.io/library/busybox:latest */
    bool pulled;                         /* from there, as index_entry has it */
    char manifest[STORE_DIGEST_HEX + 1]; /* hex of the manifest's sha256 */
    char id[STORE_DIGEST_HEX + 1];       /* hex of the configuration's sha256: the image id */
    json_t *config;                      /* OCI image configuration */
    char **layer_files;                  /* absolute paths of EROFS files, lowest first */
    char **layer_ids;                    /* hex of their diff ids, same order */
    size_t layer_count;
};

/*
 * Resolves a name (short name, reference, or image id prefix) and reads the image.
 * store_dir: <data>/store. Returns 0, or -1 with *err: exit code 125, "no such image" names the
 * nearest remedy.
 */
int store_open_image(const char *store_dir, const char *name, struct store_image *image,
                     struct error *err);

/* The same, but returns 1 with the image, and 0 if there is no such image (*err says so). */
int store_find_image(const char *store_dir, const char *name, struct store_image *image,
                     struct error *err);
void store_image_free(struct store_image *image);

/*
 * As store_open_image, and loads the embedded image (<exe_dir>/images/busybox.tar, by running
 * hybrid-image) when `name` means it and the store does not have it yet. root: where workloads are,
 * whose layers stay. Returns 1, 0 if there is no such image (*err says so), or -1 with *err.
 */
int store_open_image_or_embedded(const char *store_dir, const char *root, const char *exe_dir,
                                 const char *name, struct store_image *image, struct error *err);

/* Does `name` mean the embedded image? */
bool store_name_is_embedded(const char *name);

/*
 * Loads the embedded image into a store that has never been used, so that a listing shows it.
 * root: as above. Returns 0, or -1 with *err.
 */
int store_prepare_embedded(const char *store_dir, const char *root, const char *exe_dir,
                           struct error *err);

/*
 * Normalises a reference as Docker does: "busybox" -> "docker.io/library/busybox:latest".
 * Returns a malloc'd string, or NULL with *err naming what is wrong.
 */
char *reference_normalize(const char *text, struct error *err);

/*
 * The short form in which a normalised reference is shown: "busybox:latest". Borrowed from it.
 */
const char *reference_familiar(const char *reference);

#endif
