/* Do images have all that they name, and is it what it should be? */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/blob.h"
#include "runtime/image/helper/check_layer.h"
#include "runtime/image/helper/check_parts.h"
#include "runtime/image/helper/descriptor.h"
#include "runtime/image/helper/layer.h"

enum { OBJECT = CHECK_NAME + 32 };

static const char missing[] = "it is missing";

int check_blame(struct check *check, const struct finding *finding, const char *whose,
                struct error *err)
{
    struct finding *known = findings_find(&check->findings, finding->object);
    if (!known)
        known = findings_add(&check->findings, finding, err);
    if (!known)
        return -1;
    return whose ? finding_add_image(known, whose, err) : 0;
}

const char *check_name_of(const struct index_entry *entry, char text[CHECK_NAME])
{
    if (!entry->reference)
        (void)snprintf(text, CHECK_NAME, "sha256:%.12s", entry->config);
    else
        (void)document_printable(reference_familiar(entry->reference), text, CHECK_NAME);
    return text;
}

/* --- blobs and layers ------------------------------------------------------------------------- */

static int blame_blob(struct check *check, const char *hex, bool there, const char *cause,
                      struct error *err)
{
    char object[OBJECT];
    (void)snprintf(object, sizeof object, "blob sha256:%s", hex);
    const struct finding finding = { .kind = FINDING_BLOB,
                                     .object = object,
                                     .dir_fd = check->store.blobs_fd,
                                     .file = there ? (char *)hex : NULL,
                                     .cause = (char *)cause };
    return check_blame(check, &finding, NULL, err);
}

static int blame_layer(struct check *check, const char *hex, bool there, const char *cause,
                       struct error *err)
{
    char object[OBJECT];
    char file[STORE_DIGEST_HEX + 8];
    layer_file_name(hex, file);
    (void)snprintf(object, sizeof object, "layer sha256:%s", hex);
    const struct finding finding = { .kind = FINDING_LAYER,
                                     .object = object,
                                     .dir_fd = check->store.layers_fd,
                                     .file = there ? file : NULL,
                                     .cause = (char *)cause };
    return check_blame(check, &finding, NULL, err);
}

