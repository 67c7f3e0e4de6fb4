#include "runtime/image/helper/commit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/layer.h"
#include "runtime/image/helper/links.h"
#include "runtime/image/names.h"

/* Giving names to images. */
struct naming {
    const struct store *store;
    bool kept; /* names_of_image */
};

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

/* Links a blob or layer into the image's directory; one that the store lacks is put there first. */
static int commit_part(const struct staging *staging, int image_fd, const char *from, int dir_fd,
                       const char *name, struct error *err)
{
    int linked = links_add_part(image_fd, dir_fd, name, false, err);
    if (linked != 0)
        return linked < 0 ? -1 : 0;
    if (move(staging, from, image_fd, name, err) < 0)
        return -1;
    return linkat(image_fd, name, dir_fd, name, 0) == 0 ? 0 : store_refuse_link(name, errno, err);
}

static int commit_blob(const struct staging *staging, int image_fd, const struct blob *blob,
                       struct error *err)
{
    return commit_part(staging, image_fd, blob->file, staging->store->blobs_fd, blob->hex, err);
}

static int commit_layer(const struct staging *staging, int image_fd,
                        const struct incoming_layer *layer, struct error *err)
{
    char name[STORE_DIGEST_HEX + 8];
    layer_file_name(layer->diff_id, name);
    if (commit_blob(staging, image_fd, &layer->blob, err) < 0)
        return -1;
    return commit_part(staging, image_fd, name, staging->store->layers_fd, name, err);
}

static struct index_entry entry_of(const struct incoming_image *image)
{
    struct index_entry entry = { .created = image->created, .pulled = image->pulled };
    memcpy(entry.manifest, image->manifest.hex, sizeof entry.manifest);
    memcpy(entry.config, image->config.hex, sizeof entry.config);
    return entry;
}

static int commit_content(const struct staging *staging, const struct incoming_image *image,
                          struct error *err)
{
    const struct index_entry entry = entry_of(image);
    _cleanup_close_ int image_fd = links_open_image(staging->store, &entry, err);
    if (image_fd < 0)
        return -1;
    for (size_t i = 0; i < image->layer_count; i++)
        if (commit_layer(staging, image_fd, &image->layers[i], err) < 0)
            return -1;
    if (commit_blob(staging, image_fd, &image->config, err) < 0 ||
        commit_blob(staging, image_fd, &image->manifest, err) < 0)
        return -1;
    /* With a name that it gets, links_add_name syncs it. */
    return image->name_count > 0 || fsync(image_fd) == 0
               ? 0
               : error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
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
        renameat(store->index_fd, temporary, store->index_fd, name) < 0) {
        int cause = errno;
        (void)error_set_errno(err, EXIT_OURS, cause, "cannot write index entry %s", name);
        return error_see_store(err, cause);
    }
    return 0;
}

