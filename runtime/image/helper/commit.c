#include "runtime/image/helper/commit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/layer.h"

/* Renames `from` in the staging directory to `to`; where `to` exists it has the same content. */
static int move(const struct staging *staging, const char *from, int dir_fd, const char *to,
                struct error *err)
{
    _cleanup_close_ int fd = openat(staging->fd, from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fsync(fd) < 0 || renameat(staging->fd, from, dir_fd, to) < 0) {
        int cause = errno;
        (void)error_set_errno(err, EXIT_OURS, cause, "cannot put %s into the image store", to);
        return error_see_store(err, cause);
    }
    return 0;
}

static bool exists(int dir_fd, const char *name)
{
    return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int commit_blob(const struct staging *staging, const struct blob *blob, struct error *err)
{
    if (exists(staging->store->blobs_fd, blob->hex))
        return 0;
    return move(staging, blob->file, staging->store->blobs_fd, blob->hex, err);
}

static int commit_layer(const struct staging *staging, const struct incoming_layer *layer,
                        struct error *err)
{
    char name[STORE_DIGEST_HEX + 8];
    layer_file_name(layer->diff_id, name);
    if (commit_blob(staging, &layer->blob, err) < 0)
        return -1;
    if (exists(staging->store->layers_fd, name))
        return 0;
    return move(staging, name, staging->store->layers_fd, name, err);
}

static int commit_content(const struct staging *staging, const struct incoming_image *image,
                          struct error *err)
{
    for (size_t i = 0; i < image->layer_count; i++)
        if (commit_layer(staging, &image->layers[i], err) < 0)
            return -1;
    return commit_blob(staging, &image->config, err) < 0 ||
                   commit_blob(staging, &image->manifest, err) < 0
               ? -1
               : 0;
}

/* Bytes of the image's EROFS files; equal layers count once. */
static int measure(const struct store *store, const struct incoming_image *image, int64_t *size,
                   struct error *err)
{
    *size = 0;
    for (size_t i = 0; i < image->layer_count; i++) {
        char name[STORE_DIGEST_HEX + 8];
        struct stat status;
        bool counted = false;
        for (size_t before = 0; before < i && !counted; before++)
            counted = strcmp(image->layers[before].diff_id, image->layers[i].diff_id) == 0;
        layer_file_name(image->layers[i].diff_id, name);
        if (!counted && fstatat(store->layers_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot examine %s", name);
        *size += counted ? 0 : status.st_size;
    }
    return 0;
}

static int write_entry(const struct store *store, const struct index_entry *entry,
                       struct error *err)
{
    char name[NAME_MAX + 1];
    static const char temporary[] = ".new"; /* one writer at a time: the lock is held */
    index_file_name(entry->reference, entry->manifest, name);
    _cleanup_json_ json_t *document =
        json_pack("{s:s*, s:s, s:s, s:I, s:s*, s:b}", "reference", entry->reference, "manifest",
                  entry->manifest, "config", entry->config, "size", (json_int_t)entry->size,
                  "created", entry->created, "pulled", (int)entry->pulled);
    _cleanup_free_ char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    if (!text)
        return error_set(err, EXIT_OURS, "cannot write index entry %s: not valid UTF-8", name);
    _cleanup_close_ int fd =
        openat(store->index_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || io_write_all(fd, text, strlen(text)) < 0 || fsync(fd) < 0 ||
        renameat(store->index_fd, temporary, store->index_fd, name) < 0 ||
        fsync(store->index_fd) < 0) {
        int cause = errno;
        (void)error_set_errno(err, EXIT_OURS, cause, "cannot write index entry %s", name);
        return error_see_store(err, cause);
    }
    return 0;
}

static bool has_other_name(const struct index_list *list, const struct index_entry *entry)
{
    for (size_t i = 0; i < list->count; i++)
        if (&list->entries[i] != entry && strcmp(list->entries[i].manifest, entry->manifest) == 0)
            return true;
    return false;
}

/* An image that loses its last name to another stays, under its id. */
static int keep_former(const struct store *store, const struct index_list *list,
                       const char *reference, const char *manifest, struct error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        struct index_entry former = list->entries[i];
        if (!former.reference || strcmp(former.reference, reference) != 0 ||
            strcmp(former.manifest, manifest) == 0 || has_other_name(list, &list->entries[i]))
            continue;
        former.reference = NULL;
        former.pulled = false;
        return write_entry(store, &former, err);
    }
    return 0;
}

/* Gives the image of `entry` a name, and takes it from whatever has it. */
static int give_name(const struct store *store, const struct index_list *list,
                     struct index_entry *entry, char *reference, struct error *err)
{
    char unnamed[NAME_MAX + 1];
    entry->reference = reference;
    if (keep_former(store, list, reference, entry->manifest, err) < 0 ||
        write_entry(store, entry, err) < 0)
        return -1;
    index_file_name(NULL, entry->manifest, unnamed);
    if (unlinkat(store->index_fd, unnamed, 0) < 0 && errno != ENOENT)
        return error_set_errno(err, EXIT_OURS, errno, "cannot remove index entry %s", unnamed);
    return 0;
}

static int commit_names(const struct store *store, const struct index_list *list,
                        const struct incoming_image *image, struct error *err)
{
    struct index_entry entry = { .created = image->created, .pulled = image->pulled };
    memcpy(entry.manifest, image->manifest.hex, sizeof entry.manifest);
    memcpy(entry.config, image->config.hex, sizeof entry.config);
    if (measure(store, image, &entry.size, err) < 0)
        return -1;
    if (image->name_count == 0)
        return has_other_name(list, &entry) ? 0 : write_entry(store, &entry, err);
    for (size_t i = 0; i < image->name_count; i++)
        if (give_name(store, list, &entry, image->names[i], err) < 0)
            return -1;
    return 0;
}

static int sync_index(const struct store *store, struct error *err)
{
    if (fsync(store->index_fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
    return 0;
}

int commit_tag(const struct store *store, const char *name, const char *reference,
               struct error *err)
{
    struct index_entry found = { 0 };
    struct index_list list = { 0 };
    _cleanup_free_ char *copy = strdup(reference);
    _cleanup_close_ int lock = store_lock(store, err);
    if (lock < 0)
        // cppcheck-suppress memleak ; released by its _cleanup_*
        return -1;
    if (!copy)
        return error_set(err, EXIT_OURS, "out of memory");
    if (index_find(store->path, name, &found, NULL, err) <= 0)
        // cppcheck-suppress memleak ; released by its _cleanup_*
        return -1;
    int result = index_list(store->path, &list, err);
    if (result == 0) {
        struct index_entry entry = found; /* its name is borrowed, that of `found` is freed */
        entry.pulled = false;             /* no registry gave it this name */
        result = give_name(store, &list, &entry, copy, err);
    }
    index_list_free(&list);
    index_entry_free(&found);
    return result < 0 ? -1 : sync_index(store, err);
}

int commit_images(const struct staging *staging, const struct incoming *incoming, struct error *err)
{
    const struct store *store = staging->store;
    _cleanup_close_ int lock = store_lock(store, err);
    if (lock < 0)
        return -1;
    for (size_t i = 0; i < incoming->count; i++)
        if (commit_content(staging, &incoming->images[i], err) < 0)
            return -1;
    /* A name must never outlive a crash that its content does not. */
    if (fsync(store->blobs_fd) < 0 || fsync(store->layers_fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
    for (size_t i = 0; i < incoming->count; i++) {
        struct index_list list;
        if (index_list(store->path, &list, err) < 0)
            return -1;
        int result = commit_names(store, &list, &incoming->images[i], err);
        index_list_free(&list);
        if (result < 0)
            return -1;
    }
    return sync_index(store, err);
}
