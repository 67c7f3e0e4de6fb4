#include "runtime/image/helper/descriptor.h"

#include "runtime/image/document.h"
#include "runtime/image/index.h"

const char *const media_index_types[] = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json", NULL
};
const char *const media_manifest_types[] = { "application/vnd.oci.image.manifest.v1+json",
                                             "application/vnd.docker.distribution.manifest.v2+json",
                                             NULL };
const char *const media_config_types[] = { "application/vnd.oci.image.config.v1+json",
                                           "application/vnd.docker.container.image.v1+json", NULL };
const char *const media_layer_types[] = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    NULL
};

bool media_is_listed(const char *type, const char *const *types)
{
    for (; type && *types; types++)
        if (strcmp(type, *types) == 0)
            return true;
    return false;
}

int descriptor_parse(const json_t *value, const char *what, struct descriptor *descriptor,
                     struct error *err)
{
    const char *digest;
    char printable[100];
    if (!json_is_object(value)) {
        (void)error_set(err, EXIT_OURS, "%s: a descriptor is missing or not an object", what);
        return -1;
    }
    if (document_get_string(value, "mediaType", what, &descriptor->media_type, err) < 0 ||
        document_get_string(value, "digest", what, &digest, err) < 0 ||
        document_get_object(value, "annotations", what, &descriptor->annotations, err) < 0 ||
        document_get_object(value, "platform", what, &descriptor->platform, err) < 0)
        return -1;
    descriptor->hex = digest ? digest_hex(digest) : NULL;
    if (!descriptor->hex) {
        (void)error_set(err, EXIT_OURS, "%s: \"%s\" is not a sha256 digest", what,
                        document_printable(digest ? digest : "", printable, sizeof printable));
        return -1;
    }
    const json_t *size = json_object_get(value, "size");
    descriptor->size = json_is_integer(size) ? json_integer_value(size) : -1;
    if (descriptor->size < 0)
        return error_set(err, EXIT_OURS, "%s: the size of sha256:%.12s is missing or negative",
                         what, descriptor->hex);
    return 0;
}

int descriptor_refuse_type(const struct descriptor *descriptor, const char *what, struct error *err)
{
    char printable[150];
    return error_set(err, EXIT_OURS, "%s sha256:%.12s has the unknown media type \"%s\"", what,
                     descriptor->hex,
                     document_printable(descriptor->media_type ? descriptor->media_type : "",
                                        printable, sizeof printable));
}

int manifest_parse(const json_t *manifest, const char *type, struct descriptor *config,
                   const json_t **layers, struct error *err)
{
    const char *own_type;
    char printable[150];
    if (document_get_string(manifest, "mediaType", "manifest", &own_type, err) < 0)
        return -1;
    type = own_type ? own_type : type;
    if (type && !media_is_listed(type, media_manifest_types))
        return error_set(err, EXIT_OURS, "the manifest is none of an image: its type is \"%s\"",
                         document_printable(type, printable, sizeof printable));
    if (descriptor_parse(json_object_get(manifest, "config"), "manifest", config, err) < 0 ||
        document_get_array(manifest, "layers", "manifest", layers, err) < 0)
        return -1;
    if (!media_is_listed(config->media_type, media_config_types))
        return descriptor_refuse_type(config, "configuration", err);
    return 0;
}

int manifest_parse_layer(const json_t *layers, size_t position, struct descriptor *layer,
                         struct error *err)
{
    if (descriptor_parse(json_array_get(layers, position), "manifest", layer, err) < 0)
        return -1;
    return media_is_listed(layer->media_type, media_layer_types)
               ? 0
               : descriptor_refuse_type(layer, "layer", err);
}
