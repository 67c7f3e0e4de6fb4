#include "runtime/image/helper/blob.h"

#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"

enum { SHA256_BYTES = 32, BUFFER_BYTES = 1024 * 1024 };

int sha256_begin(struct sha256 *hash, struct error *err)
{
    hash->context = EVP_MD_CTX_new();
    if (hash->context && EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) == 1)
        return 0;
    return error_set(err, EXIT_OURS, "cannot compute SHA-256: libcrypto refuses");
}

int sha256_add(struct sha256 *hash, const void *data, size_t length, struct error *err)
{
    if (EVP_DigestUpdate(hash->context, data, length) == 1)
        return 0;
    return error_set(err, EXIT_OURS, "cannot compute SHA-256: libcrypto refuses");
}

int sha256_end(struct sha256 *hash, char hex[STORE_DIGEST_HEX + 1], struct error *err)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    int done = hash->context && EVP_DigestFinal_ex(hash->context, bytes, NULL) == 1;
    EVP_MD_CTX_free(hash->context);
    hash->context = NULL;
    if (!hex)
        return 0;
    if (!done)
        return error_set(err, EXIT_OURS, "cannot compute SHA-256: libcrypto refuses");
    for (size_t i = 0; i < SHA256_BYTES; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

ssize_t blob_read_fd(void *context, void *data, size_t size, struct error *err)
{
    ssize_t length = io_read_all(*(int *)context, data, size);
    if (length < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read");
    return length;
}

ssize_t blob_read_text_source(void *context, void *data, size_t size, struct error *err)
{
    (void)err;
    struct byte_text *text = context;
    size_t length = text->length < size ? text->length : size;
    memcpy(data, text->text, length);
    text->text += length;
    text->length -= length;
    return (ssize_t)length;
}

/* Copies source to fd (-1: nowhere) and to the hash. */
static int copy(const struct byte_source *source, int fd, int64_t limit, struct sha256 *hash,
                const char *what, int64_t *size, struct error *err)
{
    _cleanup_free_ char *buffer = malloc(BUFFER_BYTES);
    if (!buffer)
        return error_set(err, EXIT_OURS, "out of memory");
    *size = 0;
    for (;;) {
        ssize_t length = source->read(source->context, buffer, BUFFER_BYTES, err);
        if (length <= 0)
            return (int)length;
        *size += length;
        if (*size > limit)
            return error_set(err, EXIT_OURS, "%s is larger than %lld bytes", what,
                             (long long)limit);
        if (sha256_add(hash, buffer, (size_t)length, err) < 0)
            return -1;
        if (fd >= 0 && io_write_all(fd, buffer, (size_t)length) < 0) {
            int cause = errno;
            (void)error_set_errno(err, EXIT_OURS, cause, "cannot write %s to the image store",
                                  what);
            return error_see_store(err, cause);
        }
    }
}

/* Removed again by staging_end, if commit does not move it. */
int blob_create(const struct staging *staging, struct blob *blob, struct error *err)
{
    uint64_t number;
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return error_set_errno(err, EXIT_OURS, errno, "cannot get random bytes");
    (void)snprintf(blob->file, sizeof blob->file, "blob-%016" PRIx64, number);
    int fd = openat(staging->fd, blob->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    if (fd < 0) {
        int cause = errno;
        (void)error_set_errno(err, EXIT_OURS, cause, "cannot make a file in %s/tmp/%s",
                              staging->store->path, staging->name);
        return error_see_store(err, cause);
    }
    return fd;
}

static int copy_hashed(const struct byte_source *source, int fd, int64_t limit, const char *what,
                       struct blob *blob, struct error *err)
{
    struct sha256 hash;
    if (sha256_begin(&hash, err) < 0)
        return -1;
    int result = copy(source, fd, limit, &hash, what, &blob->size, err);
    if (sha256_end(&hash, result == 0 ? blob->hex : NULL, err) < 0)
        return -1;
    return result;
}

int blob_hash_fd(int fd, struct blob *blob, struct error *err)
{
    struct byte_source bytes = { blob_read_fd, &fd };
    return copy_hashed(&bytes, -1, INT64_MAX, "it", blob, err);
}

int blob_receive(const struct staging *staging, const struct byte_source *source, const char *known,
                 int64_t limit, const char *what, struct blob *blob, struct error *err)
{
    _cleanup_close_ int fd = -1;
    int exists = known && digest_is_hex(known)
                     ? staging_hold(staging, staging->store->blobs_fd, known, err)
                     : 0;
    if (exists < 0 || (!exists && (fd = blob_create(staging, blob, err)) < 0))
        return -1;
    if (exists)
        (void)snprintf(blob->file, sizeof blob->file, "%s", known);
    return copy_hashed(source, fd, limit, what, blob, err);
}

int blob_find(const struct staging *staging, const char *hex, int64_t size, struct blob *blob,
              struct error *err)
{
    struct stat status;
    int held = staging_hold(staging, staging->store->blobs_fd, hex, err);
    if (held <= 0)
        return held;
    if (fstatat(staging->fd, hex, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot examine blob sha256:%s", hex);
    if (size >= 0 && size != status.st_size)
        return error_set(err, EXIT_OURS,
                         "blob sha256:%s has %lld bytes, not %lld as the manifest says", hex,
                         (long long)status.st_size, (long long)size);
    struct blob found = { .size = status.st_size }; /* hex may point into *blob */
    (void)snprintf(found.hex, sizeof found.hex, "%s", hex);
    memcpy(found.file, found.hex, sizeof found.file);
    *blob = found;
    return 1;
}

int blob_open(const struct staging *staging, const struct blob *blob, struct error *err)
{
    int fd = openat(staging->fd, blob->file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open blob sha256:%s", blob->hex);
    return fd;
}

char *blob_read_text(const struct staging *staging, const struct blob *blob, const char *what,
                     struct error *err)
{
    if (blob->size > DOCUMENT_MAX_BYTES) {
        error_set(err, EXIT_OURS, "%s is larger than %d bytes", what, DOCUMENT_MAX_BYTES);
        return NULL;
    }
    _cleanup_close_ int fd = blob_open(staging, blob, err);
    if (fd < 0)
        return NULL;
    _cleanup_free_ char *text = calloc(1, (size_t)blob->size + 1);
    if (!text || io_read_all(fd, text, (size_t)blob->size) != blob->size) {
        error_set_errno(err, EXIT_OURS, errno, "cannot read %s", what);
        return NULL;
    }
    return take_pointer(&text);
}
