#include "runtime/image/helper/links.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "directory.h"
#include "runtime/image/helper/layer.h"
#include "runtime/image/names.h"

enum {
    HEX = STORE_DIGEST_HEX,
    IMAGE_PATH = 2 * HEX + 2, /* "<image id>/<manifest>" */
};

static const char temporary[] = ".new"; /* one writer at a time: the lock is held */

/* --- whether they are right ------------------------------------------------------------------- */

bool links_are_right(const struct store *store, int lock)
{
    struct stat status;
    struct stat index;
    return fstat(lock, &status) == 0 && fstat(store->index_fd, &index) == 0 &&
           names_are_kept(&status, &index);
}

static int set_time(int fd, const struct timespec *when)
{
    const struct timespec times[2] = { *when, *when };
    return futimens(fd, times);
}

int links_begin_change(const struct store *store, int lock, struct error *err)
{
    static const struct timespec changing = { .tv_sec = NAMES_CHANGING };
    if (set_time(lock, &changing) == 0)
        return 0;
    int cause = errno;
    (void)error_set_errno(err, EXIT_OURS, cause, "cannot change %s/lock", store->path);
    return error_see_store(err, cause);
}

/* The index is as of now, whatever has been changed last: for links_were_touched. */
void links_end_change(const struct store *store, int lock)
{
    static const struct timespec now[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_OMIT } };
    struct stat index;
    if (futimens(store->index_fd, now) == 0 && fstat(store->index_fd, &index) == 0)
        (void)set_time(lock, &index.st_ctim);
}

