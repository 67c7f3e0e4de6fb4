#include "marks.h"

#include <stdlib.h>
#include <string.h>

#include "document.h"

int marks_add(struct marks *marks, const char *hex, struct error *err)
{
    if (!hex)
        return error_set(err, EXIT_OURS, "a document of the store names a malformed digest");
    if (marks->count == marks->room) {
        size_t room = marks->room ? marks->room * 2 : 64;
        void *grown = reallocarray(marks->hex, room, sizeof *marks->hex);
        if (!grown)
            return error_set(err, EXIT_OURS, "out of memory");
        marks->hex = grown;
        marks->room = room;
    }
    memcpy(marks->hex[marks->count++], hex, sizeof *marks->hex);
    return 0;
}

static int compare_hex(const void *left, const void *right)
{
    return strcmp(left, right);
}

bool marks_have(const struct marks *marks, const char *hex)
{
    return marks->count > 0 &&
           bsearch(hex, marks->hex, marks->count, sizeof *marks->hex, compare_hex);
}

void marks_sort(struct marks *marks)
{
    if (marks->count > 0)
        qsort(marks->hex, marks->count, sizeof *marks->hex, compare_hex);
}

void marks_free(struct marks *marks)
{
    free(marks->hex);
    *marks = (struct marks){ 0 };
}

static int mark_digest(struct marks *marks, const json_t *digest, struct error *err)
{
    return marks_add(marks, json_is_string(digest) ? digest_hex(json_string_value(digest)) : NULL,
                     err);
}

int marks_add_image(int blobs_fd, const struct index_entry *entry, struct marks *blobs,
                    struct marks *layers, struct error *err)
{
    _cleanup_json_ json_t *manifest =
        document_read(blobs_fd, entry->manifest, entry->manifest, NULL, err);
    _cleanup_json_ json_t *config =
        manifest ? document_read(blobs_fd, entry->config, entry->config, NULL, err) : NULL;
    if (!config || marks_add(blobs, entry->manifest, err) < 0 ||
        marks_add(blobs, entry->config, err) < 0)
        return -1;
    const json_t *descriptors = json_object_get(manifest, "layers");
    for (size_t i = 0; i < json_array_size(descriptors); i++)
        if (mark_digest(blobs, json_object_get(json_array_get(descriptors, i), "digest"), err) < 0)
            return -1;
    const json_t *diff_ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    for (size_t i = 0; i < json_array_size(diff_ids); i++)
        if (mark_digest(layers, json_array_get(diff_ids, i), err) < 0)
            return -1;
    return 0;
}
