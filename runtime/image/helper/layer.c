#include "runtime/image/helper/layer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "runtime/image/helper/unpack.h"

enum { BUFFER_BYTES = 256 * 1024, REPORT_BYTES = 4 * 1024 * 1024 };

/*
 * Two readers in a row: the first undoes the compression, the second reads the tar. Between them
 * pass the bytes of which the diff id is the digest.
 */
struct stream {
    struct archive *compressed;
    struct sha256 hash;
    int64_t produced;
    int64_t reported;
    const struct layer_progress *progress;
    struct error *err;
    bool failed; /* *err holds the cause; libarchive only knows that reading failed */
    char buffer[BUFFER_BYTES];
};

static int check_amount(struct stream *stream)
{
    int64_t consumed = archive_filter_bytes(stream->compressed, -1);
    if (stream->produced > LAYER_MAX_BYTES)
        return error_set(stream->err, EXIT_OURS, "it unpacks to more than %lld GiB",
                         (long long)(LAYER_MAX_BYTES >> 30));
    if (stream->produced > LAYER_RATIO_FREE_BYTES && stream->produced / LAYER_MAX_RATIO > consumed)
        return error_set(stream->err, EXIT_OURS, "it unpacks to more than %d times its size",
                         LAYER_MAX_RATIO);
    if (consumed - stream->reported >= REPORT_BYTES) {
        stream->reported = consumed;
        stream->progress->report(stream->progress->context, consumed);
    }
    return 0;
}

static ssize_t produce(struct stream *stream)
{
    la_ssize_t length = archive_read_data(stream->compressed, stream->buffer, BUFFER_BYTES);
    if (length < 0) {
        error_set(stream->err, EXIT_OURS, "cannot decompress: %s",
                  archive_error_string(stream->compressed));
        stream->failed = true;
        return -1;
    }
    stream->produced += length;
    if (sha256_add(&stream->hash, stream->buffer, (size_t)length, stream->err) < 0 ||
        check_amount(stream) < 0) {
        stream->failed = true;
        return -1;
    }
    return (ssize_t)length;
}

static la_ssize_t read_tar(struct archive *tar, void *context, const void **data)
{
    struct stream *stream = context;
    ssize_t length = stream->failed ? -1 : produce(stream);
    *data = stream->buffer;
    if (length < 0)
        archive_set_error(tar, EIO, "cannot read the layer");
    return length;
}

static int open_compressed(struct stream *stream, int fd, struct error *err)
{
    struct archive_entry *entry;
    stream->compressed = archive_read_new();
    if (!stream->compressed || archive_read_support_format_raw(stream->compressed) != ARCHIVE_OK ||
        archive_read_support_format_empty(stream->compressed) != ARCHIVE_OK ||
        archive_read_support_filter_gzip(stream->compressed) != ARCHIVE_OK ||
        archive_read_support_filter_zstd(stream->compressed) != ARCHIVE_OK)
        return error_set(err, EXIT_OURS, "libarchive lacks gzip or zstd");
    if (archive_read_open_fd(stream->compressed, fd, ARCHIVE_BLOCK) != ARCHIVE_OK)
        return error_set(err, EXIT_OURS, "cannot read it: %s",
                         archive_error_string(stream->compressed));
    int found = archive_read_next_header(stream->compressed, &entry);
    if (found != ARCHIVE_OK)
        return error_set(err, EXIT_OURS, "it is %s",
                         found == ARCHIVE_EOF ? "empty" : archive_error_string(stream->compressed));
    return 0;
}

static int unpack_entries(struct archive *tar, struct stream *stream, int root_fd,
                          size_t *longest_name, struct error *err)
{
    struct unpack unpack;
    int result = unpack_begin(&unpack, root_fd, err);
    while (result == 0) {
        struct archive_entry *entry;
        int found = archive_next_entry(tar, "layer", &entry, err);
        if (found <= 0) {
            result = found;
            break;
        }
        result = unpack_entry(&unpack, tar, entry, err);
    }
    if (result == 0)
        result = unpack_finish(&unpack, err);
    *longest_name = unpack.longest_name;
    unpack_free(&unpack);
    return stream->failed ? -1 : result;
}

/* The digest is of the whole stream, so what follows the end of the tar is read as well. */
static int unpack_stream(struct stream *stream, int root_fd, size_t *longest_name,
                         struct error *err)
{
    _cleanup_archive_ struct archive *tar = archive_read_new();
    if (!tar || archive_read_support_format_tar(tar) != ARCHIVE_OK)
        return error_set(err, EXIT_OURS, "libarchive lacks tar");
    struct error outer = { 0 };
    if (archive_read_open(tar, stream, NULL, read_tar, NULL) != ARCHIVE_OK) {
        if (!stream->failed)
            error_set(err, EXIT_OURS, "it is not a tar archive");
        return -1;
    }
    if (unpack_entries(tar, stream, root_fd, longest_name, &outer) < 0) {
        if (!stream->failed)
            *err = outer;
        return -1;
    }
    ssize_t rest;
    do
        rest = produce(stream);
    while (rest > 0);
    return (int)rest;
}

