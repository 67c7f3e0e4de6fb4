#include "runtime/image/helper/unpack.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/staging.h"
#include "runtime/image/helper/unpack_path.h"

static const char whiteout_prefix[] = ".wh.";
static const char opaque_name[] = ".wh..wh..opq";
static const char aufs_prefix[] = ".wh..wh."; /* other metadata of aufs: says nothing of files */

/* Where an entry goes, and what is known of it. */
struct place {
    const char *path; /* clean */
    const char *base;
    int parent_fd;
    bool was_whiteout;  /* this layer also deletes the name below */
    bool was_directory; /* a directory is there already and the entry is one */
};

int unpack_begin(struct unpack *unpack, int root_fd, struct error *err)
{
    *unpack = (struct unpack){ .root_fd = root_fd, .parent_fd = -1 };
    if (fchmod(root_fd, 0755) < 0 || fchown(root_fd, 0, 0) < 0 ||
        unpack_remember_directory(unpack, "", (struct timespec){ 0 }) < 0)
        return unpack_fail("/", errno, "cannot prepare it", err);
    return 0;
}

void unpack_free(struct unpack *unpack)
{
    for (size_t i = 0; i < unpack->directory_count; i++)
        free(unpack->directories[i].path);
    free(unpack->directories);
    unpack_forget_parent(unpack);
}

static bool is_whiteout(const struct stat *status)
{
    return S_ISCHR(status->st_mode) && status->st_rdev == makedev(0, 0);
}

/* EROFS and ext4 hold these; times before the epoch become it. */
static struct timespec entry_mtime(struct archive_entry *entry)
{
    const int64_t latest = 15032385535; /* what ext4 holds: the year 2446 */
    struct timespec mtime = { archive_entry_mtime(entry), archive_entry_mtime_nsec(entry) };
    if (!archive_entry_mtime_is_set(entry) || mtime.tv_sec < 0)
        mtime = (struct timespec){ 0 };
    if (mtime.tv_sec > latest)
        mtime = (struct timespec){ latest, 0 };
    return mtime;
}

static int mark_opaque(int parent_fd, const char *base, const char *path, struct error *err)
{
    _cleanup_close_ int fd =
        openat(parent_fd, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
        return unpack_fail(path, errno, "cannot mark the directory opaque", err);
    return 0;
}

/* --- whiteouts ------------------------------------------------------------------------------ */

/*
 * Whiteouts hide what lower layers hold and come before this layer's own entries, in whatever
 * order the archive has them.
 */
static int apply_whiteout(const struct place *place, struct error *err)
{
    const char *hidden = place->base + sizeof whiteout_prefix - 1;
    struct stat status;
    if (strcmp(place->base, opaque_name) == 0)
        return mark_opaque(place->parent_fd, ".", place->path, err);
    if (strncmp(place->base, aufs_prefix, sizeof aufs_prefix - 1) == 0)
        return 0;
    if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
        return unpack_refuse(place->path, "a whiteout of no name", err);
    if (fstatat(place->parent_fd, hidden, &status, AT_SYMLINK_NOFOLLOW) == 0)
        return S_ISDIR(status.st_mode) ? mark_opaque(place->parent_fd, hidden, place->path, err)
                                       : 0;
    if (mknodat(place->parent_fd, hidden, S_IFCHR, makedev(0, 0)) < 0)
        return unpack_fail(place->path, errno,
                           errno == EPERM ? "cannot make the whiteout (is the store itself on "
                                            "overlayfs? then use --data on another file system)"
                                          : "cannot make the whiteout",
                           err);
    const struct timespec times[2] = { { 0 }, { 0 } };
    if (utimensat(place->parent_fd, hidden, times, AT_SYMLINK_NOFOLLOW) < 0)
        return unpack_fail(place->path, errno, "cannot set its time", err);
    return 0;
}

/* --- metadata ------------------------------------------------------------------------------- */

/*
 * overlayfs' own attributes describe the overlay of whoever built the image, and SELinux labels
 * its host's policy: neither belongs to the file.
 */
static bool xattr_is_foreign(const char *name)
{
    static const char *const prefixes[] = { "trusted.overlay.", "user.overlay." };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return strcmp(name, "security.selinux") == 0;
}

/* A path that names the entry and not what it links to: only lsetxattr(2) takes links. */
static int set_xattrs(const struct place *place, struct archive_entry *entry, struct error *err)
{
    char path[NAME_MAX + 64];
    const char *name;
    const void *value;
    size_t size;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d/%s", place->parent_fd, place->base);
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
        if (!name || xattr_is_foreign(name))
            continue;
        if (lsetxattr(path, name, value, size, 0) < 0) {
            char action[XATTR_NAME_MAX + 128];
            char printable[XATTR_NAME_MAX];
            (void)snprintf(action, sizeof action, "cannot set its attribute %s%s",
                           document_printable(name, printable, sizeof printable),
                           errno == ENOTSUP ? " (the store's file system has none such; choose "
                                              "another with --data)"
                                            : "");
            return unpack_fail(place->path, errno, action, err);
        }
    }
    return 0;
}

