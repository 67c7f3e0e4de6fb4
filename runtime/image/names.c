#include "names.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "directory.h"

bool names_are_kept(const struct stat *lock, const struct stat *index)
{
    return lock->st_nlink == 2 && lock->st_mtim.tv_sec != NAMES_CHANGING &&
           lock->st_mtim.tv_sec == index->st_ctim.tv_sec &&
           lock->st_mtim.tv_nsec == index->st_ctim.tv_nsec;
}

bool names_are_kept_in(const char *store_dir)
{
    struct stat lock;
    struct stat index;
    _cleanup_close_ int fd = open(store_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fstatat(fd, "lock", &lock, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstatat(fd, "index", &index, 0) == 0 && names_are_kept(&lock, &index);
}

/* A reference has a registry, and so a "/", which is "%" in the name: index_file_name. */
bool names_is_one(const char *file_name)
{
    return file_name[0] == '@' || strchr(file_name, '%');
}

/* Opens what is below images/. NULL with *err, and *missing set where it is not there. */
static DIR *open_images(const char *store_dir, const char *id, bool *missing, struct error *err)
{
    _cleanup_free_ char *path = NULL;
    *missing = false;
    if (asprintf(&path, "%s/images/%s", store_dir, id) < 0) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    DIR *directory = directory_open(AT_FDCWD, path);
    if (!directory) {
        *missing = errno == ENOENT;
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot read %s", path);
    }
    return directory;
}

/* Names that are not read are not known: an image must not go because there seem to be none. */
static int cannot_read(const char *id, struct error *err)
{
    return error_set_errno(err, EXIT_OURS, errno, "cannot read the names of image %s", id);
}

/* A name that leads to another image by now has just not been removed here yet. */
static int add_name(int index_fd, const char *file_name, const char *id, const char *manifest,
                    struct index_list *list, struct error *err)
{
    struct index_entry entry;
    int found = index_read(index_fd, file_name, &entry, err);
    if (found <= 0)
        return found;
    if (strcmp(entry.config, id) == 0 && strcmp(entry.manifest, manifest) == 0)
        return index_list_add(list, &entry, err);
    index_entry_free(&entry);
    return 0;
}

static int add_names(int index_fd, int image_fd, const char *id, const char *manifest,
                     struct index_list *list, struct error *err)
{
    _cleanup_closedir_ DIR *directory = directory_open(image_fd, manifest);
    if (!directory && errno == ENOENT)
        return 0; /* a directory that is gone was of an image that is */
    if (!directory)
        return cannot_read(id, err);
    for (const struct dirent *file; (file = directory_next(directory));)
        if (names_is_one(file->d_name) &&
            add_name(index_fd, file->d_name, id, manifest, list, err) < 0)
            return -1;
    return errno == 0 ? 0 : cannot_read(id, err);
}

static int read_names(const char *store_dir, const char *id, struct index_list *list,
                      struct error *err)
{
    bool missing;
    _cleanup_closedir_ DIR *image = open_images(store_dir, id, &missing, err);
    if (!image)
        return missing ? 0 : -1;
    _cleanup_close_ int index_fd = index_open(store_dir, &missing, err);
    if (index_fd < 0)
        return -1;
    for (const struct dirent *file; (file = directory_next(image));)
        if (digest_is_hex(file->d_name) &&
            add_names(index_fd, dirfd(image), id, file->d_name, list, err) < 0)
            return -1;
    if (errno != 0)
        return cannot_read(id, err);
    index_list_sort(list);
    return 0;
}

static int read_index(const char *store_dir, const char *id, struct index_list *list,
                      struct error *err)
{
    struct index_list all;
    if (index_list(store_dir, &all, err) < 0)
        return -1;
    int result = 0;
    for (size_t i = 0; i < all.count && result == 0; i++) {
        struct index_entry *entry = &all.entries[i];
        if (strcmp(entry->config, id) != 0)
            continue;
        struct index_entry taken = *entry;
        *entry = (struct index_entry){ 0 };
        result = index_list_add(list, &taken, err);
    }
    index_list_free(&all);
    return result;
}

int names_of_image(const char *store_dir, const char *id, bool kept, struct index_list *list,
                   struct error *err)
{
    *list = (struct index_list){ 0 };
    int result = kept ? read_names(store_dir, id, list, err) : read_index(store_dir, id, list, err);
    if (result < 0)
        index_list_free(list);
    return result;
}

int names_find_id(const char *store_dir, const char *prefix, char id[STORE_DIGEST_HEX + 1],
                  struct error *err)
{
    bool missing;
    int found = 0;
    if (digest_is_hex(prefix)) { /* all of it: there is nothing to look for */
        memcpy(id, prefix, STORE_DIGEST_HEX + 1);
        return 1;
    }
    _cleanup_closedir_ DIR *images = open_images(store_dir, "", &missing, err);
    if (!images)
        return missing ? 0 : -1;
    for (const struct dirent *file; (file = directory_next(images));) {
        if (!digest_is_hex(file->d_name) || strncmp(file->d_name, prefix, strlen(prefix)) != 0)
            continue;
        if (found)
            return index_refuse_prefix(prefix, id, file->d_name, err);
        memcpy(id, file->d_name, STORE_DIGEST_HEX + 1);
        found = 1;
    }
    return errno == 0 ? found
                      : error_set_errno(err, EXIT_OURS, errno, "cannot read %s/images", store_dir);
}
