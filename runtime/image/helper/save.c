#include "runtime/image/helper/save.h"

#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/archive.h"
#include "runtime/image/helper/blob.h"
#include "runtime/image/helper/descriptor.h"
#include "runtime/image/helper/output.h"
#include "runtime/image/helper/session.h"

enum { COPY_BYTES = 256 * 1024 };

/* A blob of the archive; each is there once. */
struct part {
    char hex[STORE_DIGEST_HEX + 1];
    int64_t size;
};

struct save {
    const struct save_options *options;
    const struct staging *staging;
    json_t *manifests; /* of index.json */
    struct part *parts;
    size_t count, room;
};

/* --- what belongs to the images --------------------------------------------------------------- */

static int add_part(struct save *save, const char *hex, struct part **added, struct error *err)
{
    struct blob blob;
    for (size_t i = 0; i < save->count; i++)
        if (strcmp(save->parts[i].hex, hex) == 0) {
            *added = &save->parts[i];
            return 0;
        }
    int found = blob_find(save->staging, hex, -1, &blob, err);
    if (found <= 0)
        return found < 0 ? -1 : error_set(err, EXIT_OURS, "the store lacks blob sha256:%s", hex);
    if (save->count == save->room) {
        save->room = save->room ? save->room * 2 : 32;
        void *grown = reallocarray(save->parts, save->room, sizeof *save->parts);
        if (!grown)
            return error_set(err, EXIT_OURS, "out of memory");
        save->parts = grown;
    }
    *added = &save->parts[save->count++];
    memcpy((*added)->hex, blob.hex, sizeof blob.hex);
    (*added)->size = blob.size;
    return 0;
}

static int add_digest(struct save *save, const json_t *descriptor, struct error *err)
{
    struct part *added;
    const char *digest = json_string_value(json_object_get(descriptor, "digest"));
    const char *hex = digest ? digest_hex(digest) : NULL;
    return hex ? add_part(save, hex, &added, err)
               : error_set(err, EXIT_OURS, "a manifest of the store is damaged");
}

static int add_manifest(struct save *save, const char *hex, const char **media_type, int64_t *size,
                        struct error *err)
{
    struct part *added;
    const struct store *store = save->staging->store;
    if (add_part(save, hex, &added, err) < 0)
        return -1;
    *size = added->size;
    _cleanup_json_ json_t *manifest = document_read(store->blobs_fd, hex, "manifest", NULL, err);
    if (!manifest || add_digest(save, json_object_get(manifest, "config"), err) < 0)
        return -1;
    const json_t *layers = json_object_get(manifest, "layers");
    for (size_t i = 0; i < json_array_size(layers); i++)
        if (add_digest(save, json_array_get(layers, i), err) < 0)
            return -1;
    const char *type = json_string_value(json_object_get(manifest, "mediaType"));
    bool docker = type && strcmp(type, media_manifest_types[0]) != 0;
    *media_type = media_manifest_types[docker ? 1 : 0];
    return 0;
}

/*
 * The name stands where containerd looks for it, and where podman and skopeo do. An image that was
 * asked for by its id is given none.
 */
static int add_image(struct save *save, const char *name, struct error *err)
{
    struct index_entry entry = { 0 };
    const char *media_type;
    int64_t size;
    bool exact;
    if (index_find(save->staging->store->path, name, &entry, &exact, err) <= 0)
        return -1;
    int result = add_manifest(save, entry.manifest, &media_type, &size, err);
    json_t *descriptor = result < 0
                             ? NULL
                             : json_pack("{s:s, s:s+, s:I}", "mediaType", media_type, "digest",
                                         "sha256:", entry.manifest, "size", (json_int_t)size);
    const char *reference = exact && !strchr(entry.reference, '@') ? entry.reference : NULL;
    if (descriptor && reference)
        result = json_object_set_new(descriptor, "annotations",
                                     json_pack("{s:s, s:s}", "io.containerd.image.name", reference,
                                               "org.opencontainers.image.ref.name", reference));
    index_entry_free(&entry);
    if (result < 0)
        json_decref(descriptor);
    else if (!descriptor || json_array_append_new(save->manifests, descriptor) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    return result;
}

static int add_images(struct save *save, struct error *err)
{
    _cleanup_close_ int lock = store_lock(save->staging->store, err);
    if (lock < 0)
        return -1;
    for (char *const *name = save->options->names; *name; name++)
        if (add_image(save, *name, err) < 0)
            return -1;
    return 0;
}

/* --- the archive ------------------------------------------------------------------------------ */

static int write_failed(const struct output *output, struct archive *archive, struct error *err)
{
    if (archive_errno(archive) > 0)
        return error_set_errno(err, EXIT_OURS, archive_errno(archive), "cannot write %s",
                               output->path);
    return error_set(err, EXIT_OURS, "cannot write %s: %s", output->path,
                     archive_error_string(archive));
}

/* Times and owners are constants, so that the archive depends on its content alone. */
static int write_header(const struct output *output, struct archive *archive, const char *name,
                        mode_t type, int64_t size, struct error *err)
{
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return error_set(err, EXIT_OURS, "out of memory");
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, type);
    archive_entry_set_perm(entry, type == AE_IFDIR ? 0755 : 0644);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_size(entry, size);
    int result = archive_write_header(archive, entry);
    archive_entry_free(entry);
    return result == ARCHIVE_OK ? 0 : write_failed(output, archive, err);
}

