#include "runtime/image/helper/unpack.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/image/document.h"
#include "runtime/image/helper/erofs_attributes.h"

enum {
    PRINTABLE = 300,
    MAX_MAJOR = 0xfff, /* what a device number has room for, on disk and in the kernel */
    MAX_MINOR = 0xfffff,
};

static const char whiteout_prefix[] = ".wh.";
static const char opaque_name[] = ".wh..wh..opq";
static const char aufs_prefix[] = ".wh..wh."; /* other metadata of aufs: says nothing of files */

/* Where an entry goes, and what is known of it. */
struct place {
    const char *path; /* clean */
    const char *base;
    struct tree_inode *parent;
    struct tree_inode *former; /* what has the name already; NULL: nothing */
};

/* --- errors ---------------------------------------------------------------------------------- */

/* "layer entry usr/bin/x: reason" */
static int refuse(const char *path, const char *reason, struct error *err)
{
    char printable[PRINTABLE];
    document_printable(*path ? path : "/", printable, sizeof printable);
    return error_set(err, EXIT_OURS, "layer entry %s: %s", printable, reason);
}

static int fail(const char *path, const char *action, struct error *err)
{
    char printable[PRINTABLE];
    const int cause = errno;
    if (cause == EOVERFLOW)
        return refuse(path, "the layer's names, links and attributes take more than 1 GiB", err);
    if (cause == EFBIG)
        return refuse(path, "the layer has more blocks than EROFS can count", err);
    document_printable(*path ? path : "/", printable, sizeof printable);
    (void)error_set_errno(err, EXIT_OURS, cause, "layer entry %s: %s", printable, action);
    return error_see_store(err, cause);
}

/* --- begin and end --------------------------------------------------------------------------- */

int unpack_begin(struct unpack *unpack, int fd, int spool_fd, struct error *err)
{
    *unpack = (struct unpack){ 0 };
    erofs_begin(&unpack->erofs, fd, spool_fd);
    return tree_begin(&unpack->tree) < 0 ? fail("", "cannot prepare it", err) : 0;
}

int unpack_finish(struct unpack *unpack, struct error *err)
{
    if (erofs_finish(&unpack->erofs, &unpack->tree) < 0)
        return fail("", "cannot write the layer's file", err);
    return 0;
}

void unpack_free(struct unpack *unpack)
{
    tree_free(&unpack->tree);
}

/* --- whiteouts ------------------------------------------------------------------------------- */

/*
 * Whiteouts hide what lower layers hold and come before this layer's own entries, in whatever
 * order the archive has them.
 */
static int apply_whiteout(struct unpack *unpack, const struct place *place, struct error *err)
{
    const char *hidden = place->base + sizeof whiteout_prefix - 1;
    if (strcmp(place->base, opaque_name) == 0) {
        place->parent->opaque = true;
        return 0;
    }
    if (strncmp(place->base, aufs_prefix, sizeof aufs_prefix - 1) == 0)
        return 0;
    if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
        return refuse(place->path, "a whiteout of no name", err);
    struct tree_inode *found = tree_find(place->parent, hidden);
    if (found) {
        found->opaque = S_ISDIR(found->mode);
        return 0;
    }
    struct tree_inode *whiteout = tree_make_inode(&unpack->tree, S_IFCHR);
    if (!whiteout || tree_put(&unpack->tree, place->parent, hidden, whiteout) < 0)
        return fail(place->path, "cannot note the whiteout", err);
    return 0;
}

/* --- metadata -------------------------------------------------------------------------------- */

/* libarchive 3.6 reads "-1.5" of a pax header as -1 s and 0.5 s: the sign is that of both. */
static void set_time(struct tree_inode *inode, struct archive_entry *entry)
{
    const long nanoseconds = archive_entry_mtime_nsec(entry);
    const bool is_below = archive_entry_mtime(entry) < 0 && nanoseconds > 0;
    if (!archive_entry_mtime_is_set(entry))
        return;
    inode->mtime = archive_entry_mtime(entry) - (is_below ? 1 : 0);
    inode->mtime_nsec = (uint32_t)(is_below ? 1000000000 - nanoseconds : nanoseconds);
}

