#include "runtime/image/helper/incoming.h"

#include <string.h>

#include "cleanup.h"
#include "runtime/image/document.h"

int incoming_read(struct source *source, struct incoming *incoming, struct error *err)
{
    /* docker save since version 25 writes both; its OCI half carries the digests. */
    if (source_has(source, "index.json") && source_has(source, "oci-layout"))
        return oci_read(source, incoming, err);
    if (source_has(source, "manifest.json"))
        return docker_read(source, incoming, err);
    return error_set(err, EXIT_OURS,
                     "%s is neither an OCI layout (oci-layout and index.json are missing) nor a "
                     "docker-archive (manifest.json is missing)",
                     source->path);
}

void incoming_free(struct incoming *incoming)
{
    for (size_t i = 0; i < incoming->count; i++) {
        struct incoming_image *image = &incoming->images[i];
        for (size_t n = 0; n < image->name_count; n++)
            free(image->names[n]);
        free(image->created);
        free(image->layers);
    }
    incoming->count = 0;
}

struct incoming_image *incoming_add(struct incoming *incoming, struct error *err)
{
    if (incoming->count == INCOMING_MAX_IMAGES) {
        error_set(err, EXIT_OURS, "the archive holds more than %d images", INCOMING_MAX_IMAGES);
        return NULL;
    }
    struct incoming_image *image = &incoming->images[incoming->count++];
    *image = (struct incoming_image){ 0 };
    return image;
}

int incoming_add_name(struct incoming_image *image, const char *name, struct error *err)
{
    _cleanup_free_ char *reference = reference_normalize(name, err);
    if (!reference)
        return -1;
    if (strchr(reference, '@'))
        return error_set(err, EXIT_OURS, "%s names an image by digest; give it a tag", reference);
    for (size_t i = 0; i < image->name_count; i++)
        if (strcmp(image->names[i], reference) == 0)
            return 0;
    if (image->name_count == INCOMING_MAX_NAMES)
        return error_set(err, EXIT_OURS, "an image has more than %d names", INCOMING_MAX_NAMES);
    image->names[image->name_count++] = take_pointer(&reference);
    return 0;
}

/* What `run` will read must have the right types; refuse it here rather than there. */
static int check_process(const json_t *config, const char *what, struct error *err)
{
    static const char *const lists[] = { "Env", "Entrypoint", "Cmd", "Shell", "OnBuild" };
    static const char *const words[] = { "User", "WorkingDir", "StopSignal", "Hostname" };
    static const char *const maps[] = { "Labels", "Volumes", "ExposedPorts" };
    const json_t *process;
    const json_t *map;
    const char *word;
    if (document_get_object(config, "config", what, &process, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (document_check_strings(process, lists[i], what, err) < 0)
            return -1;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (document_get_string(process, words[i], what, &word, err) < 0)
            return -1;
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        if (document_get_object(process, maps[i], what, &map, err) < 0)
            return -1;
    return 0;
}

static int take_diff_ids(const json_t *config, const char *what, struct incoming_image *image,
                         size_t layer_count, struct error *err)
{
    const json_t *rootfs;
    const json_t *diff_ids = NULL;
    if (document_get_object(config, "rootfs", what, &rootfs, err) < 0 ||
        document_get_array(rootfs, "diff_ids", what, &diff_ids, err) < 0 ||
        document_check_strings(rootfs, "diff_ids", what, err) < 0)
        return -1;
    size_t count = json_array_size(diff_ids);
    if (count != layer_count)
        return error_set(err, EXIT_OURS, "%s names %zu layers, the manifest %zu", what, count,
                         layer_count);
    if (count == 0)
        return error_set(err, EXIT_OURS, "the image has no layers: there is nothing to run");
    if (count > INCOMING_MAX_LAYERS)
        return error_set(err, EXIT_OURS,
                         "the image has %zu layers, and at most %d can be used; squash it, for "
                         "example with buildah commit --squash",
                         count, INCOMING_MAX_LAYERS);
    image->layers = calloc(count, sizeof *image->layers);
    if (!image->layers)
        return error_set(err, EXIT_OURS, "out of memory");
    image->layer_count = count;
    for (size_t i = 0; i < count; i++) {
        const char *hex = digest_hex(json_string_value(json_array_get(diff_ids, i)));
        if (!hex)
            return error_set(err, EXIT_OURS, "%s: diff id %zu is not a sha256 digest", what, i + 1);
        memcpy(image->layers[i].diff_id, hex, sizeof image->layers[i].diff_id);
    }
    return 0;
}

int incoming_read_config(const struct staging *staging, const struct platform *platform,
                         struct incoming_image *image, size_t layer_count, struct error *err)
{
    static const char what[] = "image configuration";
    const char *created;
    _cleanup_free_ char *text = blob_read_text(staging, &image->config, what, err);
    _cleanup_json_ json_t *config =
        text ? document_parse(text, (size_t)image->config.size, what, err) : NULL;
    if (!config)
        return -1;
    if (!json_is_object(config))
        return error_set(err, EXIT_OURS, "%s is not a JSON object", what);
    if (platform_check(platform, config, what, err) < 0 || check_process(config, what, err) < 0 ||
        document_get_string(config, "created", what, &created, err) < 0 ||
        take_diff_ids(config, what, image, layer_count, err) < 0)
        return -1;
    image->created = created ? strndup(created, 64) : NULL;
    return 0;
}
