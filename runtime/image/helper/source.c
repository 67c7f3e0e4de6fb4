#include "runtime/image/helper/source.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/archive.h"

enum { PRINTABLE = 200, MAX_LINKS = 8 };

static struct source_member *add_member(struct source *source, const char *name, struct error *err)
{
    if (source->count == SOURCE_MAX_MEMBERS) {
        error_set(err, EXIT_OURS, "%s has more than %d members", source->path, SOURCE_MAX_MEMBERS);
        return NULL;
    }
    if (source->count == source->room) {
        size_t room = source->room ? source->room * 2 : 32;
        void *grown = reallocarray(source->members, room, sizeof *source->members);
        if (!grown) {
            error_set(err, EXIT_OURS, "out of memory");
            return NULL;
        }
        source->members = grown;
        source->room = room;
    }
    struct source_member *member = &source->members[source->count];
    *member = (struct source_member){ .name = strdup(name) };
    if (!member->name) {
        error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    source->count++;
    return member;
}

static const struct source_member *find_member(const struct source *source, const char *name)
{
    for (size_t i = 0; i < source->count; i++)
        if (strcmp(source->members[i].name, name) == 0)
            return &source->members[i];
    return NULL;
}

/*
 * "dir/name" with "../x/layer.tar" -> "x/layer.tar": the links of docker save. Only this shape is
 * understood; anything else names no member and is reported when it is asked for.
 */
static char *resolve_link(const char *name, const char *target)
{
    char *result = NULL;
    const char *slash = strrchr(name, '/');
    int base = slash ? (int)(slash - name) : 0;
    while (strncmp(target, "../", 3) == 0 && base > 0) {
        target += 3;
        while (base > 0 && name[base - 1] != '/')
            base--;
        if (base > 0)
            base--;
    }
    return asprintf(&result, "%.*s%s%s", base, name, base ? "/" : "", target) < 0 ? NULL : result;
}

static ssize_t read_entry(void *context, void *data, size_t size, struct error *err)
{
    la_ssize_t length = archive_read_data(context, data, size);
    if (length < 0)
        return error_set(err, EXIT_OURS, "cannot read the archive: %s",
                         archive_error_string(context));
    return (ssize_t)length;
}

static int receive_entry(struct source *source, struct archive *archive,
                         struct archive_entry *entry, int64_t *total, struct error *err)
{
    char path[ARCHIVE_MAX_PATH + 1];
    char printable[PRINTABLE];
    if (archive_clean_path(archive_entry_pathname(entry), path, err) < 0)
        return -1;
    const char *hard_link = archive_entry_hardlink(entry);
    const char *link = hard_link ? hard_link : archive_entry_symlink(entry);
    if (!link && archive_entry_filetype(entry) == AE_IFDIR)
        return 0;
    document_printable(path, printable, sizeof printable);
    if (!link && archive_entry_filetype(entry) != AE_IFREG)
        return error_set(err, EXIT_OURS, "%s: member %s is neither file nor link", source->path,
                         printable);
    if (find_member(source, path))
        return error_set(err, EXIT_OURS, "%s has two members named %s", source->path, printable);
    struct source_member *member = add_member(source, path, err);
    if (!member)
        return -1;
    if (link) {
        member->link = hard_link ? strdup(link) : resolve_link(path, link);
        return member->link ? 0 : error_set(err, EXIT_OURS, "out of memory");
    }
    static const char blobs[] = "blobs/sha256/";
    const char *known =
        strncmp(path, blobs, sizeof blobs - 1) == 0 ? path + sizeof blobs - 1 : NULL;
    struct byte_source bytes = { read_entry, archive };
    if (blob_receive(source->staging, &bytes, known, SOURCE_MAX_BYTES - *total, printable,
                     &member->blob, err) < 0)
        return -1;
    *total += member->blob.size;
    if (known && strcmp(known, member->blob.hex) != 0)
        return error_set(err, EXIT_OURS, "%s: the content of %s has the digest sha256:%s",
                         source->path, printable, member->blob.hex);
    return 0;
}

static int receive_archive(struct source *source, int fd, struct error *err)
{
    _cleanup_archive_ struct archive *archive = archive_read_new();
    if (!archive || archive_read_support_format_tar(archive) != ARCHIVE_OK ||
        archive_read_support_filter_gzip(archive) != ARCHIVE_OK ||
        archive_read_support_filter_zstd(archive) != ARCHIVE_OK ||
        archive_read_support_filter_xz(archive) != ARCHIVE_OK)
        return error_set(err, EXIT_OURS, "libarchive lacks tar, gzip, zstd or xz");
    if (archive_read_open_fd(archive, fd, ARCHIVE_BLOCK) != ARCHIVE_OK)
        return error_set(err, EXIT_OURS, "%s is not an image archive: %s", source->path,
                         archive_error_string(archive));
    int64_t total = 0;
    for (;;) {
        struct archive_entry *entry;
        int found = archive_next_entry(archive, source->path, &entry, err);
        if (found <= 0)
            return found;
        if (receive_entry(source, archive, entry, &total, err) < 0)
            return -1;
    }
}

int source_open(const struct staging *staging, const char *path, struct source *source,
                struct error *err)
{
    *source = (struct source){ .staging = staging, .path = path, .dir_fd = -1 };
    bool is_stdin = strcmp(path, "-") == 0;
    struct stat status;
    if (is_stdin)
        source->path = "standard input";
    _cleanup_close_ int fd =
        is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s", source->path);
    if (S_ISDIR(status.st_mode)) {
        source->dir_fd = take_fd(&fd);
        return 0;
    }
    return receive_archive(source, fd, err);
}

void source_free(struct source *source)
{
    for (size_t i = 0; i < source->count; i++) {
        free(source->members[i].name);
        free(source->members[i].link);
    }
    free(source->members);
    cleanup_close(&source->dir_fd);
}

/* A layout may be shared, so its links may point within it, but not out of it. */
static int open_member(const struct source *source, const char *name)
{
    struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    return (int)syscall(SYS_openat2, source->dir_fd, name, &how, sizeof how);
}

bool source_has(const struct source *source, const char *name)
{
    if (source->dir_fd < 0)
        return find_member(source, name) != NULL;
    _cleanup_close_ int fd = open_member(source, name);
    return fd >= 0;
}

static int get_from_directory(struct source *source, const char *name, const char *expected,
                              struct blob *blob, struct error *err)
{
    char printable[PRINTABLE];
    struct stat status;
    document_printable(name, printable, sizeof printable);
    _cleanup_close_ int fd = open_member(source, name);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "%s: cannot open %s", source->path,
                               printable);
    if (!S_ISREG(status.st_mode))
        return error_set(err, EXIT_OURS, "%s: %s is not a file", source->path, printable);
    struct byte_source bytes = { blob_read_fd, &fd };
    return blob_receive(source->staging, &bytes, expected, SOURCE_MAX_BYTES, printable, blob, err);
}