/* In this order: chown(2) clears setuid bits and security.capability. */
static int set_metadata(const struct place *place, struct archive_entry *entry, struct error *err)
{
    const la_int64_t uid = archive_entry_uid(entry);
    const la_int64_t gid = archive_entry_gid(entry);
    const la_int64_t most = UINT32_MAX - 1; /* (uid_t)-1 means: leave it */
    if (uid < 0 || uid > most || gid < 0 || gid > most)
        return unpack_refuse(place->path, "its owner is not a user id of 32 bits", err);
    if (fchownat(place->parent_fd, place->base, (uid_t)uid, (gid_t)gid, AT_SYMLINK_NOFOLLOW) < 0)
        return unpack_fail(place->path, errno, "cannot set its owner", err);
    if (archive_entry_filetype(entry) != AE_IFLNK &&
        fchmodat(place->parent_fd, place->base, archive_entry_perm(entry) & 07777, 0) < 0)
        return unpack_fail(place->path, errno, "cannot set its mode", err);
    if (set_xattrs(place, entry, err) < 0)
        return -1;
    const struct timespec times[2] = { entry_mtime(entry), entry_mtime(entry) };
    if (utimensat(place->parent_fd, place->base, times, AT_SYMLINK_NOFOLLOW) < 0)
        return unpack_fail(place->path, errno, "cannot set its time", err);
    return 0;
}

/* --- one file type each --------------------------------------------------------------------- */

static int write_content(struct unpack *unpack, struct archive *archive, const struct place *place,
                         int fd, int64_t size, struct error *err)
{
    const void *data;
    size_t length;
    la_int64_t offset;
    if (size < 0 || size > UNPACK_MAX_BYTES - unpack->bytes)
        return unpack_refuse(place->path, "the layer's files hold more than 64 GiB", err);
    unpack->bytes += size;
    if (ftruncate(fd, size) < 0)
        return unpack_fail(place->path, errno, "cannot set its size", err);
    int result;
    while ((result = archive_read_data_block(archive, &data, &length, &offset)) == ARCHIVE_OK) {
        if (offset < 0 || offset > size || (int64_t)length > size - offset)
            return unpack_refuse(place->path, "its content exceeds its size", err);
        while (length > 0) {
            ssize_t written = pwrite(fd, data, length, offset);
            if (written < 0)
                return unpack_fail(place->path, errno, "cannot write its content", err);
            data = (const char *)data + written;
            offset += written;
            length -= (size_t)written;
        }
    }
    if (result != ARCHIVE_EOF)
        return unpack_refuse(place->path, archive_error_string(archive), err);
    return 0;
}

