#include "usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "directory.h"
#include "marks.h"

static bool has_config(const struct index_list *list, size_t from, size_t to, const char *config)
{
    for (size_t i = from; i < to; i++)
        if (strcmp(list->entries[i].config, config) == 0)
            return true;
    return false;
}

static bool is_active(const struct index_list *list, const char *config,
                      const struct usage_view *view)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->entries[i].config, config) == 0 &&
            view->uses_image(view->context, &list->entries[i]))
            return true;
    return false;
}

static int mark_active(int blobs_fd, const struct index_list *list, const struct usage_view *view,
                       struct usage *usage, struct marks marks[2], struct error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct index_entry *entry = &list->entries[i];
        bool active = is_active(list, entry->config, view);
        if (!has_config(list, 0, i, entry->config)) {
            usage->images++;
            usage->active += active;
        }
        if (active && marks_add_image(blobs_fd, entry, &marks[0], &marks[1], err) < 0)
            return -1;
    }
    return 0;
}

static int measure_files(int dir_fd, const struct marks *marks, const struct usage_view *view,
                         struct usage *usage, struct error *err)
{
    _cleanup_closedir_ DIR *directory = directory_open(dir_fd, ".");
    if (!directory)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the image store");
    for (const struct dirent *entry; (entry = directory_next(directory));) {
        char hex[STORE_DIGEST_HEX + 1];
        struct stat status;
        (void)snprintf(hex, sizeof hex, "%.*s", STORE_DIGEST_HEX, entry->d_name);
        if (!digest_is_hex(hex) || fstatat(dir_fd, entry->d_name, &status, 0) < 0)
            continue;
        usage->bytes += status.st_size;
        if (!marks_have(marks, hex) && !(view && view->uses_layer(view->context, hex)))
            usage->reclaimable += status.st_size;
    }
    return errno == 0 ? 0 : error_set_errno(err, EXIT_OURS, errno, "cannot read the image store");
}

static int open_directory(const char *store_dir, const char *name, struct error *err)
{
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/%s", store_dir, name) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : error_set_errno(err, EXIT_OURS, errno, "cannot open %s", path);
}

static int measure(const char *store_dir, const struct index_list *list,
                   const struct usage_view *view, struct usage *usage, struct marks marks[2],
                   struct error *err)
{
    _cleanup_close_ int blobs_fd = open_directory(store_dir, "blobs/sha256", err);
    _cleanup_close_ int layers_fd = blobs_fd < 0 ? -1 : open_directory(store_dir, "layers", err);
    if (layers_fd < 0 || mark_active(blobs_fd, list, view, usage, marks, err) < 0)
        return -1;
    marks_sort(&marks[0]);
    marks_sort(&marks[1]);
    return measure_files(blobs_fd, &marks[0], NULL, usage, err) < 0
               ? -1
               : measure_files(layers_fd, &marks[1], view, usage, err);
}

int usage_measure(const char *store_dir, const struct usage_view *view, struct usage *usage,
                  struct error *err)
{
    struct index_list list;
    struct marks marks[2] = { { 0 }, { 0 } };
    *usage = (struct usage){ 0 };
    if (access(store_dir, F_OK) < 0 && errno == ENOENT)
        return 0;
    if (index_list(store_dir, &list, err) < 0)
        return -1;
    int result = measure(store_dir, &list, view, usage, marks, err);
    marks_free(&marks[0]);
    marks_free(&marks[1]);
    index_list_free(&list);
    return result;
}