/* size: as the manifest says; -1: it does not. */
static int need_blob(struct check *check, const char *hex, int64_t size, struct error *err)
{
    char cause[100];
    struct stat status;
    if (fstatat(check->store.blobs_fd, hex, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return blame_blob(check, hex, false, missing, err);
    if (marks_add(&check->blobs, hex, err) < 0)
        return -1;
    if (S_ISREG(status.st_mode) && (size < 0 || status.st_size == size))
        return 0;
    (void)snprintf(cause, sizeof cause, "it has %lld bytes, not %lld", (long long)status.st_size,
                   (long long)size);
    return blame_blob(check, hex, true, cause, err);
}

static bool has_layer(const struct check *check, const char *hex)
{
    char file[STORE_DIGEST_HEX + 8];
    layer_file_name(hex, file);
    return faccessat(check->store.layers_fd, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int need_layer(struct check *check, const char *hex, struct error *err)
{
    return has_layer(check, hex) ? marks_add(&check->layers, hex, err)
                                 : blame_layer(check, hex, false, missing, err);
}

/* --- images ----------------------------------------------------------------------------------- */

/* Its documents do not say what it needs. */
static int blame_image(struct check *check, const char *name, const char *cause, struct error *err)
{
    char object[OBJECT];
    check->blind = true;
    (void)snprintf(object, sizeof object, "image %s", name);
    const struct finding finding = {
        .kind = FINDING_IMAGE, .object = object, .dir_fd = -1, .cause = (char *)cause
    };
    return check_blame(check, &finding, name, err);
}

static int check_layers(struct check *check, const json_t *layers, const json_t *diff_ids,
                        const char *name, struct error *err)
{
    for (size_t i = 0; i < json_array_size(layers); i++) {
        struct descriptor layer;
        struct error cause = { 0 };
        const char *diff_id = json_string_value(json_array_get(diff_ids, i));
        const char *hex = diff_id ? digest_hex(diff_id) : NULL;
        if (!hex)
            return blame_image(check, name, "a diff id of its configuration is malformed", err);
        if (manifest_parse_layer(layers, i, &layer, &cause) < 0)
            return blame_image(check, name, cause.message, err);
        if (need_blob(check, layer.hex, layer.size, err) < 0 || need_layer(check, hex, err) < 0)
            return -1;
    }
    return 0;
}

static int compare_documents(const struct index_entry *entry, const json_t *manifest,
                             const json_t *diff_ids, const json_t **layers, struct error *cause)
{
    struct descriptor config;
    if (manifest_parse(manifest, NULL, &config, layers, cause) < 0)
        return -1;
    if (strcmp(config.hex, entry->config) != 0)
        return error_set(cause, EXIT_OURS, "its manifest names another configuration");
    if (json_array_size(*layers) != json_array_size(diff_ids))
        return error_set(cause, EXIT_OURS, "its manifest has %zu layers, its configuration %zu",
                         json_array_size(*layers), json_array_size(diff_ids));
    return 0;
}

static int check_image(struct check *check, const struct index_entry *entry, struct error *err)
{
    char name[CHECK_NAME];
    const json_t *layers;
    struct error cause = { 0 };
    check->sum.images++;
    (void)check_name_of(entry, name);
    if (need_blob(check, entry->manifest, -1, err) < 0 ||
        need_blob(check, entry->config, -1, err) < 0)
        return -1;
    _cleanup_json_ json_t *manifest =
        document_read(check->store.blobs_fd, entry->manifest, "its manifest", NULL, &cause);
    _cleanup_json_ json_t *config = manifest ? document_read(check->store.blobs_fd, entry->config,
                                                             "its configuration", NULL, &cause)
                                             : NULL;
    const json_t *diff_ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    if (!config || compare_documents(entry, manifest, diff_ids, &layers, &cause) < 0)
        return blame_image(check, name, cause.message, err);
    return check_layers(check, layers, diff_ids, name, err);
}

static int keep_entry(struct check *check, struct index_entry *entry, struct error *err)
{
    struct index_list *list = &check->entries;
    void *grown = reallocarray(list->entries, list->count + 1, sizeof *entry);
    if (!grown) {
        index_entry_free(entry);
        return error_set(err, EXIT_OURS, "out of memory");
    }
    list->entries = grown;
    list->entries[list->count++] = *entry;
    return 0;
}

/* An entry that says nothing is still called after its image: index_file_name. */
static const char *name_of_file(const char *file, char text[CHECK_NAME])
{
    char reference[NAME_MAX + 1];
    (void)snprintf(reference, sizeof reference, "%s", file);
    for (char *at = reference; *at; at++)
        if (*at == '%')
            *at = '/';
    return document_printable(reference_familiar(reference), text, CHECK_NAME);
}

int check_entry(struct check *check, const char *file, struct error *err)
{
    char object[OBJECT];
    char printable[CHECK_NAME];
    char right[NAME_MAX + 1];
    struct index_entry entry;
    struct error cause = { 0 };
    int found = index_read(check->store.index_fd, file, &entry, &cause);
    (void)snprintf(object, sizeof object, "index entry %s",
                   document_printable(file, printable, sizeof printable));
    struct finding finding = { .kind = FINDING_ENTRY,
                               .object = object,
                               .dir_fd = check->store.index_fd,
                               .file = (char *)file,
                               .cause = cause.message };
    if (found < 0) {
        check->blind = true;
        return check_blame(check, &finding, name_of_file(file, printable), err);
    }
    if (found == 0 || keep_entry(check, &entry, err) < 0)
        return found;
    index_file_name(entry.reference, entry.manifest, right);
    finding.cause = (char *)"it is called otherwise than its image";
    if (strcmp(right, file) != 0 &&
        check_blame(check, &finding, check_name_of(&entry, printable), err) < 0)
        return -1;
    return check_image(check, &entry, err);
}

int check_workload(const char *id, const json_t *state, void *context, struct error *err)
{
    struct check *check = context;
    char object[OBJECT];
    char printable[CHECK_NAME];
    const char *image = json_string_value(json_object_get(state, "image"));
    const json_t *layers = json_object_get(state, "layers");
    (void)snprintf(object, sizeof object, "workload %s",
                   document_printable(id, printable, sizeof printable));
    const struct finding finding = { .kind = FINDING_WORKLOAD,
                                     .object = object,
                                     .dir_fd = -1,
                                     .cause = (char *)"a layer that it uses is missing" };
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const char *hex = json_string_value(json_array_get(layers, i));
        if (!hex || !digest_is_hex(hex))
            continue;
        if (has_layer(check, hex)
                ? marks_add(&check->layers, hex, err) < 0
                : check_blame(check, &finding, image ? reference_familiar(image) : NULL, err) < 0)
            return -1;
    }
    return 0;
}

/* --- content ---------------------------------------------------------------------------------- */

static int check_blob_content(struct check *check, const char *hex, struct error *err)
{
    char cause[120];
    struct blob blob;
    struct error failure = { 0 };
    _cleanup_close_ int fd =
        openat(check->store.blobs_fd, hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) /* removed since it was listed: nobody holds the lock */
        return 0;
    if (fd < 0)
        (void)snprintf(cause, sizeof cause, "it cannot be opened: %s", strerror(errno));
    else if (blob_hash_fd(fd, &blob, &failure) < 0)
        (void)snprintf(cause, sizeof cause, "%.*s", (int)sizeof cause - 1, failure.message);
    else if (strcmp(blob.hex, hex) == 0)
        return 0;
    else
        (void)snprintf(cause, sizeof cause, "its content has the digest sha256:%s", blob.hex);
    return blame_blob(check, hex, true, cause, err);
}

static int check_layer_content(struct check *check, const char *hex, struct error *err)
{
    char file[STORE_DIGEST_HEX + 8];
    struct error cause = { 0 };
    layer_file_name(hex, file);
    int sound = check_layer(check->store.layers_fd, file, !check->options->quick, &cause);
    if (sound < 0)
        return error_set(err, EXIT_OURS, "layer sha256:%s: %s", hex, cause.message);
    return sound ? 0 : blame_layer(check, hex, true, cause.message, err);
}

static int check_each(struct check *check, const struct marks *marks,
                      int (*look)(struct check *check, const char *hex, struct error *err),
                      struct error *err)
{
    for (size_t i = 0; i < marks->count; i++)
        if ((i == 0 || strcmp(marks->hex[i - 1], marks->hex[i]) != 0) &&
            look(check, marks->hex[i], err) < 0)
            return -1;
    return 0;
}

int check_content(struct check *check, struct error *err)
{
    if (!check->options->quick && check_each(check, &check->blobs, check_blob_content, err) < 0)
        return -1;
    return check_each(check, &check->layers, check_layer_content, err);
}

/* --- whose it is ------------------------------------------------------------------------------ */

static int name_user(struct check *check, const struct marks *parts, const char *kind,
                     const char *name, struct error *err)
{
    for (size_t i = 0; i < parts->count; i++) {
        char object[OBJECT];
        (void)snprintf(object, sizeof object, "%s sha256:%s", kind, parts->hex[i]);
        struct finding *finding = findings_find(&check->findings, object);
        if (finding && finding->kind != FINDING_ORPHAN && finding_add_image(finding, name, err) < 0)
            return -1;
    }
    return 0;
}

int check_name_users(struct check *check, struct error *err)
{
    int result = 0;
    for (size_t i = 0; i < check->entries.count && result == 0; i++) {
        const struct index_entry *entry = &check->entries.entries[i];
        char name[CHECK_NAME];
        struct marks blobs = { 0 };
        struct marks layers = { 0 };
        struct error unreadable;
        (void)check_name_of(entry, name);
        (void)marks_add_image(check->store.blobs_fd, entry, &blobs, &layers, &unreadable);
        result = marks_add(&blobs, entry->manifest, err) < 0 ||
                         marks_add(&blobs, entry->config, err) < 0 ||
                         name_user(check, &blobs, "blob", name, err) < 0 ||
                         name_user(check, &layers, "layer", name, err) < 0
                     ? -1
                     : 0;
        marks_free(&blobs);
        marks_free(&layers);
    }
    return result;
}
