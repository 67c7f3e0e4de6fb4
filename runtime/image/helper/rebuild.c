#include "runtime/image/helper/rebuild.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "directory.h"
#include "runtime/image/helper/layer.h"
#include "runtime/image/names.h"

struct rebuild {
    const struct store *store;
    const struct index_list *list;
    bool anew; /* links to the same file are no links: a copy of the store may have them so */
};

/* --- what is too much ------------------------------------------------------------------------- */

/* Removes what is not wanted of a directory. */
static int prune(int dir_fd, bool (*wanted)(const void *context, const char *name),
                 const void *context, struct error *err)
{
    _cleanup_closedir_ DIR *directory = directory_open(dir_fd, ".");
    if (!directory)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the image store");
    for (const struct dirent *file; (file = directory_next(directory));)
        if (!wanted(context, file->d_name) && tree_remove(dir_fd, file->d_name) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot remove %s of the image store",
                                   file->d_name);
    return errno == 0 ? 0 : error_set_errno(err, EXIT_OURS, errno, "cannot read the image store");
}

static bool is_image(const void *context, const char *name)
{
    const struct index_list *list = context;
    if (strcmp(name, LINKS_KEPT) == 0 || strcmp(name, LINKS_LOCK) == 0)
        return true;
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->entries[i].config, name) == 0)
            return true;
    return false;
}

/* An image that was asked for by its configuration: which manifests, and which names, has it? */
struct position {
    const struct index_list *list;
    size_t at;
    const struct marks *blobs, *layers;
};

static bool is_manifest(const void *context, const char *name)
{
    const struct position *position = context;
    const struct index_entry *image = &position->list->entries[position->at];
    for (size_t i = 0; i < position->list->count; i++)
        if (strcmp(position->list->entries[i].config, image->config) == 0 &&
            strcmp(position->list->entries[i].manifest, name) == 0)
            return true;
    return false;
}

static bool is_part_or_name(const void *context, const char *name)
{
    char hex[STORE_DIGEST_HEX + 1];
    char right[NAME_MAX + 1];
    const struct position *position = context;
    const char *manifest = position->list->entries[position->at].manifest;
    (void)snprintf(hex, sizeof hex, "%.*s", STORE_DIGEST_HEX, name);
    if (marks_have(strcmp(hex, name) == 0 ? position->blobs : position->layers, hex))
        return true;
    for (size_t i = 0; i < position->list->count; i++) {
        const struct index_entry *entry = &position->list->entries[i];
        if (strcmp(entry->manifest, manifest) != 0)
            continue;
        index_file_name(entry->reference, entry->manifest, right);
        if (strcmp(right, name) == 0)
            return true;
    }
    return false;
}

/* --- what is missing -------------------------------------------------------------------------- */

/* What the store lacks by now is nothing that a link could keep. */
static int link_part(const struct rebuild *rebuild, int image_fd, int dir_fd, const char *name,
                     struct error *err)
{
    int linked = links_add_part(image_fd, dir_fd, name, rebuild->anew, err);
    if (linked == 0)
        (void)unlinkat(image_fd, name, 0);
    return linked;
}

static int link_parts(const struct rebuild *rebuild, int image_fd, const struct marks *blobs,
                      const struct marks *layers, struct error *err)
{
    char file[STORE_DIGEST_HEX + 8];
    for (size_t i = 0; i < blobs->count; i++)
        if (link_part(rebuild, image_fd, rebuild->store->blobs_fd, blobs->hex[i], err) < 0)
            return -1;
    for (size_t i = 0; i < layers->count; i++) {
        layer_file_name(layers->hex[i], file);
        if (link_part(rebuild, image_fd, rebuild->store->layers_fd, file, err) < 0)
            return -1;
    }
    return 0;
}

