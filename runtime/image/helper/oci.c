/* OCI layouts: index.json -> (index ->) manifest -> configuration and layers. */
#include <inttypes.h>
#include <string.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/descriptor.h"
#include "runtime/image/helper/incoming.h"

enum { MAX_NESTING = 4, PATH_SIZE = sizeof "blobs/sha256/" + STORE_DIGEST_HEX };

static int get_blob(struct source *source, const struct descriptor *descriptor, struct blob *blob,
                    struct error *err)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "blobs/sha256/%s", descriptor->hex);
    return source_get(source, path, descriptor->hex, descriptor->size, blob, err);
}

static json_t *get_document(struct source *source, const struct descriptor *descriptor,
                            const char *what, struct blob *blob, struct error *err)
{
    if (get_blob(source, descriptor, blob, err) < 0)
        return NULL;
    _cleanup_free_ char *text = blob_read_text(source->staging, blob, what, err);
    return text ? document_parse(text, (size_t)blob->size, what, err) : NULL;
}

static int read_layers(struct source *source, const json_t *layers, struct incoming_image *image,
                       struct error *err)
{
    for (size_t i = 0; i < image->layer_count; i++) {
        struct descriptor layer;
        if (manifest_parse_layer(layers, i, &layer, err) < 0 ||
            get_blob(source, &layer, &image->layers[i].blob, err) < 0)
            return -1;
    }
    return 0;
}

static int read_manifest(struct source *source, const struct descriptor *descriptor,
                         struct incoming_image *image, struct error *err)
{
    struct descriptor config;
    const json_t *layers;
    const struct platform host = platform_host();
    _cleanup_json_ json_t *manifest =
        get_document(source, descriptor, "manifest", &image->manifest, err);
    if (!manifest || manifest_parse(manifest, NULL, &config, &layers, err) < 0 ||
        get_blob(source, &config, &image->config, err) < 0 ||
        incoming_read_config(source->staging, &host, image, json_array_size(layers), err) < 0)
        return -1;
    return read_layers(source, layers, image, err);
}

/*
 * containerd writes the full name; podman and skopeo write what they were given into ref.name. The
 * specification means a tag there, and a mere "latest" (umoci) says nothing of the name.
 */
static const char *find_name(const struct descriptor *descriptor)
{
    const json_t *annotations = descriptor->annotations;
    const char *full = json_string_value(json_object_get(annotations, "io.containerd.image.name"));
    const char *name =
        json_string_value(json_object_get(annotations, "org.opencontainers.image.ref.name"));
    if (full)
        return full;
    return name && *name && strcmp(name, "latest") != 0 ? name : NULL;
}

struct walk {
    struct source *source;
    struct incoming *incoming;
    size_t skipped; /* manifests for other platforms */
};

static int read_index(struct walk *walk, const json_t *index, const char *name, int nesting,
                      struct error *err);

/* One descriptor of an index. name: given by the descriptor above, or NULL. */
static int read_entry(struct walk *walk, const struct descriptor *entry, bool choice,
                      const char *name, int nesting, struct error *err)
{
    const char *own_name = find_name(entry);
    if (own_name)
        name = own_name;
    if (media_is_listed(entry->media_type, media_index_types)) {
        struct blob blob;
        _cleanup_json_ json_t *index = get_document(walk->source, entry, "index", &blob, err);
        return index ? read_index(walk, index, name, nesting + 1, err) : -1;
    }
    if (!media_is_listed(entry->media_type, media_manifest_types))
        return descriptor_refuse_type(entry, "index entry", err);
    const struct platform host = platform_host();
    /* Where an index offers a choice, an entry for another platform is not meant. */
    if (choice && entry->platform && !platform_matches(&host, entry->platform)) {
        walk->skipped++;
        return 0;
    }
    for (size_t i = 0; i < walk->incoming->count; i++) /* the same image under another name */
        if (strcmp(walk->incoming->images[i].manifest.hex, entry->hex) == 0)
            return name ? incoming_add_name(&walk->incoming->images[i], name, err) : 0;
    struct incoming_image *image = incoming_add(walk->incoming, err);
    if (!image || (name && incoming_add_name(image, name, err) < 0))
        return -1;
    return read_manifest(walk->source, entry, image, err);
}

static int read_index(struct walk *walk, const json_t *index, const char *name, int nesting,
                      struct error *err)
{
    const json_t *manifests;
    if (nesting > MAX_NESTING)
        return error_set(err, EXIT_OURS, "indexes nest deeper than %d", MAX_NESTING);
    if (document_get_array(index, "manifests", "index", &manifests, err) < 0)
        return -1;
    size_t count = json_array_size(manifests);
    for (size_t i = 0; i < count; i++) {
        struct descriptor entry;
        if (descriptor_parse(json_array_get(manifests, i), "index", &entry, err) < 0 ||
            read_entry(walk, &entry, count > 1, name, nesting, err) < 0)
            return -1;
    }
    return 0;
}

static int check_version(struct source *source, struct error *err)
{
    struct blob blob;
    const char *version;
    if (source_get(source, "oci-layout", NULL, -1, &blob, err) < 0)
        return -1;
    _cleanup_free_ char *text = blob_read_text(source->staging, &blob, "oci-layout", err);
    _cleanup_json_ json_t *layout =
        text ? document_parse(text, (size_t)blob.size, "oci-layout", err) : NULL;
    if (!layout ||
        document_get_string(layout, "imageLayoutVersion", "oci-layout", &version, err) < 0)
        return -1;
    if (!version || strncmp(version, "1.", 2) != 0)
        return error_set(err, EXIT_OURS, "%s: its imageLayoutVersion is not 1.0.0", source->path);
    return 0;
}

int oci_read(struct source *source, struct incoming *incoming, struct error *err)
{
    struct blob blob;
    if (check_version(source, err) < 0 ||
        source_get(source, "index.json", NULL, -1, &blob, err) < 0)
        return -1;
    _cleanup_free_ char *text = blob_read_text(source->staging, &blob, "index.json", err);
    _cleanup_json_ json_t *index =
        text ? document_parse(text, (size_t)blob.size, "index.json", err) : NULL;
    struct walk walk = { source, incoming, 0 };
    if (!index || read_index(&walk, index, NULL, 0, err) < 0)
        return -1;
    if (incoming->count == 0)
        return error_set(err, EXIT_OURS, "%s holds no image%s%s", source->path,
                         walk.skipped ? " for linux/" : "",
                         walk.skipped ? platform_host().architecture : "");
    return 0;
}
