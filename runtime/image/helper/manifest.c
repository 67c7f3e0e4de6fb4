/* Manifests of our own, where the source of an image has none: always the same for the same
 * content. */
#include <string.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/incoming.h"

/* The media type of a layer by its first bytes (RFC 1952, RFC 8878). Returns NULL with *err. */
static const char *find_layer_type(const struct staging *staging, const struct blob *blob,
                                   struct error *err)
{
    unsigned char magic[4] = { 0 };
    _cleanup_close_ int fd = blob_open(staging, blob, err);
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

int manifest_make(const struct staging *staging, struct incoming_image *image, struct error *err)
{
    _cleanup_json_ json_t *layers = json_array();
    for (size_t i = 0; i < image->layer_count; i++) {
        const char *type = find_layer_type(staging, &image->layers[i].blob, err);
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
    struct byte_text context = { text, strlen(text) };
    struct byte_source bytes = { blob_read_text_source, &context };
    return blob_receive(staging, &bytes, NULL, DOCUMENT_MAX_BYTES, "manifest", &image->manifest,
                        err);
}
