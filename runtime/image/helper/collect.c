#include "runtime/image/helper/collect.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/layer.h"
#include "runtime/image/index.h"
#include "runtime/image/marks.h"

/* --- what images use -------------------------------------------------------------------------- */

static int mark_images(const struct store *store, struct marks *blobs, struct marks *layers,
                       struct error *err)
{
    struct index_list list;
    if (index_list(store->path, &list, err) < 0)
        return -1;
    int result = 0;
    for (size_t i = 0; i < list.count && result == 0; i++)
        result = marks_add_image(store->blobs_fd, &list.entries[i], blobs, layers, err);
    index_list_free(&list);
    return result;
}

/* --- what workloads use ----------------------------------------------------------------------- */

int collect_visit_workloads(const char *root, const struct workload_visit *visit, struct error *err)
{
    int fd = root ? open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    /* One that was made after this process was confined may not be read, and not be passed over. */
    if (root && fd < 0 && errno != ENOENT)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot read %s, where workloads are; try again", root);
    _cleanup_closedir_ DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (!directory)
        return 0;
    for (const struct dirent *entry; (entry = readdir(directory));) {
        char path[NAME_MAX + 16];
        (void)snprintf(path, sizeof path, "%s/state.json", entry->d_name);
        if (entry->d_name[0] == '.' || faccessat(fd, path, R_OK, 0) < 0)
            continue;
        struct error unreadable = { 0 };
        _cleanup_json_ json_t *state = document_read(fd, path, path, NULL, &unreadable);
        int result = state ? visit->visit(entry->d_name, state, visit->context, err) : 0;
        if (result != 0)
            return result;
    }
    return 0;
}

static int mark_layers_of_workload(const char *id, const json_t *state, void *context,
                                   struct error *err)
{
    (void)id;
    const json_t *layers = json_object_get(state, "layers");
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const char *hex = json_string_value(json_array_get(layers, i));
        if (hex && digest_is_hex(hex) && marks_add(context, hex, err) < 0)
            return -1;
    }
    return 0;
}

/* --- sweeping --------------------------------------------------------------------------------- */

static int sweep(int dir_fd, const char *suffix, struct marks *marks, const char *what,
                 struct error *err)
{
    marks_sort(marks);
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (!directory)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the store's %s", what);
    for (const struct dirent *entry; (entry = readdir(directory));) {
        char hex[STORE_DIGEST_HEX + 1];
        (void)snprintf(hex, sizeof hex, "%.*s", STORE_DIGEST_HEX, entry->d_name);
        if (!digest_is_hex(hex) || strcmp(entry->d_name + STORE_DIGEST_HEX, suffix) != 0 ||
            marks_have(marks, hex))
            continue;
        if (unlinkat(dir_fd, entry->d_name, 0) < 0 && errno != ENOENT)
            return error_set_errno(err, EXIT_OURS, errno, "cannot remove %s", entry->d_name);
    }
    return 0;
}