static int make_file(struct unpack *unpack, struct archive *archive, const struct place *place,
                     struct archive_entry *entry, struct error *err)
{
    _cleanup_close_ int fd = openat(place->parent_fd, place->base,
                                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return unpack_fail(place->path, errno, "cannot make the file", err);
    return write_content(unpack, archive, place, fd, archive_entry_size(entry), err);
}

static int make_directory(const struct place *place, struct error *err)
{
    if (!place->was_directory && mkdirat(place->parent_fd, place->base, 0700) < 0)
        return unpack_fail(place->path, errno, "cannot make the directory", err);
    return place->was_whiteout ? mark_opaque(place->parent_fd, place->base, place->path, err) : 0;
}

static int make_symlink(const struct place *place, struct archive_entry *entry, struct error *err)
{
    const char *target = archive_entry_symlink(entry);
    if (!target || !*target)
        return unpack_refuse(place->path, "a symbolic link to nothing", err);
    if (symlinkat(target, place->parent_fd, place->base) < 0)
        return unpack_fail(place->path, errno, "cannot make the symbolic link", err);
    return 0;
}

static int make_node(const struct place *place, struct archive_entry *entry, struct error *err)
{
    mode_t type = archive_entry_filetype(entry);
    dev_t device = type == AE_IFIFO ? 0
                                    : makedev((unsigned int)archive_entry_rdevmajor(entry),
                                              (unsigned int)archive_entry_rdevminor(entry));
    if (mknodat(place->parent_fd, place->base, type | 0600, device) < 0)
        return unpack_fail(place->path, errno, "cannot make the device or pipe", err);
    return 0;
}

/* The target must be an entry of the same layer: a layer alone says what the link names. */
static int make_hard_link(struct unpack *unpack, const struct place *place, const char *target,
                          struct error *err)
{
    char clean[ARCHIVE_MAX_PATH + 1];
    const char *slash;
    struct stat status;
    if (archive_clean_path(target, clean, err) < 0)
        return -1;
    slash = strrchr(clean, '/');
    char *base = slash ? clean + (slash - clean) + 1 : clean;
    if (slash)
        base[-1] = '\0';
    _cleanup_close_ int fd = unpack_open_directory(unpack, slash ? clean : "", 0);
    if (fd < 0 && (errno == EXDEV || errno == ELOOP))
        return unpack_refuse(place->path, "its hard link leaves the root of the image", err);
    if (fd < 0 || fstatat(fd, base, &status, AT_SYMLINK_NOFOLLOW) < 0 || is_whiteout(&status))
        return unpack_refuse(place->path, "a hard link to what the layer does not hold", err);
    if (S_ISDIR(status.st_mode))
        return unpack_refuse(place->path, "a hard link to a directory", err);
    if (linkat(fd, base, place->parent_fd, place->base, 0) < 0)
        return unpack_fail(place->path, errno, "cannot make the hard link", err);
    return 0;
}

/* --- entries -------------------------------------------------------------------------------- */

/* A name may come twice: the later entry replaces the earlier; directories keep their content. */
static int clear_place(struct unpack *unpack, struct place *place, bool is_directory,
                       struct error *err)
{
    struct stat status;
    if (fstatat(place->parent_fd, place->base, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : unpack_fail(place->path, errno, "cannot examine", err);
    place->was_whiteout = is_whiteout(&status);
    place->was_directory = is_directory && S_ISDIR(status.st_mode);
    if (place->was_directory)
        return 0;
    if (tree_remove(place->parent_fd, place->base) < 0)
        return unpack_fail(place->path, errno, "cannot replace the earlier entry", err);
    if (S_ISDIR(status.st_mode)) { /* the cached parent may have been inside; open it anew */
        unpack_forget_parent(unpack);
        place->parent_fd = unpack_open_parent(unpack, place->path, &place->base, err);
    }
    return place->parent_fd < 0 ? -1 : 0;
}

static int remember_directory(struct unpack *unpack, const char *path, struct archive_entry *entry,
                              struct error *err)
{
    if (unpack_remember_directory(unpack, path, entry_mtime(entry)) < 0)
        return unpack_fail(path, errno, "cannot note its time", err);
    return 0;
}

static int make_entry(struct unpack *unpack, struct archive *archive, const struct place *place,
                      struct archive_entry *entry, struct error *err)
{
    switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
        return make_file(unpack, archive, place, entry, err);
    case AE_IFDIR:
        return make_directory(place, err);
    case AE_IFLNK:
        return make_symlink(place, entry, err);
    case AE_IFCHR:
    case AE_IFBLK:
    case AE_IFIFO:
        return make_node(place, entry, err);
    default:
        return unpack_refuse(place->path, "its type is unknown", err);
    }
}

int unpack_entry(struct unpack *unpack, struct archive *archive, struct archive_entry *entry,
                 struct error *err)
{
    char path[ARCHIVE_MAX_PATH + 1];
    if (archive_clean_path(archive_entry_pathname(entry), path, err) < 0)
        return -1;
    if (++unpack->entries > UNPACK_MAX_ENTRIES)
        return unpack_refuse(path, "the layer has more than 2,000,000 entries", err);
    struct place place = { .path = path };
    const char *hard_link = archive_entry_hardlink(entry);
    bool is_directory = !hard_link && archive_entry_filetype(entry) == AE_IFDIR;
    if (!*path) {
        if (!is_directory)
            return unpack_refuse("/", "the root is not a directory", err);
        place.base = ".";
        place.parent_fd = unpack->root_fd;
        return set_metadata(&place, entry, err) < 0 ||
                       remember_directory(unpack, path, entry, err) < 0
                   ? -1
                   : 0;
    }
    place.parent_fd = unpack_open_parent(unpack, path, &place.base, err);
    if (place.parent_fd < 0)
        return -1;
    if (strncmp(place.base, whiteout_prefix, sizeof whiteout_prefix - 1) == 0)
        return apply_whiteout(&place, err);
    if (strlen(place.base) > unpack->longest_name)
        unpack->longest_name = strlen(place.base);
    if (clear_place(unpack, &place, is_directory, err) < 0)
        return -1;
    if (hard_link)
        return make_hard_link(unpack, &place, hard_link, err);
    if (make_entry(unpack, archive, &place, entry, err) < 0 || set_metadata(&place, entry, err) < 0)
        return -1;
    return is_directory ? remember_directory(unpack, path, entry, err) : 0;
}

int unpack_finish(struct unpack *unpack, struct error *err)
{
    for (size_t i = 0; i < unpack->directory_count; i++) {
        const struct unpack_directory *directory = &unpack->directories[i];
        const struct timespec times[2] = { directory->mtime, directory->mtime };
        _cleanup_close_ int fd = unpack_open_directory(unpack, directory->path, O_NOFOLLOW);
        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EXDEV || errno == ELOOP))
            continue; /* a later entry replaced it */
        if (fd < 0 || futimens(fd, times) < 0)
            return unpack_fail(directory->path, errno, "cannot set its time", err);
    }
    return 0;
}
