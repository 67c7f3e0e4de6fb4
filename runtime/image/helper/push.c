#include "runtime/image/helper/push.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/confine.h"
#include "runtime/image/helper/descriptor.h"
#include "runtime/image/helper/incoming.h"
#include "runtime/image/helper/privileges.h"
#include "runtime/image/helper/push_parts.h"
#include "runtime/image/marks.h"

enum { MAX_PARTS = INCOMING_MAX_LAYERS + 2 }; /* the configuration and the manifest */

struct push {
    const struct push_options *options;
    struct push_part parts[MAX_PARTS]; /* layers, the configuration, and last the manifest */
    size_t count;
    char media_type[100]; /* of the manifest */
};

static int open_part(struct push *push, const struct store *store, const char *kind,
                     const char *hex, struct error *err)
{
    struct stat status;
    struct push_part *part = &push->parts[push->count];
    for (size_t i = 0; i < push->count; i++)
        if (strcmp(push->parts[i].hex, hex) == 0)
            return 0;
    if (push->count == MAX_PARTS)
        return error_set(err, EXIT_OURS, "the image has more than %d layers", INCOMING_MAX_LAYERS);
    part->fd = openat(store->blobs_fd, hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (part->fd < 0 || fstat(part->fd, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s sha256:%s", kind, hex);
    part->kind = kind;
    (void)snprintf(part->hex, sizeof part->hex, "%s", hex);
    part->size = status.st_size;
    push->count++;
    return 0;
}

static int open_parts(struct push *push, const struct store *store, const char *hex,
                      struct error *err)
{
    struct descriptor descriptor;
    const json_t *layers;
    _cleanup_json_ json_t *manifest = document_read(store->blobs_fd, hex, "manifest", NULL, err);
    struct descriptor config;
    if (!manifest || manifest_parse(manifest, NULL, &config, &layers, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(layers); i++)
        if (manifest_parse_layer(layers, i, &descriptor, err) < 0 ||
            open_part(push, store, "layer", descriptor.hex, err) < 0)
            return -1;
    const char *type = json_string_value(json_object_get(manifest, "mediaType"));
    (void)snprintf(push->media_type, sizeof push->media_type, "%s",
                   type ? type : media_manifest_types[0]);
    return open_part(push, store, "configuration", config.hex, err) < 0
               ? -1
               : open_part(push, store, "manifest", hex, err);
}

/* --- what the registry may have already ------------------------------------------------------- */

/* "registry/team/app:1": as far as the registry, and as far as the repository. */
static size_t registry_length(const char *reference)
{
    return strcspn(reference, "/");
}

static size_t repository_length(const char *reference)
{
    size_t slash = registry_length(reference);
    return slash + strcspn(reference + slash, ":@");
}

/* An image of another repository of this registry has been there, or is meant to be. */
static bool is_neighbour(const char *reference, const char *other)
{
    size_t registry = registry_length(reference);
    size_t repository = repository_length(reference);
    return other && registry_length(other) == registry &&
           strncmp(reference, other, registry) == 0 &&
           (repository_length(other) != repository || strncmp(reference, other, repository) != 0);
}

static int note_blob(struct push *push, const char *hex, const char *reference, struct error *err)
{
    size_t begin = registry_length(reference) + 1;
    for (size_t i = 0; i < push->count; i++) {
        struct push_part *part = &push->parts[i];
        if (part->from || strcmp(part->hex, hex) != 0)
            continue;
        part->from = strndup(reference + begin, repository_length(reference) - begin);
        if (!part->from)
            return error_set(err, EXIT_OURS, "out of memory");
    }
    return 0;
}

/* The registry may take blobs from there by itself: distribution-spec, "Mounting a blob". */
static int find_neighbours(struct push *push, const struct store *store, const char *reference,
                           struct error *err)
{
    struct index_list list;
    int result = index_list(store->path, &list, err);
    for (size_t i = 0; i < list.count && result == 0; i++) {
        struct marks blobs = { 0 };
        struct marks layers = { 0 };
        struct error unreadable;
        const struct index_entry *entry = &list.entries[i];
        if (!is_neighbour(reference, entry->reference))
            continue;
        /* One that is damaged helps less, no more. */
        (void)marks_add_image(store->blobs_fd, entry, &blobs, &layers, &unreadable);
        for (size_t n = 0; n < blobs.count && result == 0; n++)
            result = note_blob(push, blobs.hex[n], entry->reference, err);
        marks_free(&blobs);
        marks_free(&layers);
    }
    index_list_free(&list);
    return result;
}

static int open_image(struct push *push, const char *store_path, char **reference,
                      struct error *err)
{
    struct store store;
    struct index_entry entry = { 0 };
    bool exact;
    if (store_open(store_path, &store, err) < 0)
        return -1;
    _cleanup_close_ int lock = store_lock(&store, err);
    int result = lock < 0 ? -1 : index_find(store_path, push->options->name, &entry, &exact, err);
    if (result == 0)
        result = -1;
    if (result > 0)
        result = exact && entry.reference && !strchr(entry.reference, '@')
                     ? open_parts(push, &store, entry.manifest, err)
                     : error_set(err, EXIT_OURS,
                                 "%s does not say where to push to; give the image a name first: "
                                 "hybrid tag %s REGISTRY/NAME:TAG",
                                 push->options->name, push->options->name);
    if (result == 0)
        result = find_neighbours(push, &store, entry.reference, err);
    if (result == 0)
        *reference = take_pointer(&entry.reference);
    index_entry_free(&entry);
    store_close(&store);
    return result;
}

static int send_parts(struct push *push, struct remote *remote, struct error *err)
{
    struct upload upload;
    size_t blobs = push->count - 1;
    const struct push_part *manifest = &push->parts[blobs];
    if (push_parts_send(push->parts, blobs, remote, push->options->quiet, err) < 0)
        return -1;
    int result = upload_begin(&upload, remote, err);
    if (result == 0)
        result = upload_manifest(&upload, manifest->hex, manifest->size, manifest->fd,
                                 push->media_type, err);
    upload_end(&upload);
    return result;
}

static int send_image(struct push *push, struct remote *remote, struct error *err)
{
    struct error cause = { 0 };
    if (send_parts(push, remote, &cause) < 0)
        return error_set(err, EXIT_OURS, "cannot push %s: %s",
                         reference_familiar(remote->reference), cause.message);
    if (!push->options->quiet)
        (void)printf("Pushed image: %s\nsha256:%s\n", reference_familiar(remote->reference),
                     push->parts[push->count - 1].hex);
    return 0;
}

int push_run(const char *store_path, const struct push_options *options, struct error *err)
{
    struct remote remote;
    _cleanup_free_ char *reference = NULL;
    _cleanup_free_ struct push *push = calloc(1, sizeof *push);
    if (!push)
        return error_set(err, EXIT_OURS, "out of memory");
    push->options = options;
    int result = open_image(push, store_path, &reference, err);
    if (result == 0)
        result = remote_open(reference, options->settings, options->plain_http, &remote, err);
    if (result == 0) {
        const pid_t parent = getppid();
        result = privileges_drop(err);
        if (result == 0) {
            staging_die_with(parent); /* once more: the change of user undid it */
            result = confine_enter(CONFINE_NETWORK, NULL, 0, err);
        }
        if (result == 0)
            result = send_image(push, &remote, err);
        remote_free(&remote);
    }
    for (size_t i = 0; i < push->count; i++) {
        cleanup_close(&push->parts[i].fd);
        free(push->parts[i].from);
    }
    return result;
}
