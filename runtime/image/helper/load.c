#include "runtime/image/helper/load.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "runtime/image/helper/collect.h"
#include "runtime/image/helper/commit.h"
#include "runtime/image/helper/convert.h"

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
static size_t plan_jobs(const struct store *store, const struct incoming *incoming,
                        struct layer_job *jobs)
{
    size_t count = 0;
    for (size_t i = 0; i < incoming->count; i++) {
        const struct incoming_image *image = &incoming->images[i];
        for (size_t n = 0; n < image->layer_count; n++) {
            char name[STORE_DIGEST_HEX + 8];
            const struct incoming_layer *layer = &image->layers[n];
            layer_file_name(layer->diff_id, name);
            if (faccessat(store->layers_fd, name, F_OK, 0) == 0 ||
                is_planned(jobs, count, layer->diff_id))
                continue;
            memcpy(jobs[count].diff_id, layer->diff_id, sizeof jobs[count].diff_id);
            jobs[count++].blob = layer->blob;
        }
    }
    return count;
}

static int convert_new(const struct staging *staging, const struct incoming *incoming, bool quiet,
                       struct error *err)
{
    size_t most = 0;
    for (size_t i = 0; i < incoming->count; i++)
        most += incoming->images[i].layer_count;
    _cleanup_free_ struct layer_job *jobs = calloc(most + 1, sizeof *jobs);
    if (!jobs)
        return error_set(err, EXIT_OURS, "out of memory");
    size_t count = plan_jobs(staging->store, incoming, jobs);
    return convert_layers(staging, jobs, count, quiet, err);
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

static int load(const struct staging *staging, const struct load_options *options,
                struct error *err)
{
    struct source source = { .dir_fd = -1 };
    struct incoming *incoming = calloc(1, sizeof *incoming);
    if (!incoming)
        return error_set(err, EXIT_OURS, "out of memory");
    int result = load_source(staging, options, &source, incoming, err);
    incoming_free(incoming);
    free(incoming);
    source_free(&source);
    return result;
}

/* The signals that end a load, and the end of its process. */
static void signals_to_wait_for(sigset_t *set)
{
    static const int numbers[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP };
    (void)sigemptyset(set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        (void)sigaddset(set, numbers[i]);
}

/*
 * Waits for the loader, or for a signal to end it. Returns the exit status: the loader's, or 128+n.
 * As a subreaper this process also waits for the loader's own children, which die with it: when
 * all are gone, nobody writes to the staging directory any more.
 */
static int supervise(pid_t loader, const sigset_t *signals)
{
    int status = EXIT_OURS;
    bool signalled = false;
    for (;;) {
        int ended;
        pid_t child = waitpid(-1, &ended, WNOHANG);
        if (child < 0 && errno == ECHILD)
            return status;
        if (child == loader && !signalled)
            status = WIFEXITED(ended) ? WEXITSTATUS(ended) : EXIT_OURS;
        if (child > 0)
            continue;
        int number = sigwaitinfo(signals, NULL);
        if (number > 0 && number != SIGCHLD && !signalled) {
            signalled = true;
            status = EXIT_SIGNAL_BASE + number;
            (void)kill(loader, SIGKILL);
        }
    }
}

__attribute__((noreturn)) static void run_loader(const struct staging *staging,
                                                 const struct load_options *options,
                                                 const sigset_t *unblocked, pid_t parent)
{
    struct error err = { 0 };
    staging_die_with(parent);
    /* A signal to the whole foreground group is the supervisor's to answer. */
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)sigprocmask(SIG_SETMASK, unblocked, NULL);
    int result = load(staging, options, &err);
    if (result < 0)
        (void)fprintf(stderr, "hybrid: %s\n", err.message);
    _exit(result < 0 ? EXIT_OURS : 0);
}

/* What a command that was killed between its commit's steps left is found by nobody else. */
static int collect(const struct store *store, const char *root, struct error *err)
{
    _cleanup_close_ int lock = store_lock(store, err);
    return lock < 0 ? -1 : collect_garbage(store, root, err);
}

static int load_into(const struct store *store, const struct load_options *options,
                     struct error *err)
{
    struct staging staging;
    bool swept;
    sigset_t signals;
    sigset_t unblocked;
    signals_to_wait_for(&signals);
    (void)signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would hide how children end */
    (void)sigprocmask(SIG_BLOCK, &signals, &unblocked);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot become a subreaper");
    if (staging_begin(store, &staging, &swept, err) < 0)
        return -1;
    if (swept && collect(store, options->root, err) < 0) {
        (void)staging_end(&staging, NULL);
        return -1;
    }
    (void)fflush(stdout);
    const pid_t self = getpid();
    pid_t loader = fork();
    if (loader == 0)
        run_loader(&staging, options, &unblocked, self);
    int status = loader < 0 ? error_set_errno(err, EXIT_OURS, errno, "cannot fork")
                            : supervise(loader, &signals);
    if (staging_end(&staging, err) < 0)
        return -1;
    if (status != 0 && collect(store, options->root, loader < 0 ? NULL : err) < 0)
        return -1;
    return status;
}

int load_run(const char *store_path, const struct load_options *options, struct error *err)
{
    struct store store;
    if (store_open(store_path, &store, err) < 0)
        return -1;
    int status = load_into(&store, options, err);
    store_close(&store);
    return status;
}
