#include "runtime/image/helper/collect.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "directory.h"
#include "runtime/image/helper/rebuild.h"

/* What is in use. */
struct collection {
    struct index_list list;
    struct users users;
    struct marks blobs, layers;
};

static int mark(const struct store *store, const char *root, struct collection *collection,
                struct error *err)
{
    if (index_list(store->path, &collection->list, err) < 0)
        return -1;
    for (size_t i = 0; i < collection->list.count; i++)
        if (marks_add_image(store->blobs_fd, &collection->list.entries[i], &collection->blobs,
                            &collection->layers, err) < 0)
            return -1;
    if (users_read(root, &collection->users, err) < 0)
        return -1;
    for (size_t i = 0; i < collection->users.layers.count; i++)
        if (marks_add(&collection->layers, collection->users.layers.hex[i], err) < 0)
            return -1;
    marks_sort(&collection->blobs);
    marks_sort(&collection->layers);
    return 0;
}

static int sweep(int dir_fd, const char *suffix, const struct marks *marks, const char *what,
                 int64_t *bytes, struct error *err)
{
    _cleanup_closedir_ DIR *directory = directory_open(dir_fd, ".");
    if (!directory)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the store's %s", what);
    for (const struct dirent *entry; (entry = directory_next(directory));) {
        struct stat status = { 0 };
        char hex[STORE_DIGEST_HEX + 1];
        (void)snprintf(hex, sizeof hex, "%.*s", STORE_DIGEST_HEX, entry->d_name);
        if (!digest_is_hex(hex) || strcmp(entry->d_name + STORE_DIGEST_HEX, suffix) != 0 ||
            marks_have(marks, hex))
            continue;
        (void)fstatat(dir_fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW);
        if (unlinkat(dir_fd, entry->d_name, 0) < 0 && errno != ENOENT)
            return error_set_errno(err, EXIT_OURS, errno, "cannot remove %s", entry->d_name);
        *bytes += status.st_size;
    }
    return errno == 0 ? 0
                      : error_set_errno(err, EXIT_OURS, errno, "cannot read the store's %s", what);
}

/* Who signed an image is of interest as long as its manifest is there. */
static int sweep_signatures(const struct store *store, const struct marks *blobs, struct error *err)
{
    _cleanup_close_ int fd =
        openat(store->fd, "signatures", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open signatures in the store");
    int64_t bytes = 0; /* which nobody counts */
    return sweep(fd, "", blobs, "signatures", &bytes, err);
}

static int collect(const struct store *store, int lock, const struct collection *collection,
                   int64_t *bytes, struct error *unlinked, struct error *err)
{
    if (links_begin_change(store, lock, err) < 0)
        return -1;
    /* Names that are gone must be so before what they led to: a power cut keeps any order. */
    if (fsync(store->index_fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
    if (sweep(store->blobs_fd, "", &collection->blobs, "blobs", bytes, err) < 0 ||
        sweep(store->layers_fd, ".erofs", &collection->layers, "layers", bytes, err) < 0 ||
        sweep_signatures(store, &collection->blobs, err) < 0)
        return -1;
    /* Without links all goes on, and takes longer. */
    (void)rebuild_links(store, lock, &collection->list, &collection->users, unlinked);
    return 0;
}

int collect_garbage(const struct store *store, int lock, const char *root, int64_t *bytes,
                    struct error *unlinked, struct error *err)
{
    struct collection collection = { 0 };
    struct error ignored;
    if (!unlinked)
        unlinked = &ignored;
    *unlinked = (struct error){ 0 };
    int result = mark(store, root, &collection, err);
    if (result == 0)
        result = collect(store, lock, &collection, bytes, unlinked, err);
    index_list_free(&collection.list);
    users_free(&collection.users);
    marks_free(&collection.blobs);
    marks_free(&collection.layers);
    return result;
}