static int write_text(const struct output *output, struct archive *archive, const char *name,
                      const char *text, struct error *err)
{
    size_t length = strlen(text);
    if (write_header(output, archive, name, AE_IFREG, (int64_t)length, err) < 0)
        return -1;
    return archive_write_data(archive, text, length) == (la_ssize_t)length
               ? 0
               : write_failed(output, archive, err);
}

/* What leaves the store is verified as what enters it: a disk may have changed it meanwhile. */
static int copy_part(const struct output *output, struct archive *archive, int fd,
                     const struct part *part, struct sha256 *hash, struct error *err)
{
    _cleanup_free_ char *buffer = malloc(COPY_BYTES);
    if (!buffer)
        return error_set(err, EXIT_OURS, "out of memory");
    for (;;) {
        ssize_t length = io_read_all(fd, buffer, COPY_BYTES);
        if (length < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot read blob sha256:%s", part->hex);
        if (length == 0)
            return 0;
        if (sha256_add(hash, buffer, (size_t)length, err) < 0)
            return -1;
        if (archive_write_data(archive, buffer, (size_t)length) != length)
            return write_failed(output, archive, err);
    }
}

static int write_part(const struct save *save, const struct output *output, struct archive *archive,
                      const struct part *part, struct error *err)
{
    char name[sizeof "blobs/sha256/" + STORE_DIGEST_HEX];
    char hex[STORE_DIGEST_HEX + 1] = "";
    struct sha256 hash;
    (void)snprintf(name, sizeof name, "blobs/sha256/%s", part->hex);
    _cleanup_close_ int fd = openat(save->staging->fd, part->hex, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open blob sha256:%s", part->hex);
    if (write_header(output, archive, name, AE_IFREG, part->size, err) < 0 ||
        sha256_begin(&hash, err) < 0)
        return -1;
    int result = copy_part(output, archive, fd, part, &hash, err);
    if (sha256_end(&hash, result == 0 ? hex : NULL, err) < 0 || result < 0)
        return -1;
    if (strcmp(hex, part->hex) != 0)
        return error_set(err, EXIT_OURS,
                         "blob sha256:%s is damaged in the store; remove the image and fetch it "
                         "again",
                         part->hex);
    return 0;
}

static int write_content(const struct save *save, const struct output *output,
                         struct archive *archive, struct error *err)
{
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    _cleanup_json_ json_t *index = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
                                             media_index_types[0], "manifests", save->manifests);
    _cleanup_free_ char *text = index ? json_dumps(index, JSON_COMPACT) : NULL;
    if (!text)
        return error_set(err, EXIT_OURS, "out of memory");
    if (write_text(output, archive, "oci-layout", layout, err) < 0 ||
        write_text(output, archive, "index.json", text, err) < 0 ||
        write_header(output, archive, "blobs/", AE_IFDIR, 0, err) < 0 ||
        write_header(output, archive, "blobs/sha256/", AE_IFDIR, 0, err) < 0)
        return -1;
    for (size_t i = 0; i < save->count; i++)
        if (write_part(save, output, archive, &save->parts[i], err) < 0)
            return -1;
    return 0;
}

static int write_archive(const struct save *save, const struct output *output, struct error *err)
{
    struct archive *archive = archive_write_new();
    /* No padding behind the end: it would depend on what the output is. */
    if (!archive || archive_write_set_format_pax_restricted(archive) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(archive, 1) != ARCHIVE_OK ||
        archive_write_open_fd(archive, output->fd) != ARCHIVE_OK) {
        (void)archive_write_free(archive);
        return error_set(err, EXIT_OURS, "libarchive cannot write tar");
    }
    int result = write_content(save, output, archive, err);
    if (result == 0 && archive_write_close(archive) != ARCHIVE_OK)
        result = write_failed(output, archive, err);
    if (result < 0)
        (void)archive_write_fail(archive); /* no end of archive, no further message */
    (void)archive_write_free(archive);
    return result;
}

static int save_images(struct save *save, struct error *err)
{
    struct output output;
    if (add_images(save, err) < 0)
        return -1;
    int result = output_begin(save->options->output, &output, err);
    if (result == 0)
        result = write_archive(save, &output, err);
    if (result == 0)
        result = output_commit(&output, err);
    output_end(&output);
    return result;
}

static int work(const struct staging *staging, void *context, struct error *err)
{
    struct save save = { .options = context, .staging = staging, .manifests = json_array() };
    int result =
        save.manifests ? save_images(&save, err) : error_set(err, EXIT_OURS, "out of memory");
    json_decref(save.manifests);
    free(save.parts);
    return result;
}

int save_run(const char *store_path, const struct save_options *options, struct error *err)
{
    struct save_options copy = *options;
    _cleanup_free_ char *place_path = NULL;
    if (options->output && output_place(options->output, &place_path, err) < 0)
        return -1;
    const struct landlock_place place = { .access = LANDLOCK_CHANGE, .path = place_path };
    const struct session session = { .root = options->root,
                                     .place = place_path ? &place : NULL,
                                     .handover = -1,
                                     .work = work,
                                     .context = &copy };
    return session_run(store_path, &session, err);
}
