/*
 * Images on their way into the store: described by an OCI layout (index.json) or by the
 * manifest.json of a docker-archive, brought into one form, with every blob received and verified.
 * Specifications: OCI image-spec 1.1; Docker image-spec 1.2 (the combined image JSON).
 */
#ifndef HYBRID_INCOMING_H
#define HYBRID_INCOMING_H

#include <jansson.h>

#include "machine.h"
#include "runtime/image/helper/source.h"
#include "runtime/image/platform.h"

enum {
    INCOMING_MAX_IMAGES = 256,
    INCOMING_MAX_LAYERS = MACHINE_MAX_DISK_FILES - 1, /* the first is the guest's own root */
    INCOMING_MAX_NAMES = 64,
};

struct incoming_layer {
    char diff_id[STORE_DIGEST_HEX + 1];
    struct blob blob;
};

struct incoming_image {
    char *names[INCOMING_MAX_NAMES]; /* normalised references */
    size_t name_count;
    struct blob manifest, config;
    char *created; /* NULL: the configuration does not say */
    bool pulled;   /* its names are what remote->vouched was true for */
    struct incoming_layer *layers;
    size_t layer_count;
};

struct incoming {
    struct incoming_image images[INCOMING_MAX_IMAGES];
    size_t count;
};

/* Reads all images of source, whichever format it has. Returns 0, or -1 with *err. */
int incoming_read(struct source *source, struct incoming *incoming, struct error *err);
void incoming_free(struct incoming *incoming);

/* The two formats; used by incoming_read. */
int oci_read(struct source *source, struct incoming *incoming, struct error *err);
int docker_read(struct source *source, struct incoming *incoming, struct error *err);

/* Appends an empty image. NULL with *err when there are too many. */
struct incoming_image *incoming_add(struct incoming *incoming, struct error *err);

/* Adds a name (normalised here; once). Returns 0, or -1 with *err. */
int incoming_add_name(struct incoming_image *image, const char *name, struct error *err);

/*
 * Checks image->config, an image configuration that has been received, and takes the diff ids of
 * its layers and its time from it. It must be for `platform`. layer_count: layers of the manifest.
 * Returns 0, or -1 with *err.
 */
int incoming_read_config(const struct staging *staging, const struct platform *platform,
                         struct incoming_image *image, size_t layer_count, struct error *err);

/*
 * Writes image->manifest, an OCI manifest of its configuration and layers, which have been
 * received. Returns 0, or -1 with *err.
 */
int manifest_make(const struct staging *staging, struct incoming_image *image, struct error *err);

#endif