static int set_metadata(struct unpack *unpack, const char *path, struct tree_inode *inode,
                        struct archive_entry *entry, struct error *err)
{
    struct error cause = { 0 };
    const la_int64_t uid = archive_entry_uid(entry);
    const la_int64_t gid = archive_entry_gid(entry);
    const la_int64_t most = UINT32_MAX - 1; /* (uid_t)-1 means none */
    if (uid < 0 || uid > most || gid < 0 || gid > most)
        return refuse(path, "its owner is not a user id of 32 bits", err);
    inode->is_left_out = false;
    inode->uid = (uint32_t)uid;
    inode->gid = (uint32_t)gid;
    inode->mode =
        (inode->mode & S_IFMT) | (S_ISLNK(inode->mode) ? 0777 : archive_entry_perm(entry) & 07777);
    set_time(inode, entry);
    if (erofs_set_attributes(&unpack->tree, inode, entry, &cause) < 0)
        return refuse(path, cause.message, err);
    return 0;
}

/* --- one file type each ---------------------------------------------------------------------- */

static int copy_content(struct unpack *unpack, struct archive *archive, const struct place *place,
                        const struct tree_inode *inode, struct error *err)
{
    const void *data;
    size_t length;
    la_int64_t offset;
    int result;
    while ((result = archive_read_data_block(archive, &data, &length, &offset)) == ARCHIVE_OK) {
        if (offset < 0 || (uint64_t)offset > inode->size || length > inode->size - (uint64_t)offset)
            return refuse(place->path, "its content exceeds its size", err);
        if (length > 0 && erofs_write(&unpack->erofs, inode, data, length, (uint64_t)offset) < 0)
            return fail(place->path, "cannot write its content", err);
    }
    if (result != ARCHIVE_EOF)
        return refuse(place->path, archive_error_string(archive), err);
    return 0;
}

static int fill_file(struct unpack *unpack, struct archive *archive, const struct place *place,
                     struct tree_inode *inode, struct archive_entry *entry, struct error *err)
{
    const int64_t size = archive_entry_size(entry);
    if (size < 0 || size > UNPACK_MAX_BYTES - unpack->bytes)
        return refuse(place->path, "the layer's files hold more than 64 GiB", err);
    unpack->bytes += size;
    inode->size = (uint64_t)size;
    if (erofs_reserve(&unpack->erofs, inode) < 0)
        return fail(place->path, "cannot make room for its content", err);
    return copy_content(unpack, archive, place, inode, err);
}

static int fill_link(struct unpack *unpack, const struct place *place, struct tree_inode *inode,
                     struct archive_entry *entry, struct error *err)
{
    const char *target = archive_entry_symlink(entry);
    if (!target || !*target)
        return refuse(place->path, "a symbolic link to nothing", err);
    inode->size = strlen(target);
    if (inode->size >= PATH_MAX)
        return refuse(place->path, "a symbolic link to a path of more than 4095 bytes", err);
    char *copy = tree_allocate(&unpack->tree, inode->size + 1);
    if (!copy || erofs_reserve(&unpack->erofs, inode) < 0)
        return fail(place->path, "cannot note the symbolic link", err);
    memcpy(copy, target, inode->size + 1);
    inode->target = copy;
    return 0;
}

/* The kernel's new_encode_dev(). */
static int fill_device(const struct place *place, struct tree_inode *inode,
                       struct archive_entry *entry, struct error *err)
{
    const dev_t major = archive_entry_rdevmajor(entry);
    const dev_t minor = archive_entry_rdevminor(entry);
    if (major > MAX_MAJOR || minor > MAX_MINOR)
        return refuse(place->path, "its device number is larger than 4095:1048575", err);
    inode->device = (uint32_t)((minor & 0xff) | major << 8 | (minor & ~(dev_t)0xff) << 12);
    return 0;
}

static int fill(struct unpack *unpack, struct archive *archive, const struct place *place,
                struct tree_inode *inode, struct archive_entry *entry, struct error *err)
{
    switch (inode->mode & S_IFMT) {
    case S_IFREG:
        return fill_file(unpack, archive, place, inode, entry, err);
    case S_IFLNK:
        return fill_link(unpack, place, inode, entry, err);
    case S_IFCHR:
    case S_IFBLK:
        return fill_device(place, inode, entry, err);
    case S_IFIFO:
        return 0;
    default:
        return refuse(place->path, "its type is unknown", err);
    }
}

/* --- entries --------------------------------------------------------------------------------- */

/* A directory that comes twice keeps its content, one that the layer deletes too begins anew. */
static int apply_directory(struct unpack *unpack, const struct place *place,
                           struct archive_entry *entry, struct error *err)
{
    struct tree_inode *inode = place->former;
    if (!inode || !S_ISDIR(inode->mode)) {
        inode = tree_make_directory(&unpack->tree, place->parent, place->base);
        if (!inode)
            return fail(place->path, "cannot note the directory", err);
        inode->opaque = place->former && tree_is_whiteout(place->former);
    }
    return set_metadata(unpack, place->path, inode, entry, err);
}

