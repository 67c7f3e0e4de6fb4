/*
 * docker-archive, as docker save and skopeo write it: manifest.json names a configuration and layer
 * files. It has no OCI manifest, so one is written: always the same for the same content.
 */
#include <inttypes.h>
#include <string.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/incoming.h"

struct text_source {
    const char *text;
    size_t length;
};

static ssize_t read_text(void *context, void *data, size_t size, struct error *err)
{
    (void)err;
    struct text_source *text = context;
    size_t length = text->length < size ? text->length : size;
    memcpy(data, text->text, length);
    text->text += length;
    text->length -= length;
    return (ssize_t)length;
}

/* The media type of a layer by its first bytes (RFC 1952, RFC 8878). Returns NULL with *err. */
static const char *find_layer_type(const struct source *source, const struct blob *blob,
                                   struct error *err)
{
    unsigned char magic[4] = { 0 };
    _cleanup_close_ int fd = blob_open(source->staging, blob, err);
    if (fd < 0)
        return NULL;
    if (io_read_all(fd, magic, sizeof magic) < 0) {
        error_set_errno(err, EXIT_OURS, errno, "cannot read blob sha256:%s", blob->hex);
        return NULL;
    }
    if (magic[0] == 0x1f && magic[1] == 0x8b)
        return "application/vnd.oci.image.layer.v1.tar+gzip";
    if (memcmp(magic, "\x28\xb5\x2f\xfd", sizeof magic) == 0)
        return "application/vnd.oci.image.layer.v1.tar+zstd";
    return "application/vnd.oci.image.layer.v1.tar";
}

static json_t *make_descriptor(const char *media_type, const struct blob *blob)
{
    char digest[sizeof "sha256:" + STORE_DIGEST_HEX];
    (void)snprintf(digest, sizeof digest, "sha256:%s", blob->hex);
    return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest", digest, "size",
                     (json_int_t)blob->size);
}

static int make_manifest(const struct source *source, struct incoming_image *image,
                         struct error *err)
{
    _cleanup_json_ json_t *layers = json_array();
    for (size_t i = 0; i < image->layer_count; i++) {
        const char *type = find_layer_type(source, &image->layers[i].blob, err);
        if (!type)
            return -1;
        if (json_array_append_new(layers, make_descriptor(type, &image->layers[i].blob)) < 0)
            return error_set(err, EXIT_OURS, "out of memory");
    }
    _cleanup_json_ json_t *manifest =
        json_pack("{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType",
                  "application/vnd.oci.image.manifest.v1+json", "config",
                  make_descriptor("application/vnd.oci.image.config.v1+json", &image->config),
                  "layers", layers);
    _cleanup_free_ char *text = manifest ? json_dumps(manifest, JSON_COMPACT) : NULL;
    if (!text)
        return error_set(err, EXIT_OURS, "out of memory");
    struct text_source context = { text, strlen(text) };
    struct byte_source bytes = { read_text, &context };
    return blob_receive(source->staging, &bytes, NULL, DOCUMENT_MAX_BYTES, "manifest",
                        &image->manifest, err);
}

static int read_image(struct source *source, const json_t *entry, struct incoming_image *image,
                      struct error *err)
{
    static const char what[] = "manifest.json";
    const char *config;
    const json_t *layers;
    const json_t *tags;
    const struct platform host = platform_host();
    if (document_get_string(entry, "Config", what, &config, err) < 0 ||
        document_get_array(entry, "Layers", what, &layers, err) < 0 ||
        document_check_strings(entry, "Layers", what, err) < 0 ||
        document_get_array(entry, "RepoTags", what, &tags, err) < 0 ||
        document_check_strings(entry, "RepoTags", what, err) < 0)
        return -1;
    if (!config)
        return error_set(err, EXIT_OURS, "%s: \"Config\" is missing", what);
    for (size_t i = 0; i < json_array_size(tags); i++)
        if (incoming_add_name(image, json_string_value(json_array_get(tags, i)), err) < 0)
            return -1;
    if (source_get(source, config, NULL, -1, &image->config, err) < 0 ||
        incoming_read_config(source->staging, &host, image, json_array_size(layers), err) < 0)
        return -1;
    for (size_t i = 0; i < image->layer_count; i++)
        if (source_get(source, json_string_value(json_array_get(layers, i)), NULL, -1,
                       &image->layers[i].blob, err) < 0)
            return -1;
    return make_manifest(source, image, err);
}

int docker_read(struct source *source, struct incoming *incoming, struct error *err)
{
    struct blob blob;
    if (source_get(source, "manifest.json", NULL, -1, &blob, err) < 0)
        return -1;
    _cleanup_free_ char *text = blob_read_text(source->staging, &blob, "manifest.json", err);
    _cleanup_json_ json_t *manifests =
        text ? document_parse(text, (size_t)blob.size, "manifest.json", err) : NULL;
    if (!manifests)
        return -1;
    if (!json_is_array(manifests) || json_array_size(manifests) == 0)
        return error_set(err, EXIT_OURS, "manifest.json is not an array of images");
    for (size_t i = 0; i < json_array_size(manifests); i++) {
        struct incoming_image *image = incoming_add(incoming, err);
        if (!image || read_image(source, json_array_get(manifests, i), image, err) < 0)
            return -1;
    }
    return 0;
}
