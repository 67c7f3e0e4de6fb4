#include "store.h"

#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "document.h"
#include "index.h"

/*
 * The topmost of equal layers is all that counts: what it holds covers the lower one, entry for
 * entry. overlayfs refuses the same directory twice, so the lower ones are left out.
 */
static bool appears_later(const json_t *diff_ids, size_t position)
{
    const char *wanted = json_string_value(json_array_get(diff_ids, position));
    for (size_t i = position + 1; i < json_array_size(diff_ids); i++)
        if (strcmp(wanted, json_string_value(json_array_get(diff_ids, i))) == 0)
            return true;
    return false;
}

static int add_layer(const char *store_dir, const char *hex, struct store_image *image,
                     struct error *err)
{
    size_t n = image->layer_count;
    image->layer_ids[n] = strdup(hex);
    if (asprintf(&image->layer_files[n], "%s/layers/%s.erofs", store_dir, hex) < 0)
        image->layer_files[n] = NULL;
    image->layer_count++;
    if (!image->layer_ids[n] || !image->layer_files[n])
        return error_set(err, EXIT_OURS, "out of memory");
    if (access(image->layer_files[n], R_OK) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "layer %s of image %s cannot be read; load the image again",
                               image->layer_files[n], image->reference);
    return 0;
}

static int collect_layers(const char *store_dir, struct store_image *image, struct error *err)
{
    const json_t *rootfs;
    const json_t *diff_ids = NULL;
    if (document_get_object(image->config, "rootfs", "image configuration", &rootfs, err) < 0 ||
        document_get_array(rootfs, "diff_ids", "image configuration", &diff_ids, err) < 0 ||
        document_check_strings(rootfs, "diff_ids", "image configuration", err) < 0)
        return -1;
    size_t count = json_array_size(diff_ids);
    image->layer_files = calloc(count + 1, sizeof *image->layer_files);
    image->layer_ids = calloc(count + 1, sizeof *image->layer_ids);
    if (!image->layer_files || !image->layer_ids)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const char *hex = digest_hex(json_string_value(json_array_get(diff_ids, i)));
        if (!hex)
            return error_set(err, EXIT_OURS, "image %s: a diff id is malformed", image->reference);
        if (!appears_later(diff_ids, i) && add_layer(store_dir, hex, image, err) < 0)
            return -1;
    }
    return 0;
}

static int open_entry(const char *store_dir, struct index_entry *entry, struct store_image *image,
                      struct error *err)
{
    memcpy(image->manifest, entry->manifest, sizeof image->manifest);
    memcpy(image->id, entry->config, sizeof image->id);
    image->pulled = entry->pulled && entry->reference;
    if (entry->reference)
        image->reference = take_pointer(&entry->reference);
    else if (asprintf(&image->reference, "sha256:%s", entry->config) < 0)
        image->reference = NULL;
    _cleanup_free_ char *path = NULL;
    if (!image->reference || asprintf(&path, "%s/blobs/sha256/%s", store_dir, entry->config) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    image->config = document_read(AT_FDCWD, path, path, NULL, err);
    return image->config ? collect_layers(store_dir, image, err) : -1;
}

int store_find_image(const char *store_dir, const char *name, struct store_image *image,
                     struct error *err)
{
    *image = (struct store_image){ 0 };
    struct index_entry entry = { 0 };
    int found = index_find(store_dir, name, &entry, NULL, err);
    if (found <= 0)
        return found;
    int result = open_entry(store_dir, &entry, image, err);
    index_entry_free(&entry);
    if (result < 0)
        store_image_free(image);
    return result < 0 ? -1 : 1;
}

int store_open_image(const char *store_dir, const char *name, struct store_image *image,
                     struct error *err)
{
    return store_find_image(store_dir, name, image, err) == 1 ? 0 : -1;
}

void store_image_free(struct store_image *image)
{
    for (size_t i = 0; i < image->layer_count; i++) {
        free(image->layer_files[i]);
        free(image->layer_ids[i]);
    }
    free(image->layer_files);
    free(image->layer_ids);
    free(image->reference);
    json_decref(image->config);
    *image = (struct store_image){ 0 };
}