static int sync_index(const struct store *store, struct error *err)
{
    if (fsync(store->index_fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
    return 0;
}

/* Has the image of an entry another name than this one? 1: it has, 0: not, -1: *err. */
static int has_other_name(const struct naming *naming, const struct index_entry *entry,
                          struct error *err)
{
    struct index_list names;
    if (names_of_image(naming->store->path, entry->config, naming->kept, &names, err) < 0)
        return -1;
    int found = 0;
    for (size_t i = 0; i < names.count; i++) {
        const char *reference = names.entries[i].reference;
        bool same = entry->reference && reference && strcmp(reference, entry->reference) == 0;
        if (!same && strcmp(names.entries[i].manifest, entry->manifest) == 0)
            found = 1;
    }
    index_list_free(&names);
    return found;
}

static int add_entry(const struct store *store, const struct index_entry *entry, struct error *err)
{
    return links_add_name(store, entry, err) < 0 ? -1 : write_entry(store, entry, err);
}

/* An image that loses its last name to another stays, under its id; surely so before it loses it.
 */
static int keep_unnamed(const struct naming *naming, const struct index_entry *former,
                        struct error *err)
{
    struct index_entry unnamed = *former;
    int other = has_other_name(naming, former, err);
    if (other != 0)
        return other < 0 ? -1 : 0;
    unnamed.reference = NULL;
    unnamed.pulled = false;
    return add_entry(naming->store, &unnamed, err) < 0 ? -1 : sync_index(naming->store, err);
}

/* Gives the image of `entry` a name that `former` has, which is of another. */
static int take_name(const struct naming *naming, const struct index_entry *former,
                     const struct index_entry *entry, struct error *err)
{
    if (keep_unnamed(naming, former, err) < 0 || add_entry(naming->store, entry, err) < 0)
        return -1;
    return links_forget_name(naming->store, former, err);
}

/* Gives the image of `entry` a name, and takes it from whatever has it. */
static int give_name(const struct naming *naming, struct index_entry *entry, char *reference,
                     struct error *err)
{
    char name[NAME_MAX + 1];
    struct index_entry former;
    struct index_entry unnamed = *entry;
    entry->reference = reference;
    unnamed.reference = NULL;
    index_file_name(reference, NULL, name);
    int found = index_read(naming->store->index_fd, name, &former, err);
    if (found < 0)
        return -1;
    int result = found && strcmp(former.manifest, entry->manifest) != 0
                     ? take_name(naming, &former, entry, err)
                     : add_entry(naming->store, entry, err);
    index_entry_free(&former);
    return result < 0 ? -1 : links_remove_name(naming->store, &unnamed, err);
}

static int commit_names(const struct naming *naming, const struct incoming_image *image,
                        struct error *err)
{
    struct index_entry entry = entry_of(image);
    if (measure(naming->store, image, &entry.size, err) < 0)
        return -1;
    if (image->name_count == 0) {
        int named = has_other_name(naming, &entry, err);
        return named < 0 ? -1 : named ? 0 : add_entry(naming->store, &entry, err);
    }
    for (size_t i = 0; i < image->name_count; i++)
        if (give_name(naming, &entry, image->names[i], err) < 0)
            return -1;
    return 0;
}

static int tag(const struct naming *naming, const struct index_entry *found, char *reference,
               int lock, struct error *err)
{
    struct index_entry entry = *found; /* its name is borrowed, that of `found` is freed */
    entry.pulled = false;              /* no registry gave it this name */
    if (links_begin_change(naming->store, lock, err) < 0 ||
        give_name(naming, &entry, reference, err) < 0 || sync_index(naming->store, err) < 0)
        return -1;
    if (naming->kept)
        links_end_change(naming->store, lock);
    return 0;
}

int commit_tag(const struct store *store, const char *name, const char *reference,
               struct error *err)
{
    struct index_entry found = { 0 };
    _cleanup_free_ char *copy = strdup(reference);
    _cleanup_close_ int lock = store_lock(store, err);
    if (lock < 0)
        // cppcheck-suppress memleak ; released by its _cleanup_*
        return -1;
    if (!copy)
        return error_set(err, EXIT_OURS, "out of memory");
    const struct naming naming = { store, links_are_right(store, lock) };
    if (index_find(store->path, name, &found, NULL, err) <= 0)
        // cppcheck-suppress memleak ; released by its _cleanup_*
        return -1;
    int result = tag(&naming, &found, copy, lock, err);
    index_entry_free(&found);
    return result;
}

static int commit_all(const struct staging *staging, const struct naming *naming,
                      const struct incoming *incoming, struct error *err)
{
    const struct store *store = staging->store;
    for (size_t i = 0; i < incoming->count; i++)
        if (commit_content(staging, &incoming->images[i], err) < 0)
            return -1;
    /* A name must never outlive a crash that its content does not. */
    if (fsync(store->blobs_fd) < 0 || fsync(store->layers_fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
    for (size_t i = 0; i < incoming->count; i++)
        if (commit_names(naming, &incoming->images[i], err) < 0)
            return -1;
    return sync_index(store, err);
}

int commit_images(const struct staging *staging, const struct incoming *incoming, struct error *err)
{
    const struct store *store = staging->store;
    _cleanup_close_ int lock = store_lock(store, err);
    if (lock < 0)
        return -1;
    const struct naming naming = { store, links_are_right(store, lock) };
    if (links_begin_change(store, lock, err) < 0 || commit_all(staging, &naming, incoming, err) < 0)
        return -1;
    if (naming.kept)
        links_end_change(store, lock);
    return 0;
}