/* Who signed an image is of interest as long as its manifest is there. */
static int sweep_signatures(const struct store *store, struct marks *blobs, struct error *err)
{
    _cleanup_close_ int fd =
        openat(store->fd, "signatures", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open signatures in the store");
    return sweep(fd, "", blobs, "signatures", err);
}

int collect_garbage(const struct store *store, const char *root, struct error *err)
{
    struct marks blobs = { 0 };
    struct marks layers = { 0 };
    const struct workload_visit visit = { mark_layers_of_workload, &layers };
    int result = mark_images(store, &blobs, &layers, err);
    if (result == 0)
        result = collect_visit_workloads(root, &visit, err);
    /* Names that are gone must be so before what they led to: a power cut keeps any order. */
    if (result == 0 && fsync(store->index_fd) < 0)
        result = error_set_errno(err, EXIT_OURS, errno, "cannot sync the image store");
    if (result == 0)
        result = sweep(store->blobs_fd, "", &blobs, "blobs", err);
    if (result == 0)
        result = sweep(store->layers_fd, ".erofs", &layers, "layers", err);
    if (result == 0)
        result = sweep_signatures(store, &blobs, err);
    marks_free(&blobs);
    marks_free(&layers);
    return result;
}

/* --- removing an image ------------------------------------------------------------------------ */

struct user_search {
    const char *reference; /* NULL: any name of the image */
    const char *config;
};

/* A workload names its image as it resolved it: a reference, or sha256:<id>. */
static int refuse_if_used(const char *id, const json_t *state, void *context, struct error *err)
{
    const struct user_search *search = context;
    const char *image = json_string_value(json_object_get(state, "image"));
    if (!image)
        return 0;
    const char *hex = digest_hex(image);
    bool used = hex ? strcmp(hex, search->config) == 0
                    : search->reference && strcmp(image, search->reference) == 0;
    char printable[200];
    if (used)
        return error_set(err, EXIT_OURS,
                         "image %s is used by workload %s; remove it first (hybrid rm %s) or use "
                         "-f",
                         search->reference ? reference_familiar(search->reference) : image,
                         document_printable(id, printable, sizeof printable), printable);
    return 0;
}

int collect_check_users(const char *root, const struct index_entry *entry, struct error *err)
{
    struct user_search search = { entry->reference, entry->config };
    const struct workload_visit visit = { refuse_if_used, &search };
    return collect_visit_workloads(root, &visit, err);
}

static int append_line(char **text, const char *label, const char *name, struct error *err)
{
    char *longer = NULL;
    if (asprintf(&longer, "%s%s%s\n", *text ? *text : "", label, name) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    free(*text);
    *text = longer;
    return 0;
}

int collect_remove_entry(const struct store *store, const struct index_entry *entry, bool last,
                         char **removed, struct error *err)
{
    char file_name[NAME_MAX + 1];
    index_file_name(entry->reference, entry->manifest, file_name);
    if (unlinkat(store->index_fd, file_name, 0) < 0 && errno != ENOENT)
        return error_set_errno(err, EXIT_OURS, errno, "cannot remove index entry %s", file_name);
    if (entry->reference &&
        append_line(removed, "Untagged: ", reference_familiar(entry->reference), err) < 0)
        return -1;
    return last ? append_line(removed, "Deleted: sha256:", entry->config, err) : 0;
}

/* Is `entry` meant? By its own reference, or, when found by id, by any entry of that image. */
static bool is_meant(const struct index_entry *entry, const struct index_entry *found, bool exact)
{
    if (!exact)
        return strcmp(entry->config, found->config) == 0;
    return entry->reference && found->reference && strcmp(entry->reference, found->reference) == 0;
}

static int remove_entries(const struct store *store, const char *root,
                          const struct index_list *list, const struct index_entry *found,
                          bool exact, bool force, char **removed, struct error *err)
{
    bool others = false;
    for (size_t i = 0; i < list->count; i++)
        if (!force && is_meant(&list->entries[i], found, exact) &&
            collect_check_users(root, &list->entries[i], err) < 0)
            return -1;
    for (size_t i = 0; i < list->count; i++) {
        const struct index_entry *entry = &list->entries[i];
        if (!is_meant(entry, found, exact))
            others = others || strcmp(entry->config, found->config) == 0;
        else if (collect_remove_entry(store, entry, false, removed, err) < 0)
            return -1;
    }
    return others ? 0 : append_line(removed, "Deleted: sha256:", found->config, err);
}

int collect_remove_image(const struct store *store, const char *root, const char *name, bool force,
                         char **removed, struct error *err)
{
    struct index_entry found = { 0 };
    struct index_list list = { 0 };
    bool exact;
    _cleanup_close_ int lock = store_lock(store, err);
    if (lock < 0 || index_find(store->path, name, &found, &exact, err) <= 0)
        return -1;
    int result = index_list(store->path, &list, err);
    if (result == 0)
        result = remove_entries(store, root, &list, &found, exact, force, removed, err);
    index_list_free(&list);
    index_entry_free(&found);
    return result == 0 ? collect_garbage(store, root, err) : -1;
}
