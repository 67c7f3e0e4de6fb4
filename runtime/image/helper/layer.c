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

static int unpack_entries(struct archive *tar, struct stream *stream, struct unpack *unpack,
                          struct error *err)
{
    for (;;) {
        struct archive_entry *entry;
        int found = archive_next_entry(tar, "layer", &entry, err);
        if (found <= 0)
            return stream->failed ? -1 : found;
        if (unpack_entry(unpack, tar, entry, err) < 0)
            return -1;
    }
}

/* The digest is of the whole stream, so what follows the end of the tar is read as well. */
static int unpack_stream(struct stream *stream, struct unpack *unpack, struct error *err)
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
    if (unpack_entries(tar, stream, unpack, &outer) < 0) {
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

static int unpack_verified(int blob_fd, struct unpack *unpack, const char *diff_id,
                           const struct layer_progress *progress, struct error *err)
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
        result = unpack_stream(stream, unpack, err);
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
        // cppcheck-suppress memleak ; released by its _cleanup_*
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

/* Makes an empty file in the staging directory. Returns its descriptor, or -1 with *err. */
static int make_file(const struct staging *staging, const char *name, struct error *err)
{
    int fd = openat(staging->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
    if (fd < 0) {
        int cause = errno;
        (void)error_set_errno(err, EXIT_OURS, cause, "cannot make a file in %s/tmp",
                              staging->store->path);
        return error_see_store(err, cause);
    }
    return fd;
}

/* A file without a name: it is gone when the descriptor is. */
static int make_spool(const struct staging *staging, const char *diff_id, struct error *err)
{
    char name[STORE_DIGEST_HEX + 8];
    (void)snprintf(name, sizeof name, "%s.spool", diff_id);
    _cleanup_close_ int fd = make_file(staging, name, err);
    if (fd >= 0 && unlinkat(staging->fd, name, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot unlink a file in %s/tmp",
                               staging->store->path);
    return take_fd(&fd);
}

/* What an archive holds is trusted only when its digest is known, so the inodes come after that. */
static int unpack(int blob_fd, int file_fd, int spool_fd, const char *diff_id,
                  const struct layer_progress *progress, struct error *err)
{
    struct unpack unpack;
    int result = unpack_begin(&unpack, file_fd, spool_fd, err);
    if (result == 0)
        result = unpack_verified(blob_fd, &unpack, diff_id, progress, err);
    if (result == 0)
        result = unpack_finish(&unpack, err);
    unpack_free(&unpack);
    return result;
}

static int convert(const struct staging *staging, const struct blob *blob, const char *diff_id,
                   const struct layer_progress *progress, struct error *err)
{
    char file[STORE_DIGEST_HEX + 8];
    layer_file_name(diff_id, file);
    _cleanup_close_ int blob_fd = blob_open(staging, blob, err);
    if (blob_fd < 0)
        return -1;
    _cleanup_close_ int file_fd = make_file(staging, file, err);
    _cleanup_close_ int spool_fd = file_fd < 0 ? -1 : make_spool(staging, diff_id, err);
    if (spool_fd < 0 || unpack(blob_fd, file_fd, spool_fd, diff_id, progress, err) < 0)
        return -1;
    return fsync(file_fd) < 0 ? error_set_errno(err, EXIT_OURS, errno, "cannot sync %s", file) : 0;
}

int layer_convert(const struct staging *staging, const struct blob *blob, const char *diff_id,
                  const struct layer_progress *progress, struct error *err)
{
    struct error cause = { 0 };
    if (convert(staging, blob, diff_id, progress, &cause) == 0)
        return 0;
    return error_set(err, EXIT_OURS, "layer sha256:%.12s: %s", diff_id, cause.message);
}