static int write_names(const struct rebuild *rebuild, int image_fd, const char *manifest,
                       struct error *err)
{
    for (size_t i = 0; i < rebuild->list->count; i++) {
        const struct index_entry *entry = &rebuild->list->entries[i];
        if (strcmp(entry->manifest, manifest) == 0 && links_write_name(image_fd, entry, err) < 0)
            return -1;
    }
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int fill_image(const struct rebuild *rebuild, size_t at, struct marks *blobs,
                      struct marks *layers, struct error *err)
{
    const struct store *store = rebuild->store;
    const struct index_entry *image = &rebuild->list->entries[at];
    const struct position position = { rebuild->list, at, blobs, layers };
    if (marks_add_image(store->blobs_fd, image, blobs, layers, err) < 0)
        return -1;
    marks_sort(blobs);
    marks_sort(layers);
    bool made; /* all is synced at once, in the end */
    _cleanup_close_ int id_fd =
        store_make_directory(store, store->images_fd, image->config, &made, err);
    if (id_fd < 0 || prune(id_fd, is_manifest, &position, err) < 0)
        return -1;
    _cleanup_close_ int image_fd = store_make_directory(store, id_fd, image->manifest, &made, err);
    if (image_fd < 0 || link_parts(rebuild, image_fd, blobs, layers, err) < 0 ||
        write_names(rebuild, image_fd, image->manifest, err) < 0)
        return -1;
    return prune(image_fd, is_part_or_name, &position, err);
}

/* Several names of an image have one directory. */
static bool is_first(const struct index_list *list, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(list->entries[i].manifest, list->entries[at].manifest) == 0)
            return false;
    return true;
}

static int keep_layers(const struct rebuild *rebuild, const struct users *users, struct error *err)
{
    int64_t bytes = 0;
    char name[STORE_DIGEST_HEX + 8];
    const struct store *store = rebuild->store;
    const struct marks *layers = &users->layers;
    bool made;
    _cleanup_close_ int kept_fd =
        layers->count > 0 ? store_make_directory(store, store->images_fd, LINKS_KEPT, &made, err)
                          : -1;
    if (layers->count > 0 && kept_fd < 0)
        return -1;
    for (size_t i = 0; i < layers->count; i++) {
        if (i > 0 && strcmp(layers->hex[i], layers->hex[i - 1]) == 0) /* many use the same */
            continue;
        layer_file_name(layers->hex[i], name);
        if (links_add_part(kept_fd, store->layers_fd, name, rebuild->anew, err) < 0)
            return -1;
    }
    return links_remove_kept(rebuild->store, users, &bytes, err);
}

/* The lock's second name, last: by it others see that links were made here, not copied. */
static int seal(const struct store *store, int lock, bool anew, struct error *err)
{
    if (anew && ((unlinkat(store->images_fd, LINKS_LOCK, 0) < 0 && errno != ENOENT) ||
                 linkat(store->fd, "lock", store->images_fd, LINKS_LOCK, 0) < 0))
        return error_set_errno(err, EXIT_OURS, errno, "cannot link the lock of the image store");
    /* A power cut must not leave a store that looks right and is not. */
    if (syncfs(store->fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
    links_end_change(store, lock);
    return 0;
}

int rebuild_links(const struct store *store, int lock, const struct index_list *list,
                  const struct users *users, struct error *err)
{
    struct stat status;
    if (fstat(lock, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot examine %s/lock", store->path);
    const struct rebuild rebuild = { store, list, status.st_nlink != 2 };
    if (prune(store->images_fd, is_image, list, err) < 0)
        return -1;
    for (size_t i = 0; i < list->count; i++) {
        struct marks blobs = { 0 };
        struct marks layers = { 0 };
        int result = is_first(list, i) ? fill_image(&rebuild, i, &blobs, &layers, err) : 0;
        marks_free(&blobs);
        marks_free(&layers);
        if (result < 0)
            return -1;
    }
    if (keep_layers(&rebuild, users, err) < 0)
        return -1;
    return seal(store, lock, rebuild.anew, err);
}
