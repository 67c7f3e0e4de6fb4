/* Do the links of images keep what they need, and nothing else? */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "directory.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/check_parts.h"
#include "runtime/image/helper/layer.h"
#include "runtime/image/helper/links.h"

enum { OBJECT = CHECK_NAME + 32 };

/* --- what is missing -------------------------------------------------------------------------- */

/* What the store lacks is another finding's affair. */
static bool lacks_link(int image_fd, int dir_fd, const char *name)
{
    struct stat file;
    struct stat link;
    if (fstatat(dir_fd, name, &file, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    return fstatat(image_fd, name, &link, AT_SYMLINK_NOFOLLOW) < 0 || link.st_ino != file.st_ino;
}

static bool lacks_links(const struct store *store, int image_fd, const struct index_entry *entry)
{
    char name[NAME_MAX + 1];
    struct marks blobs = { 0 };
    struct marks layers = { 0 };
    struct error unreadable; /* which is another finding's affair, too */
    (void)marks_add_image(store->blobs_fd, entry, &blobs, &layers, &unreadable);
    index_file_name(entry->reference, entry->manifest, name);
    bool lacks = faccessat(image_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
    for (size_t i = 0; i < blobs.count && !lacks; i++)
        lacks = lacks_link(image_fd, store->blobs_fd, blobs.hex[i]);
    for (size_t i = 0; i < layers.count && !lacks; i++) {
        char file[STORE_DIGEST_HEX + 8];
        layer_file_name(layers.hex[i], file);
        lacks = lacks_link(image_fd, store->layers_fd, file);
    }
    marks_free(&blobs);
    marks_free(&layers);
    return lacks;
}

static int check_image_links(struct check *check, const struct index_entry *entry,
                             struct error *err)
{
    char path[2 * STORE_DIGEST_HEX + 2];
    char name[CHECK_NAME];
    char object[OBJECT];
    (void)snprintf(path, sizeof path, "%s/%s", entry->config, entry->manifest);
    _cleanup_close_ int image_fd =
        openat(check->store.images_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (image_fd >= 0 && !lacks_links(&check->store, image_fd, entry))
        return 0;
    (void)snprintf(object, sizeof object, "links of %s", check_name_of(entry, name));
    const struct finding finding = { .kind = FINDING_LINKS,
                                     .object = object,
                                     .dir_fd = -1,
                                     .cause = (char *)"they do not keep all that it needs" };
    return check_blame(check, &finding, NULL, err);
}

/* --- what is too much ------------------------------------------------------------------------- */

/* manifest: NULL: any. */
static bool is_listed(const struct check *check, const char *id, const char *manifest)
{
    for (size_t i = 0; i < check->entries.count; i++)
        if (strcmp(check->entries.entries[i].config, id) == 0 &&
            (!manifest || strcmp(check->entries.entries[i].manifest, manifest) == 0))
            return true;
    return false;
}

static int cannot_read(const struct check *check, struct error *err)
{
    return error_set_errno(err, EXIT_OURS, errno, "cannot read %s/images", check->store.path);
}

/* path: below images/. right: it is called as it may be. */
static int blame(struct check *check, char *path, bool right, struct error *err)
{
    char printable[CHECK_NAME];
    char object[OBJECT];
    (void)snprintf(object, sizeof object, "images/%s",
                   document_printable(path, printable, sizeof printable));
    const struct finding finding = {
        .kind = right ? FINDING_ORPHAN : FINDING_STRAY,
        .object = object,
        .dir_fd = check->store.images_fd,
        .file = path,
        .cause = (char *)(right ? "no name leads to this image" : "it does not belong there"),
    };
    return check_blame(check, &finding, NULL, err);
}

static int blame_directory(struct check *check, const char *id, const char *manifest,
                           struct error *err)
{
    char path[2 * NAME_MAX + 2];
    (void)snprintf(path, sizeof path, "%s%s%s", id, manifest ? "/" : "", manifest ? manifest : "");
    return blame(check, path, digest_is_hex(id) && (!manifest || digest_is_hex(manifest)), err);
}

/* Visits images/, and with an id what is below images/<id>. */
static int visit_directories(struct check *check, const char *id, struct error *err)
{
    _cleanup_closedir_ DIR *directory = directory_open(check->store.images_fd, id ? id : ".");
    if (!directory)
        return cannot_read(check, err);
    for (const struct dirent *file; (file = directory_next(directory));) {
        const char *name = file->d_name;
        if (!id && (strcmp(name, LINKS_KEPT) == 0 || strcmp(name, LINKS_LOCK) == 0))
            continue;
        int result = !is_listed(check, id ? id : name, id ? name : NULL)
                         ? blame_directory(check, id ? id : name, id ? name : NULL, err)
                     : id ? 0
                          : visit_directories(check, name, err);
        if (result < 0)
            return -1;
    }
    return errno == 0 ? 0 : cannot_read(check, err);
}

/* What workloads need of it is looked at with them; what else there is may go with a removal. */
static int visit_kept(struct check *check, struct error *err)
{
    _cleanup_closedir_ DIR *directory = directory_open(check->store.images_fd, LINKS_KEPT);
    if (!directory && errno == ENOENT)
        return 0;
    if (!directory && (errno == ENOTDIR || errno == ELOOP))
        return blame(check, (char *)LINKS_KEPT, false, err);
    if (!directory)
        return cannot_read(check, err);
    for (const struct dirent *file; (file = directory_next(directory));) {
        int dir_fd = -1;
        struct stat status;
        char path[NAME_MAX + sizeof LINKS_KEPT + 1];
        (void)snprintf(path, sizeof path, "%s/%s", LINKS_KEPT, file->d_name);
        bool right = links_find_directory(&check->store, file->d_name, &dir_fd) &&
                     dir_fd == check->store.layers_fd &&
                     fstatat(check->store.images_fd, path, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                     S_ISREG(status.st_mode);
        if (!right && blame(check, path, false, err) < 0)
            return -1;
    }
    return errno == 0 ? 0 : cannot_read(check, err);
}

int check_links(struct check *check, bool right, struct error *err)
{
    for (size_t i = 0; i < check->entries.count && right; i++)
        if (check_image_links(check, &check->entries.entries[i], err) < 0)
            return -1;
    /* What an entry that cannot be read leads to is not known. */
    if (!check->blind && visit_directories(check, NULL, err) < 0)
        return -1;
    return visit_kept(check, err);
}
