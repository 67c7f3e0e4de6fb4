/*
 * docker-archive, as docker save and skopeo write it: manifest.json names a configuration and layer
 * files. It has no OCI manifest, so one is written: always the same for the same content.
 */
#include <string.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/incoming.h"

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
    return manifest_make(source->staging, image, err);
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
