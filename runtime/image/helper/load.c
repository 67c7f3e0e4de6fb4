#include "runtime/image/helper/load.h"

#include <string.h>

#include "cleanup.h"
#include "runtime/image/helper/commit.h"
#include "runtime/image/helper/convert.h"
#include "runtime/image/helper/session.h"

/* --name replaces the names of a lone image. */
static int rename_image(struct incoming *incoming, const char *name, struct error *err)
{
    struct incoming_image *image = &incoming->images[0];
    if (incoming->count != 1)
        return error_set(err, EXIT_OURS, "--name: the archive holds %zu images, not one",
                         incoming->count);
    while (image->name_count > 0)
        free(image->names[--image->name_count]);
    return incoming_add_name(image, name, err);
}

static bool is_planned(const struct layer_job *jobs, size_t count, const char *diff_id)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(jobs[i].diff_id, diff_id) == 0)
            return true;
    return false;
}

/* Only layers that the store lacks are converted, each once. */
static int plan_jobs(const struct staging *staging, const struct incoming *incoming,
                     struct layer_job *jobs, size_t *count, struct error *err)
{
    for (size_t i = 0; i < incoming->count; i++) {
        const struct incoming_image *image = &incoming->images[i];
        for (size_t n = 0; n < image->layer_count; n++) {
            const struct incoming_layer *layer = &image->layers[n];
            int found = is_planned(jobs, *count, layer->diff_id)
                            ? 1
                            : layer_find(staging, layer->diff_id, err);
            if (found < 0)
                return -1;
            if (found)
                continue;
            memcpy(jobs[*count].diff_id, layer->diff_id, sizeof jobs->diff_id);
            jobs[(*count)++].blob = layer->blob;
        }
    }
    return 0;
}

static int convert_new(const struct staging *staging, const struct incoming *incoming, bool quiet,
                       struct error *err)
{
    size_t most = 0;
    size_t count = 0;
    for (size_t i = 0; i < incoming->count; i++)
        most += incoming->images[i].layer_count;
    _cleanup_free_ struct layer_job *jobs = calloc(most + 1, sizeof *jobs);
    if (!jobs)
        return error_set(err, EXIT_OURS, "out of memory");
    if (plan_jobs(staging, incoming, jobs, &count, err) < 0)
        return -1;
    return convert_layers(staging, jobs, count, NULL, quiet, err);
}

static int announce(const struct incoming *incoming, struct error *err)
{
    for (size_t i = 0; i < incoming->count; i++) {
        const struct incoming_image *image = &incoming->images[i];
        for (size_t n = 0; n < image->name_count; n++)
            (void)printf("Loaded image: %s\n", reference_familiar(image->names[n]));
        if (image->name_count == 0) {
            (void)printf("Loaded image ID: sha256:%s\n", image->config.hex);
            (void)fprintf(stderr,
                          "hybrid: the archive gives the image no name; use its id, or load it "
                          "with --name NAME\n");
        }
    }
    if (fflush(stdout) != 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write to standard output");
    return 0;
}

static int load_source(const struct staging *staging, const struct load_options *options,
                       struct source *source, struct incoming *incoming, struct error *err)
{
    progress_reading(options->quiet, options->path);
    int result = source_open(staging, options->path, source, err);
    if (result == 0)
        result = incoming_read(source, incoming, err);
    progress_reading(options->quiet, NULL);
    if (result < 0 || (options->name && rename_image(incoming, options->name, err) < 0) ||
        convert_new(staging, incoming, options->quiet, err) < 0 ||
        commit_images(staging, incoming, err) < 0)
        return -1;
    return announce(incoming, err);
}

static int work(const struct staging *staging, void *context, struct error *err)
{
    struct source source = { .dir_fd = -1 };
    struct incoming *incoming = calloc(1, sizeof *incoming);
    if (!incoming)
        return error_set(err, EXIT_OURS, "out of memory");
    int result = load_source(staging, context, &source, incoming, err);
    incoming_free(incoming);
    free(incoming);
    source_free(&source);
    return result;
}

int load_run(const char *store_path, const struct load_options *options, struct error *err)
{
    struct load_options copy = *options;
    const struct landlock_place place = { .access = LANDLOCK_READ, .path = options->path };
    const struct session session = {
        .root = options->root, .place = &place, .handover = -1, .work = work, .context = &copy
    };
    return session_run(store_path, &session, err);
}
