#include "runtime/image/helper/prune.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "runtime/image/helper/collect.h"

/* Bytes of the files in a directory of the store. */
static int64_t measure(int dir_fd)
{
    int64_t bytes = 0;
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    for (const struct dirent *entry; directory && (entry = readdir(directory));) {
        struct stat status;
        if (fstatat(dir_fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(status.st_mode))
            bytes += status.st_size;
    }
    return bytes;
}

/* A workload keeps its image under all of its names. */
static bool is_used(const char *root, const struct index_list *list,
                    const struct index_entry *image)
{
    struct error used;
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->entries[i].config, image->config) == 0 &&
            collect_check_users(root, &list->entries[i], &used) < 0)
            return true;
    return false;
}

/* Once this entry is removed, does another lead to its image? With `all`, earlier ones are gone. */
static bool is_last(const struct index_list *list, size_t position, bool all)
{
    for (size_t i = all ? position + 1 : 0; i < list->count; i++)
        if (i != position && strcmp(list->entries[i].config, list->entries[position].config) == 0)
            return false;
    return true;
}

static int remove_unused(const struct store *store, const char *root, const struct index_list *list,
                         bool all, char **removed, struct error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct index_entry *entry = &list->entries[i];
        if ((entry->reference && !all) || is_used(root, list, entry))
            continue;
        if (collect_remove_entry(store, entry, is_last(list, i, all), removed, err) < 0)
            return -1;
    }
    return 0;
}

int prune_images(const struct store *store, const char *root, bool all, char **removed,
                 int64_t *bytes, struct error *err)
{
    struct index_list list;
    _cleanup_close_ int lock = store_lock(store, err);
    if (lock < 0 || index_list(store->path, &list, err) < 0)
        return -1;
    int64_t before = measure(store->blobs_fd) + measure(store->layers_fd);
    int result = remove_unused(store, root, &list, all, removed, err);
    index_list_free(&list);
    if (result < 0 || collect_garbage(store, root, err) < 0)
        return -1;
    *bytes = before - measure(store->blobs_fd) - measure(store->layers_fd);
    return 0;
}