int links_last_change(const struct store *store, struct timespec *when, struct error *err)
{
    struct stat index;
    if (fstat(store->index_fd, &index) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot look at %s/index", store->path);
    *when = index.st_ctim;
    return 0;
}

static bool is_newer(const struct stat *status, const struct timespec *since)
{
    return status->st_ctim.tv_sec != since->tv_sec ? status->st_ctim.tv_sec > since->tv_sec
                                                   : status->st_ctim.tv_nsec > since->tv_nsec;
}

bool links_were_touched(const struct store *store, const struct timespec *since, const char *id)
{
    struct stat status;
    _cleanup_closedir_ DIR *image = directory_open(store->images_fd, id);
    if (!image || fstat(dirfd(image), &status) < 0 || is_newer(&status, since))
        return true;
    for (const struct dirent *manifest; (manifest = directory_next(image));)
        if (fstatat(dirfd(image), manifest->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
            is_newer(&status, since))
            return true;
    return errno != 0;
}

/* --- adding ----------------------------------------------------------------------------------- */

int links_open_image(const struct store *store, const struct index_entry *image, struct error *err)
{
    _cleanup_close_ int id_fd = store_open_directory(store, store->images_fd, image->config, err);
    return id_fd < 0 ? -1 : store_open_directory(store, id_fd, image->manifest, err);
}

static bool is_same_file(int one_fd, int other_fd, const char *name)
{
    struct stat one;
    struct stat other;
    return fstatat(one_fd, name, &one, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstatat(other_fd, name, &other, AT_SYMLINK_NOFOLLOW) == 0 && one.st_ino == other.st_ino;
}

/* Puts the store's file in the place of whatever else is called so. 0, or -1 with errno. */
static int replace(int image_fd, int dir_fd, const char *name)
{
    if (tree_remove(image_fd, temporary) < 0 || linkat(dir_fd, name, image_fd, temporary, 0) < 0 ||
        tree_remove(image_fd, name) < 0)
        return -1;
    return renameat(image_fd, temporary, image_fd, name);
}

int links_add_part(int image_fd, int dir_fd, const char *name, bool anew, struct error *err)
{
    if (linkat(dir_fd, name, image_fd, name, 0) == 0)
        return 1;
    if (errno == EEXIST && !anew && is_same_file(image_fd, dir_fd, name))
        return 1;
    if (errno == EEXIST && replace(image_fd, dir_fd, name) == 0)
        return 1;
    return errno == ENOENT ? 0 : store_refuse_link(name, errno, err);
}

static int cannot_write_name(const char *name, struct error *err)
{
    int cause = errno;
    (void)error_set_errno(err, EXIT_OURS, cause, "cannot write name %s of an image", name);
    return error_see_store(err, cause);
}

int links_write_name(int image_fd, const struct index_entry *entry, struct error *err)
{
    char name[NAME_MAX + 1];
    index_file_name(entry->reference, entry->manifest, name);
    _cleanup_close_ int fd = openat(image_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return fd >= 0 ? 0 : cannot_write_name(name, err);
}

int links_add_name(const struct store *store, const struct index_entry *entry, struct error *err)
{
    _cleanup_close_ int image_fd = links_open_image(store, entry, err);
    if (image_fd < 0 || links_write_name(image_fd, entry, err) < 0)
        return -1;
    return fsync(image_fd) == 0
               ? 0
               : cannot_write_name(entry->reference ? entry->reference : entry->manifest, err);
}

/* --- removing --------------------------------------------------------------------------------- */

bool links_find_directory(const struct store *store, const char *name, int *dir_fd)
{
    char hex[HEX + 1];
    (void)snprintf(hex, sizeof hex, "%.*s", HEX, name);
    if (!digest_is_hex(hex))
        return false;
    *dir_fd = name[HEX] == '\0' ? store->blobs_fd : store->layers_fd;
    return name[HEX] == '\0' || strcmp(name + HEX, ".erofs") == 0;
}

static int cannot_remove(const char *name, struct error *err)
{
    return error_set_errno(err, EXIT_OURS, errno, "cannot remove %s of the image store", name);
}

/* Removes a file of the store if that is its only name. */
static int remove_if_last(int dir_fd, const char *name, int64_t *bytes, struct error *err)
{
    struct stat status;
    if (fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : cannot_remove(name, err);
    if (status.st_nlink > 1)
        return 0;
    if (unlinkat(dir_fd, name, 0) < 0)
        return cannot_remove(name, err);
    *bytes += status.st_size;
    return 0;
}

static bool is_used_layer(const struct users *users, const char *name)
{
    char hex[HEX + 1];
    (void)snprintf(hex, sizeof hex, "%.*s", HEX, name);
    return name[0] && name[strlen(hex)] == '.' && marks_have(&users->layers, hex);
}

/* Removes a name from a directory of links, whatever it is, and what it was the last one of. */
static int release(const struct store *store, int links_fd, const char *name, int64_t *bytes,
                   struct error *err)
{
    int dir_fd;
    if (tree_remove(links_fd, name) < 0)
        return cannot_remove(name, err);
    return links_find_directory(store, name, &dir_fd) ? remove_if_last(dir_fd, name, bytes, err)
                                                      : 0;
}

static int cannot_read(struct error *err)
{
    return error_set_errno(err, EXIT_OURS, errno, "cannot read the image store");
}

/* Does a name still lead to the image? Its names were removed one by one, each from here too. */
static int refuse_named(const struct store *store, const struct index_entry *image,
                        const char *name, struct error *err)
{
    struct index_entry entry;
    int found = names_is_one(name) ? index_read(store->index_fd, name, &entry, err) : 0;
    if (found <= 0)
        return found;
    bool same =
        strcmp(entry.config, image->config) == 0 && strcmp(entry.manifest, image->manifest) == 0;
    index_entry_free(&entry);
    return same ? error_set(err, EXIT_OURS,
                            "image %.12s is not removed: index entry %s still leads to it; "
                            "`hybrid system check` tells what is wrong with the store",
                            image->config, name)
                : 0;
}

/* Keeps a layer for workloads; the first opens *kept_fd. Returns 0, or -1 with *err. */
static int keep_layer(const struct store *store, const char *name, int *kept_fd, struct error *err)
{
    if (*kept_fd < 0)
        *kept_fd = store_open_directory(store, store->images_fd, LINKS_KEPT, err);
    if (*kept_fd < 0)
        return -1;
    return links_add_part(*kept_fd, store->layers_fd, name, false, err) < 0 ? -1 : 0;
}

/* Before anything of an image goes: may it, and what do workloads need of it? */
static int prepare_release(const struct store *store, int image_fd, const struct index_entry *image,
                           const struct users *users, struct error *err)
{
    _cleanup_close_ int kept_fd = -1;
    _cleanup_closedir_ DIR *directory = directory_open(image_fd, ".");
    if (!directory)
        return cannot_read(err);
    for (const struct dirent *file; (file = directory_next(directory));)
        if (refuse_named(store, image, file->d_name, err) < 0 ||
            (is_used_layer(users, file->d_name) &&
             keep_layer(store, file->d_name, &kept_fd, err) < 0))
            return -1;
    if (errno != 0)
        return cannot_read(err);
    return kept_fd < 0 || fsync(kept_fd) == 0
               ? 0
               : error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
}

/* Releases all that a directory of links has. */
static int release_image(const struct store *store, int image_fd, int64_t *bytes, struct error *err)
{
    _cleanup_closedir_ DIR *directory = directory_open(image_fd, ".");
    if (!directory)
        return cannot_read(err);
    for (const struct dirent *file; (file = directory_next(directory));)
        if (release(store, image_fd, file->d_name, bytes, err) < 0)
            return -1;
    return errno == 0 ? 0 : cannot_read(err);
}

int links_forget_name(const struct store *store, const struct index_entry *entry, struct error *err)
{
    char name[NAME_MAX + 1];
    char path[IMAGE_PATH + NAME_MAX + 1];
    index_file_name(entry->reference, entry->manifest, name);
    (void)snprintf(path, sizeof path, "%s/%s/%s", entry->config, entry->manifest, name);
    return unlinkat(store->images_fd, path, 0) == 0 || errno == ENOENT ? 0
                                                                       : cannot_remove(name, err);
}

int links_remove_name(const struct store *store, const struct index_entry *entry, struct error *err)
{
    char name[NAME_MAX + 1];
    index_file_name(entry->reference, entry->manifest, name);
    if (unlinkat(store->index_fd, name, 0) < 0 && errno != ENOENT)
        return error_set_errno(err, EXIT_OURS, errno, "cannot remove index entry %s", name);
    return links_forget_name(store, entry, err);
}

static int remove_signers(const struct store *store, const char *manifest, struct error *err)
{
    char path[sizeof "signatures/" + HEX];
    (void)snprintf(path, sizeof path, "signatures/%s", manifest);
    return unlinkat(store->fd, path, 0) == 0 || errno == ENOENT ? 0 : cannot_remove(path, err);
}

static int remove_directories(const struct store *store, const struct index_entry *image,
                              const char *path, struct error *err)
{
    if (unlinkat(store->images_fd, path, AT_REMOVEDIR) < 0)
        return cannot_remove(path, err);
    /* Of one configuration there may be several manifests: other compressions of its layers. */
    if (unlinkat(store->images_fd, image->config, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY &&
        errno != EEXIST)
        return cannot_remove(image->config, err);
    return 0;
}

int links_remove_image(const struct store *store, const struct index_entry *image,
                       const struct users *users, int64_t *bytes, struct error *err)
{
    char path[IMAGE_PATH];
    (void)snprintf(path, sizeof path, "%s/%s", image->config, image->manifest);
    _cleanup_close_ int fd =
        openat(store->images_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : cannot_remove(path, err);
    if (prepare_release(store, fd, image, users, err) < 0 ||
        release_image(store, fd, bytes, err) < 0 || remove_directories(store, image, path, err) < 0)
        return -1;
    return remove_signers(store, image->manifest, err);
}

int links_remove_kept(const struct store *store, const struct users *users, int64_t *bytes,
                      struct error *err)
{
    _cleanup_closedir_ DIR *directory = directory_open(store->images_fd, LINKS_KEPT);
    if (!directory)
        return errno == ENOENT ? 0 : cannot_remove(LINKS_KEPT, err);
    for (const struct dirent *file; (file = directory_next(directory));)
        if (!is_used_layer(users, file->d_name) &&
            release(store, dirfd(directory), file->d_name, bytes, err) < 0)
            return -1;
    if (errno != 0)
        return cannot_read(err);
    if (users->layers.count == 0 && unlinkat(store->images_fd, LINKS_KEPT, AT_REMOVEDIR) < 0)
        return cannot_remove(LINKS_KEPT, err);
    return 0;
}

int links_release_staging(const struct staging *staging, struct error *err)
{
    int dir_fd;
    int64_t bytes = 0;
    _cleanup_closedir_ DIR *directory = directory_open(staging->fd, ".");
    if (!directory)
        return cannot_read(err);
    for (const struct dirent *file; (file = directory_next(directory));)
        if (links_find_directory(staging->store, file->d_name, &dir_fd) &&
            release(staging->store, staging->fd, file->d_name, &bytes, err) < 0)
            return -1;
    return errno == 0 ? 0 : cannot_read(err);
}