static int unpack_verified(int blob_fd, int root_fd, const char *diff_id,
                           const struct layer_progress *progress, size_t *longest_name,
                           struct error *err)
{
    _cleanup_free_ struct stream *stream = calloc(1, sizeof *stream);
    char hex[STORE_DIGEST_HEX + 1] = "";
    if (!stream)
        return error_set(err, EXIT_OURS, "out of memory");
    stream->progress = progress;
    stream->err = err;
    int result = sha256_begin(&stream->hash, err);
    if (result == 0)
        result = open_compressed(stream, blob_fd, err);
    if (result == 0)
        result = unpack_stream(stream, root_fd, longest_name, err);
    cleanup_archive(&stream->compressed);
    if (sha256_end(&stream->hash, result == 0 ? hex : NULL, err) < 0 || result < 0)
        return -1;
    if (strcmp(hex, diff_id) != 0)
        return error_set(err, EXIT_OURS,
                         "its content has the diff id sha256:%s, not sha256:%s as the "
                         "configuration says",
                         hex, diff_id);
    return 0;
}

static void report_nothing(void *context, int64_t bytes)
{
    (void)context, (void)bytes;
}

static int drain(struct stream *stream, int fd, struct error *err)
{
    ssize_t length = open_compressed(stream, fd, err);
    if (length < 0)
        return -1;
    do
        length = produce(stream);
    while (length > 0);
    return (int)length;
}

int layer_find_diff_id(const struct staging *staging, const struct blob *blob,
                       char diff_id[STORE_DIGEST_HEX + 1], struct error *err)
{
    static const struct layer_progress quiet = { report_nothing, NULL };
    _cleanup_free_ struct stream *stream = calloc(1, sizeof *stream);
    _cleanup_close_ int fd = blob_open(staging, blob, err);
    if (fd < 0)
        return -1;
    if (!stream)
        return error_set(err, EXIT_OURS, "out of memory");
    stream->progress = &quiet;
    stream->err = err;
    int result = sha256_begin(&stream->hash, err);
    if (result == 0)
        result = drain(stream, fd, err);
    cleanup_archive(&stream->compressed);
    if (sha256_end(&stream->hash, result == 0 ? diff_id : NULL, err) < 0)
        return -1;
    return result;
}

void layer_file_name(const char *diff_id, char name[STORE_DIGEST_HEX + 8])
{
    (void)snprintf(name, STORE_DIGEST_HEX + 8, "%s.erofs", diff_id);
}

int layer_find(const struct staging *staging, const char *diff_id, struct error *err)
{
    char name[STORE_DIGEST_HEX + 8];
    layer_file_name(diff_id, name);
    return staging_hold(staging, staging->store->layers_fd, name, err);
}

/* mkfs.erofs 1.5 (Debian 12) cuts names of 255 bytes to 254 and then does not find the file. */
static int make_image(const struct staging *staging, const char *tree, const char *file,
                      size_t longest_name, struct error *err)
{
    struct error cause = { 0 };
    if (erofs_make(staging, tree, file, &cause) == 0)
        return 0;
    return error_set(err, EXIT_OURS, "%s%s", cause.message,
                     longest_name == NAME_MAX ? "; it holds a file name of 255 bytes, which "
                                                "erofs-utils 1.5 cannot store"
                                              : "");
}

static int sync_file(const struct staging *staging, const char *file, struct error *err)
{
    _cleanup_close_ int fd = openat(staging->fd, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync %s", file);
    return 0;
}

static int convert(const struct staging *staging, const struct blob *blob, const char *diff_id,
                   const struct layer_progress *progress, struct error *err)
{
    char file[STORE_DIGEST_HEX + 8];
    char tree[STORE_DIGEST_HEX + 8]; /* not the bare diff id: an uncompressed blob is called that */
    layer_file_name(diff_id, file);
    (void)snprintf(tree, sizeof tree, "%s.tree", diff_id);
    _cleanup_close_ int blob_fd = blob_open(staging, blob, err);
    if (blob_fd < 0)
        return -1;
    if (mkdirat(staging->fd, tree, 0700) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a directory in %s/tmp",
                               staging->store->path);
    _cleanup_close_ int root_fd =
        openat(staging->fd, tree, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (root_fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open a directory in %s/tmp",
                               staging->store->path);
    size_t longest_name = 0;
    if (unpack_verified(blob_fd, root_fd, diff_id, progress, &longest_name, err) < 0 ||
        make_image(staging, tree, file, longest_name, err) < 0 || sync_file(staging, file, err) < 0)
        return -1;
    if (tree_remove(staging->fd, tree) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot remove the unpacked layer");
    return 0;
}

int layer_convert(const struct staging *staging, const struct blob *blob, const char *diff_id,
                  const struct layer_progress *progress, struct error *err)
{
    struct error cause = { 0 };
    if (convert(staging, blob, diff_id, progress, &cause) == 0)
        return 0;
    return error_set(err, EXIT_OURS, "layer sha256:%.12s: %s", diff_id, cause.message);
}
