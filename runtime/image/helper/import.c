#include "runtime/image/helper/import.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/change.h"
#include "runtime/image/helper/commit.h"
#include "runtime/image/helper/convert.h"
#include "runtime/image/helper/descriptor.h"
#include "runtime/image/helper/pack.h"
#include "runtime/image/helper/session.h"

struct import {
    const struct import_options *options;
    const char *reference;
    json_t *process; /* "config" of the configuration, changed as asked for */
};

static int receive_layer(const struct staging *staging, const char *path, struct blob *blob,
                         struct error *err)
{
    struct stat status;
    bool is_stdin = strcmp(path, "-") == 0;
    _cleanup_close_ int fd =
        is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open %s",
                               is_stdin ? "standard input" : path);
    if (S_ISDIR(status.st_mode))
        return pack_directory(staging, path, blob, err);
    struct byte_source bytes = { blob_read_fd, &fd };
    return blob_receive(staging, &bytes, NULL, SOURCE_MAX_BYTES, path, blob, err);
}

static int receive_document(const struct staging *staging, const json_t *document, const char *what,
                            struct blob *blob, struct error *err)
{
    _cleanup_free_ char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    if (!text)
        return error_set(err, EXIT_OURS, "cannot write the %s: not valid UTF-8", what);
    struct byte_text context = { text, strlen(text) };
    struct byte_source bytes = { blob_read_text_source, &context };
    return blob_receive(staging, &bytes, NULL, DOCUMENT_MAX_BYTES, what, blob, err);
}

static int make_config(const struct staging *staging, const struct import *import,
                       struct incoming_image *image, struct error *err)
{
    char created[40];
    struct tm now;
    const time_t seconds = time(NULL);
    const struct platform host = platform_host();
    const char *message = import->options->message;
    _cleanup_free_ char *origin = NULL;
    (void)strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &now));
    const char *path = import->options->path;
    if (!message &&
        asprintf(&origin, "imported from %s", strcmp(path, "-") == 0 ? "standard input" : path) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    _cleanup_json_ json_t *config = json_pack(
        "{s:s, s:s, s:s, s:O, s:{s:s, s:[s+]}, s:[{s:s, s:s, s:s}]}", "created", created,
        "architecture", host.architecture, "os", host.os, "config", import->process, "rootfs",
        "type", "layers", "diff_ids", "sha256:", image->layers[0].diff_id, "history", "created",
        created, "created_by", "hybrid import", "comment", message ? message : origin);
    image->created = strdup(created);
    return receive_document(staging, config, "image configuration", &image->config, err);
}

static int make_image(const struct staging *staging, const struct import *import,
                      struct incoming_image *image, struct error *err)
{
    image->layers = calloc(1, sizeof *image->layers);
    image->names[0] = strdup(import->reference);
    if (!image->layers || !image->names[0])
        return error_set(err, EXIT_OURS, "out of memory");
    image->layer_count = image->name_count = 1;
    struct error cause = { 0 };
    struct incoming_layer *layer = &image->layers[0];
    if (receive_layer(staging, import->options->path, &layer->blob, err) < 0)
        return -1;
    if (layer_find_diff_id(staging, &layer->blob, layer->diff_id, &cause) < 0)
        return error_set(err, EXIT_OURS, "cannot import %s: %s", import->options->path,
                         cause.message);
    if (make_config(staging, import, image, err) < 0)
        return -1;
    return manifest_make(staging, image, err);
}

static int convert_layer(const struct staging *staging, const struct import *import,
                         const struct incoming_layer *layer, struct error *err)
{
    struct layer_job job = { .blob = layer->blob };
    int found = layer_find(staging, layer->diff_id, err);
    if (found != 0)
        return found < 0 ? -1 : 0;
    memcpy(job.diff_id, layer->diff_id, sizeof job.diff_id);
    return convert_layers(staging, &job, 1, NULL, import->options->quiet, err);
}

static int import_image(const struct staging *staging, const struct import *import,
                        struct incoming *incoming, struct error *err)
{
    struct incoming_image *image = incoming_add(incoming, err);
    if (!image || make_image(staging, import, image, err) < 0 ||
        convert_layer(staging, import, &image->layers[0], err) < 0 ||
        commit_images(staging, incoming, err) < 0)
        return -1;
    if (!import->options->quiet)
        (void)printf("Imported image: %s\n", reference_familiar(import->reference));
    if (fflush(stdout) != 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write to standard output");
    return 0;
}

static int work(const struct staging *staging, void *context, struct error *err)
{
    struct incoming *incoming = calloc(1, sizeof *incoming);
    if (!incoming)
        return error_set(err, EXIT_OURS, "out of memory");
    int result = import_image(staging, context, incoming, err);
    incoming_free(incoming);
    free(incoming);
    return result;
}

int import_run(const char *store_path, const struct import_options *options, struct error *err)
{
    _cleanup_free_ char *reference = reference_normalize(options->name, err);
    if (!reference)
        return -1;
    if (strchr(reference, '@'))
        return error_set(err, EXIT_OURS, "%s: a digest is not given, it is computed; give a tag",
                         options->name);
    _cleanup_json_ json_t *process = json_object();
    for (size_t i = 0; i < options->change_count; i++)
        if (change_apply(process, options->changes[i], err) < 0)
            return -1;
    struct import import = { .options = options, .reference = reference, .process = process };
    const struct landlock_place place = { .access = LANDLOCK_READ, .path = options->path };
    const struct session session = {
        .root = options->root, .place = &place, .handover = -1, .work = work, .context = &import
    };
    return session_run(store_path, &session, err);
}
