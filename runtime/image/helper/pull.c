#include "runtime/image/helper/pull.h"

#include <string.h>

#include "cleanup.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/commit.h"
#include "runtime/image/helper/fetch.h"
#include "runtime/image/helper/privileges.h"
#include "runtime/image/helper/session.h"

struct pull {
    const struct pull_options *options;
    const char *reference;
    struct fetcher fetcher;
    struct platform platform;
    bool vouched;
};

/* --- from the name to the manifest ------------------------------------------------------------ */

/* The entry of an index for the platform. One that stands alone need not name its platform. */
static int choose_entry(const struct pull *pull, const json_t *index, struct descriptor *chosen,
                        struct error *err)
{
    const json_t *manifests;
    if (document_get_array(index, "manifests", "index", &manifests, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(manifests); i++) {
        if (descriptor_parse(json_array_get(manifests, i), "index", chosen, err) < 0)
            return -1;
        bool known = media_is_listed(chosen->media_type, media_manifest_types) ||
                     media_is_listed(chosen->media_type, media_index_types);
        bool fits = chosen->platform ? platform_matches(&pull->platform, chosen->platform)
                                     : json_array_size(manifests) == 1;
        if (known && fits)
            return 0;
    }
    (void)error_set(err, EXIT_OURS, "it is not there for %s/%s%s%s", pull->platform.os,
                    pull->platform.architecture, *pull->platform.variant ? "/" : "",
                    pull->platform.variant);
    return -1;
}

/* Follows indexes down to the manifest. Returns a new reference, or NULL with *err. */
static json_t *fetch_manifest(struct fetch *fetch, const struct pull *pull,
                              struct incoming_image *image, char type[FETCHER_MEDIA_TYPE],
                              struct error *err)
{
    enum { MAX_NESTING = 4 };
    const char *hex =
        strchr(pull->reference, '@') ? digest_hex(strchr(pull->reference, '@') + 1) : NULL;
    /* Whose name leads to it is the registry's to say, also if the store has it from elsewhere. */
    struct fetch_document wanted = {
        .what = "manifest", .manifest = true, .size = -1, .asked_for = true
    };
    if (hex)
        memcpy(wanted.hex, hex, sizeof wanted.hex);
    for (int nesting = 0; nesting < MAX_NESTING; nesting++) {
        struct descriptor chosen;
        json_t *document = fetch_document(fetch, &wanted, &image->manifest, type, err);
        if (!document)
            return NULL;
        const char *own_type = json_string_value(json_object_get(document, "mediaType"));
        if (!media_is_listed(own_type ? own_type : type, media_index_types))
            return document;
        int result = choose_entry(pull, document, &chosen, err);
        if (result == 0) {
            memcpy(wanted.hex, chosen.hex, sizeof wanted.hex);
            wanted.size = chosen.size;
            wanted.asked_for = false;
        }
        json_decref(document);
        if (result < 0)
            return NULL;
    }
    char cause[40];
    (void)snprintf(cause, sizeof cause, "indexes nest deeper than %d", MAX_NESTING);
    (void)fetch_refuse(fetch, cause, err);
    return NULL;
}

static int fetch_config(struct fetch *fetch, const struct pull *pull,
                        const struct descriptor *descriptor, size_t layer_count,
                        struct incoming_image *image, struct error *err)
{
    struct fetch_document wanted = { .what = "image configuration", .size = descriptor->size };
    char type[FETCHER_MEDIA_TYPE];
    memcpy(wanted.hex, descriptor->hex, sizeof wanted.hex);
    json_t *config = fetch_document(fetch, &wanted, &image->config, type, err);
    json_decref(config);
    return config ? incoming_read_config(fetch->staging, &pull->platform, image, layer_count, err)
                  : -1;
}

/* --- layers ----------------------------------------------------------------------------------- */

static int read_sizes(const json_t *layers, struct incoming_image *image, struct error *err)
{
    int64_t total = 0;
    for (size_t i = 0; i < image->layer_count; i++) {
        struct descriptor layer;
        struct blob *blob = &image->layers[i].blob;
        if (manifest_parse_layer(layers, i, &layer, err) < 0)
            return -1;
        if (layer.size > SOURCE_MAX_BYTES - total)
            return error_set(err, EXIT_OURS, "its layers have more than %lld GiB",
                             SOURCE_MAX_BYTES >> 30);
        total += layer.size;
        *blob = (struct blob){ .size = layer.size };
        memcpy(blob->hex, layer.hex, sizeof blob->hex);
    }
    return 0;
}

/* Which of the jobs so far is of the same blob, or makes the same layer? */
static const struct layer_job *find_job(const struct layer_job *jobs, size_t count, const char *hex,
                                        const char *diff_id)
{
    for (size_t i = 0; i < count; i++)
        if ((hex && strcmp(jobs[i].blob.hex, hex) == 0) ||
            (diff_id && !jobs[i].keep_blob && strcmp(jobs[i].diff_id, diff_id) == 0))
            return &jobs[i];
    return NULL;
}

/* Adds a job for a layer of which the store lacks the blob or the EROFS file. */
static int plan_layer(const struct staging *staging, struct incoming_layer *layer,
                      struct layer_job *jobs, size_t *count, struct error *err)
{
    const struct layer_job *same = find_job(jobs, *count, layer->blob.hex, NULL);
    if (same && strcmp(same->diff_id, layer->diff_id) != 0)
        return error_set(err, EXIT_OURS, "it gives one layer, sha256:%.12s, two diff ids",
                         layer->blob.hex);
    int here = same ? 1 : blob_find(staging, layer->blob.hex, layer->blob.size, &layer->blob, err);
    int converted =
        find_job(jobs, *count, NULL, layer->diff_id) ? 1 : layer_find(staging, layer->diff_id, err);
    if (here < 0 || converted < 0)
        return -1;
    if (here && converted)
        return 0;
    struct layer_job *job = &jobs[(*count)++];
    *job = (struct layer_job){ .blob = layer->blob,
                               .state = here ? LAYER_READY : LAYER_ABSENT,
                               .keep_blob = converted > 0 };
    memcpy(job->diff_id, layer->diff_id, sizeof job->diff_id);
    return 0;
}

static void tell_plan(const struct pull *pull, const struct fetch *fetch,
                      const struct incoming_image *image, const struct layer_job *jobs,
                      size_t count)
{
    size_t absent = 0;
    int64_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        if (jobs[i].state == LAYER_ABSENT) {
            absent++;
            bytes += jobs[i].blob.size;
        }
    if (!pull->options->quiet)
        (void)fprintf(stderr,
                      "%s is sha256:%.12s%s%s: %zu layer%s, %zu of them to fetch, %.1f MB\n",
                      reference_familiar(pull->reference), image->manifest.hex,
                      *fetch->host ? " at " : "", fetch->host, image->layer_count,
                      image->layer_count == 1 ? "" : "s", absent, (double)bytes / 1e6);
}

static int fetch_layers(struct fetch *fetch, const struct pull *pull, struct incoming_image *image,
                        struct error *err)
{
    size_t count = 0;
    _cleanup_free_ struct layer_job *jobs = calloc(image->layer_count, sizeof *jobs);
    if (!jobs)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < image->layer_count; i++)
        if (plan_layer(fetch->staging, &image->layers[i], jobs, &count, err) < 0)
            return -1;
    tell_plan(pull, fetch, image, jobs, count);
    const struct layer_feed feed = fetch_feed(fetch);
    if (convert_layers(fetch->staging, jobs, count, &feed, pull->options->quiet, err) < 0)
        return -1;
    for (size_t i = 0; i < image->layer_count; i++) {
        const struct layer_job *job = find_job(jobs, count, image->layers[i].blob.hex, NULL);
        if (job)
            image->layers[i].blob = job->blob;
    }
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

static bool is_up_to_date(const struct staging *staging, const char *reference, const char *hex)
{
    char name[NAME_MAX + 1];
    struct index_entry entry;
    index_file_name(reference, NULL, name);
    bool same = index_read(staging->store->index_fd, name, &entry, NULL) == 1 &&
                strcmp(entry.manifest, hex) == 0;
    index_entry_free(&entry);
    return same;
}

static int receive_image(struct fetch *fetch, const struct pull *pull, struct incoming_image *image,
                         struct error *err)
{
    char type[FETCHER_MEDIA_TYPE];
    struct descriptor config;
    const json_t *layers;
    _cleanup_json_ json_t *manifest = fetch_manifest(fetch, pull, image, type, err);
    if (!manifest || manifest_parse(manifest, *type ? type : NULL, &config, &layers, err) < 0 ||
        fetch_config(fetch, pull, &config, json_array_size(layers), image, err) < 0 ||
        read_sizes(layers, image, err) < 0)
        return -1;
    image->names[0] = strdup(pull->reference);
    if (!image->names[0])
        return error_set(err, EXIT_OURS, "out of memory");
    image->name_count = 1;
    image->pulled = pull->vouched;
    return fetch_layers(fetch, pull, image, err);
}

static int receive_and_commit(struct fetch *fetch, const struct pull *pull,
                              struct incoming *incoming, struct error *err)
{
    struct incoming_image *image = incoming_add(incoming, err);
    if (!image || receive_image(fetch, pull, image, err) < 0)
        return -1;
    bool same = is_up_to_date(fetch->staging, pull->reference, image->manifest.hex);
    if (commit_images(fetch->staging, incoming, err) < 0)
        return -1;
    if (!pull->options->quiet)
        (void)printf("%s: %s\n", same ? "Image is up to date" : "Pulled image",
                     reference_familiar(pull->reference));
    if (fflush(stdout) != 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write to standard output");
    return 0;
}

static int explain(const struct pull *pull, const struct error *cause, struct error *err)
{
    const char *name = reference_familiar(pull->reference);
    if (pull->options->missing)
        return error_set(err, EXIT_OURS,
                         "no such image: %s, and it cannot be pulled: %s; `hybrid images` lists "
                         "those there are, `hybrid load FILE` adds one",
                         name, cause->message);
    return error_set(err, EXIT_OURS, "cannot pull %s: %s", name, cause->message);
}

static int work(const struct staging *staging, void *context, struct error *err)
{
    struct pull *pull = context;
    struct error cause = { 0 };
    struct fetch fetch = { .staging = staging,
                           .fetcher = &pull->fetcher,
                           .quiet = pull->options->quiet };
    struct incoming *incoming = calloc(1, sizeof *incoming);
    if (!incoming)
        return error_set(err, EXIT_OURS, "out of memory");
    int result = receive_and_commit(&fetch, pull, incoming, &cause);
    incoming_free(incoming);
    free(incoming);
    return result < 0 ? explain(pull, &cause, err) : 0;
}

int pull_run(const char *store_path, const struct pull_options *options, struct error *err)
{
    struct remote remote;
    struct pull pull = { .options = options, .platform = platform_host() };
    _cleanup_free_ char *reference = reference_normalize(options->name, err);
    if (!reference ||
        (options->platform && platform_parse(options->platform, &pull.platform, err) < 0))
        return -1;
    pull.reference = reference;
    if (remote_open(reference, options->settings, options->plain_http, &remote, err) < 0)
        return -1;
    pull.vouched = remote.vouched;
    int started = fetcher_start(&remote, &pull.fetcher, err);
    remote_free(&remote); /* its secrets are of use where the network is, and nowhere else */
    if (started < 0 || privileges_reduce(false, err) < 0)
        return -1;
    const struct session session = {
        .root = options->root, .handover = pull.fetcher.socket, .work = work, .context = &pull
    };
    return session_run(store_path, &session, err);
}