static int get_from_archive(const struct source *source, const char *name, struct blob *blob,
                            struct error *err)
{
    char printable[PRINTABLE];
    const struct source_member *member = find_member(source, name);
    for (int i = 0; member && member->link && i < MAX_LINKS; i++)
        member = find_member(source, member->link);
    if (!member || member->link)
        return error_set(err, EXIT_OURS, "%s: the archive lacks %s", source->path,
                         document_printable(name, printable, sizeof printable));
    *blob = member->blob;
    return 0;
}

int source_get(struct source *source, const char *name, const char *expected, int64_t expected_size,
               struct blob *blob, struct error *err)
{
    char printable[PRINTABLE];
    int result = source->dir_fd >= 0 ? get_from_directory(source, name, expected, blob, err)
                                     : get_from_archive(source, name, blob, err);
    if (result < 0)
        return -1;
    document_printable(name, printable, sizeof printable);
    if (expected_size >= 0 && blob->size != expected_size)
        return error_set(err, EXIT_OURS, "%s: %s has %" PRId64 " bytes, not %" PRId64, source->path,
                         printable, blob->size, expected_size);
    if (expected && strcmp(expected, blob->hex) != 0)
        return error_set(err, EXIT_OURS, "%s: %s has the digest sha256:%s, not sha256:%s",
                         source->path, printable, blob->hex, expected);
    return 0;
}
