#include "runtime/image/helper/pack.h"

#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/archive.h"

enum { COPY_BYTES = 256 * 1024 };

struct pack {
    struct archive *disk; /* reads what stat(2) does not tell */
    struct archive *tar;
    struct archive_entry_linkresolver *links;
    size_t top; /* length of the directory's own path */
};

static int failed(const char *path, struct archive *archive, struct error *err)
{
    char printable[300];
    const char *reason = archive_error_string(archive);
    return error_set(err, EXIT_OURS, "cannot pack %s: %s",
                     document_printable(path, printable, sizeof printable),
                     reason ? reason : "unknown error");
}

/* As many bytes as the header said: a file that shrinks meanwhile is an error of its own. */
static int write_data(const struct pack *pack, const char *path, int64_t size, struct error *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    _cleanup_free_ char *buffer = malloc(COPY_BYTES);
    char printable[300];
    document_printable(path, printable, sizeof printable);
    if (fd < 0 || !buffer)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s", printable);
    while (size > 0) {
        ssize_t length = io_read_all(fd, buffer, size < COPY_BYTES ? (size_t)size : COPY_BYTES);
        if (length < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot read %s", printable);
        if (length == 0)
            return error_set(err, EXIT_OURS, "%s changes while it is packed", printable);
        if (archive_write_data(pack->tar, buffer, (size_t)length) != length)
            return failed(path, pack->tar, err);
        size -= length;
    }
    return 0;
}

/* A name that is not UTF-8 is stored as the bytes it is, which libarchive warns of. */
static bool is_conversion_warning(struct archive *archive)
{
    const char *text = archive_error_string(archive);
    return text && strstr(text, "Can't translate");
}

static int write_entry(const struct pack *pack, struct archive_entry *entry, const char *path,
                       struct error *err)
{
    int written = archive_write_header(pack->tar, entry);
    if (written != ARCHIVE_OK && !(written == ARCHIVE_WARN && is_conversion_warning(pack->tar)))
        return failed(path, pack->tar, err);
    int64_t size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;
    bool has_data = archive_entry_filetype(entry) == AE_IFREG && !archive_entry_hardlink(entry);
    return has_data ? write_data(pack, path, size, err) : 0;
}

/*
 * Before 1970, 1.5 seconds are -2 and 0.5 to the kernel, and libarchive 3.6 would write "-2.5": a
 * sign is that of both parts.
 */
static void correct_time(struct archive_entry *entry)
{
    const time_t seconds = archive_entry_mtime(entry);
    const long nanoseconds = archive_entry_mtime_nsec(entry);
    if (seconds < -1 && nanoseconds > 0)
        archive_entry_set_mtime(entry, seconds + 1, 1000000000 - nanoseconds);
}

/* Numbers stand for users and groups: their names are the host's. */
static int add_file(const struct pack *pack, const FTSENT *file, struct error *err)
{
    struct archive_entry *entry = archive_entry_new();
    struct archive_entry *deferred = NULL;
    if (!entry)
        return error_set(err, EXIT_OURS, "out of memory");
    archive_entry_copy_sourcepath(entry, file->fts_path);
    const char *name = file->fts_path + pack->top;
    archive_entry_copy_pathname(entry, *name ? name + 1 : "./");
    int result = 0;
    if (archive_read_disk_entry_from_file(pack->disk, entry, -1, file->fts_statp) < ARCHIVE_WARN)
        result = failed(file->fts_path, pack->disk, err);
    correct_time(entry);
    archive_entry_unset_atime(entry);
    archive_entry_unset_ctime(entry);
    archive_entry_unset_birthtime(entry);
    archive_entry_set_fflags(entry, 0, 0);
    archive_entry_copy_uname(entry, NULL);
    archive_entry_copy_gname(entry, NULL);
    archive_entry_linkify(pack->links, &entry, &deferred);
    if (result == 0 && entry)
        result = write_entry(pack, entry, file->fts_path, err);
    archive_entry_free(entry);
    archive_entry_free(deferred);
    return result;
}

static int compare(const FTSENT **left, const FTSENT **right)
{
    return strcmp((*left)->fts_name, (*right)->fts_name);
}

static int add_tree(const struct pack *pack, FTS *tree, struct error *err)
{
    errno = 0;
    for (FTSENT *file; (file = fts_read(tree)); errno = 0) {
        char printable[300];
        document_printable(file->fts_path, printable, sizeof printable);
        if (file->fts_info == FTS_DNR || file->fts_info == FTS_ERR || file->fts_info == FTS_NS)
            return error_set_errno(err, EXIT_OURS, file->fts_errno, "cannot read %s", printable);
        if (file->fts_info == FTS_DP || S_ISSOCK(file->fts_statp->st_mode))
            continue;
        if (add_file(pack, file, err) < 0)
            return -1;
    }
    return errno == 0 ? 0 : error_set_errno(err, EXIT_OURS, errno, "cannot read the directory");
}

static int pack_tree(const struct pack *pack, const char *path, struct error *err)
{
    _cleanup_free_ char *copy = strdup(path);
    if (!copy)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t length = strlen(copy); length > 1 && copy[length - 1] == '/'; length--)
        copy[length - 1] = '\0';
    char *const paths[] = { copy, NULL };
    struct pack sized = *pack;
    sized.top = strcmp(copy, "/") == 0 ? 0 : strlen(copy);
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, compare);
    if (!tree)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read %s", path);
    int result = add_tree(&sized, tree, err);
    (void)fts_close(tree);
    return result;
}

static int pack_into(int fd, const char *path, struct error *err)
{
    struct pack pack = { .disk = archive_read_disk_new(),
                         .tar = archive_write_new(),
                         .links = archive_entry_linkresolver_new() };
    int result = -1;
    if (!pack.disk || !pack.tar || !pack.links ||
        archive_read_disk_set_symlink_physical(pack.disk) != ARCHIVE_OK ||
        archive_write_set_format_pax_restricted(pack.tar) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(pack.tar, 1) != ARCHIVE_OK ||
        archive_write_open_fd(pack.tar, fd) != ARCHIVE_OK) {
        (void)error_set(err, EXIT_OURS, "libarchive cannot write tar");
    } else {
        archive_entry_linkresolver_set_strategy(pack.links, archive_format(pack.tar));
        result = pack_tree(&pack, path, err);
        if (result == 0 && archive_write_close(pack.tar) != ARCHIVE_OK)
            result = failed(path, pack.tar, err);
    }
    archive_entry_linkresolver_free(pack.links);
    (void)archive_read_free(pack.disk);
    (void)archive_write_free(pack.tar);
    return result;
}

/* Packed first and read again for its digest: libarchive writes where it likes to. */
int pack_directory(const struct staging *staging, const char *path, struct blob *blob,
                   struct error *err)
{
    static const char name[] = "packed";
    _cleanup_close_ int fd = openat(staging->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a file in %s/tmp/%s",
                               staging->store->path, staging->name);
    if (pack_into(fd, path, err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read what was packed");
    if (blob_hash_fd(fd, blob, err) < 0)
        return -1;
    (void)snprintf(blob->file, sizeof blob->file, "%s", name);
    return 0;
}