static int apply_file(struct unpack *unpack, struct archive *archive, const struct place *place,
                      struct archive_entry *entry, struct error *err)
{
    struct tree_inode *inode = tree_make_inode(&unpack->tree, archive_entry_filetype(entry));
    if (!inode)
        return fail(place->path, "cannot note it", err);
    if (set_metadata(unpack, place->path, inode, entry, err) < 0 ||
        fill(unpack, archive, place, inode, entry, err) < 0)
        return -1;
    if (tree_put(&unpack->tree, place->parent, place->base, inode) < 0)
        return fail(place->path, "cannot note it", err);
    return 0;
}

/* The directory of a path that is not empty, or NULL with *err. */
static struct tree_inode *open_parent(struct unpack *unpack, const char *path, struct error *err)
{
    char parent[ARCHIVE_MAX_PATH + 1];
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) : 0;
    memcpy(parent, path, length);
    parent[length] = '\0';
    struct tree_inode *found = tree_open_directory(&unpack->tree, parent, true);
    if (!found && (errno == EXDEV || errno == ELOOP))
        (void)refuse(path, "a symbolic link in its path leaves the root of the image", err);
    else if (!found)
        (void)fail(path, "cannot open its directory", err);
    return found;
}

static int find_place(struct unpack *unpack, const char *path, struct place *place,
                      struct error *err)
{
    const char *slash = strrchr(path, '/');
    *place = (struct place){ .path = path, .base = slash ? slash + 1 : path };
    if (strlen(place->base) > NAME_MAX) {
        (void)refuse(path, "its name is longer than 255 bytes", err);
        return -1;
    }
    place->parent = open_parent(unpack, path, err);
    if (!place->parent)
        return -1;
    place->former = tree_find(place->parent, place->base);
    return 0;
}

/* The target must be an entry of the same layer: a layer alone says what the link names. */
static int apply_hard_link(struct unpack *unpack, const struct place *place, const char *target,
                           struct error *err)
{
    char clean[ARCHIVE_MAX_PATH + 1];
    if (archive_clean_path(target, clean, err) < 0)
        return -1;
    char *slash = strrchr(clean, '/');
    const char *base = slash ? slash + 1 : clean;
    if (slash)
        *slash = '\0';
    const struct tree_inode *directory =
        tree_open_directory(&unpack->tree, slash ? clean : "", false);
    if (!directory && (errno == EXDEV || errno == ELOOP))
        return refuse(place->path, "its hard link leaves the root of the image", err);
    struct tree_inode *inode = directory ? tree_find(directory, base) : NULL;
    const bool itself = directory == place->parent && strcmp(base, place->base) == 0;
    if (!inode || tree_is_whiteout(inode) || itself)
        return refuse(place->path, "a hard link to what the layer does not hold", err);
    if (S_ISDIR(inode->mode))
        return refuse(place->path, "a hard link to a directory", err);
    if (tree_put(&unpack->tree, place->parent, place->base, inode) < 0)
        return fail(place->path, "cannot note the hard link", err);
    return 0;
}

int unpack_entry(struct unpack *unpack, struct archive *archive, struct archive_entry *entry,
                 struct error *err)
{
    char path[ARCHIVE_MAX_PATH + 1];
    struct place place = { .path = path };
    if (archive_clean_path(archive_entry_pathname(entry), path, err) < 0)
        return -1;
    if (++unpack->entries > UNPACK_MAX_ENTRIES)
        return refuse(path, "the layer has more than 2,000,000 entries", err);
    const char *hard_link = archive_entry_hardlink(entry);
    const bool is_directory = !hard_link && archive_entry_filetype(entry) == AE_IFDIR;
    if (!*path)
        return is_directory ? set_metadata(unpack, path, unpack->tree.root, entry, err)
                            : refuse(path, "the root is not a directory", err);
    if (find_place(unpack, path, &place, err) < 0)
        return -1;
    if (strncmp(place.base, whiteout_prefix, sizeof whiteout_prefix - 1) == 0)
        return apply_whiteout(unpack, &place, err);
    if (hard_link)
        return apply_hard_link(unpack, &place, hard_link, err);
    return is_directory ? apply_directory(unpack, &place, entry, err)
                        : apply_file(unpack, archive, &place, entry, err);
}
