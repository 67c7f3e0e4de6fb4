/*
 * hybrid-image: what `hybrid` runs for everything that writes the image store. Archive and crypto
 * libraries live here, so that no start of a workload ever loads them.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "runtime/image/helper/check.h"
#include "runtime/image/helper/commit.h"
#include "runtime/image/helper/import.h"
#include "runtime/image/helper/load.h"
#include "runtime/image/helper/privileges.h"
#include "runtime/image/helper/pull.h"
#include "runtime/image/helper/push.h"
#include "runtime/image/helper/remove.h"
#include "runtime/image/helper/save.h"
#include "runtime/image/helper/session.h"
#include "runtime/image/helper/verify.h"
#include "runtime/image/registry/settings.h"

static const char usage[] =
    "Usage: hybrid-image --store DIR [--root DIR] load [-q] [--name REF] FILE|DIR|-\n"
    "       hybrid-image --store DIR [--root DIR] pull [-q] [--platform P] [--plain-http] "
    "[--missing] NAME\n"
    "       hybrid-image --store DIR --root DIR rmi [-f] IMAGE...\n"
    "       hybrid-image --store DIR push [-q] [--plain-http] NAME\n"
    "       hybrid-image --store DIR tag IMAGE NAME\n"
    "       hybrid-image --store DIR --root DIR prune [--all]\n"
    "       hybrid-image --store DIR [--root DIR] import [-q] [--change C]... [--message M] "
    "TAR|DIR|- NAME\n"
    "       hybrid-image --store DIR [--root DIR] save [--output FILE] IMAGE...\n"
    "       hybrid-image --store DIR --root DIR check [--quick] [--repair] [--format json]\n"
    "       hybrid-image --store DIR [--root DIR] verify [-q] [--plain-http] --key FILE NAME\n"
    "Writes hybrid's image store; the verbs of hybrid run it.\n";

struct settings {
    const char *store;
    const char *root;
    const char *name;
    const char *platform;
    const char *output;
    const char *message;
    const char *format;
    const char *key;
    const char **changes; /* as many as there are arguments */
    size_t change_count;
    bool quiet, force, plain_http, missing, all, quick, repair;
};

static int run_load(const struct settings *settings, char **operands, struct error *err)
{
    if (!operands[0] || operands[1])
        return error_set(err, EXIT_OURS, "load takes one FILE or DIR");
    const struct load_options options = {
        .path = operands[0],
        .name = settings->name,
        .root = settings->root,
        .quiet = settings->quiet,
    };
    return load_run(settings->store, &options, err);
}

static int open_store(const struct settings *settings, struct store *store, struct error *err)
{
    if (store_open(settings->store, store, err) < 0)
        return -1;
    if (session_confine(store, settings->root, NULL, err) == 0)
        return 0;
    store_close(store);
    return -1;
}

/* All that can be removed are; the first failure is the result. */
static int run_rmi(const struct settings *settings, char **operands, struct error *err)
{
    struct store store;
    int result = 0;
    if (!operands[0])
        return error_set(err, EXIT_OURS, "rmi takes the name of an image");
    if (open_store(settings, &store, err) < 0)
        return -1;
    for (; *operands; operands++) {
        struct removed removed = { 0 };
        struct error cause = { 0 };
        int failed =
            remove_image(&store, settings->root, *operands, settings->force, &removed, &cause);
        (void)fputs(removed.text ? removed.text : "", stdout);
        free(removed.text);
        if (failed < 0 && result == 0)
            *err = cause;
        else if (failed < 0)
            (void)fprintf(stderr, "hybrid: %s\n", cause.message);
        if (failed < 0)
            result = -1;
    }
    store_close(&store);
    return result;
}

static const char *settings_path(void)
{
    const char *given = getenv("HYBRID_REGISTRIES");
    return given && *given ? given : REGISTRY_SETTINGS_PATH;
}

static int run_pull(const struct settings *settings, char **operands, struct error *err)
{
    if (!operands[0] || operands[1])
        return error_set(err, EXIT_OURS, "pull takes the name of one image");
    const struct pull_options options = {
        .name = operands[0],
        .platform = settings->platform,
        .settings = settings_path(),
        .root = settings->root,
        .plain_http = settings->plain_http,
        .quiet = settings->quiet,
        .missing = settings->missing,
    };
    return pull_run(settings->store, &options, err);
}

static int run_push(const struct settings *settings, char **operands, struct error *err)
{
    if (!operands[0] || operands[1])
        return error_set(err, EXIT_OURS, "push takes the name of one image");
    const struct push_options options = {
        .name = operands[0],
        .settings = settings_path(),
        .plain_http = settings->plain_http,
        .quiet = settings->quiet,
    };
    return push_run(settings->store, &options, err);
}

static int run_verify(const struct settings *settings, char **operands, struct error *err)
{
    if (!operands[0] || operands[1] || !settings->key)
        return error_set(err, EXIT_OURS, "verify takes the name of one image, and --key");
    const struct verify_options options = {
        .name = operands[0],
        .key = settings->key,
        .settings = settings_path(),
        .root = settings->root,
        .plain_http = settings->plain_http,
        .quiet = settings->quiet,
    };
    return verify_run(settings->store, &options, err);
}

static int run_import(const struct settings *settings, char **operands, struct error *err)
{
    if (!operands[0] || !operands[1] || operands[2])
        return error_set(err, EXIT_OURS, "import takes a TAR or DIR, and a name");
    const struct import_options options = {
        .path = operands[0],
        .name = operands[1],
        .changes = settings->changes,
        .change_count = settings->change_count,
        .message = settings->message,
        .root = settings->root,
        .quiet = settings->quiet,
    };
    return import_run(settings->store, &options, err);
}

static int run_save(const struct settings *settings, char **operands, struct error *err)
{
    if (!operands[0])
        return error_set(err, EXIT_OURS, "save takes the name of an image");
    const struct save_options options = { .output = settings->output,
                                          .root = settings->root,
                                          .names = operands };
    return save_run(settings->store, &options, err);
}

static int run_prune(const struct settings *settings, char **operands, struct error *err)
{
    struct store store;
    struct removed removed = { 0 };
    if (operands[0])
        return error_set(err, EXIT_OURS, "prune takes no names: rmi does");
    if (open_store(settings, &store, err) < 0)
        return -1;
    int result = remove_unused(&store, settings->root, settings->all, &removed, err);
    (void)fputs(removed.text ? removed.text : "", stdout);
    free(removed.text);
    if (result == 0)
        (void)printf("Total reclaimed space: %.1f MB\n", (double)removed.bytes / 1e6);
    store_close(&store);
    return result;
}

static int run_check(const struct settings *settings, char **operands, struct error *err)
{
    if (operands[0])
        return error_set(err, EXIT_OURS, "check takes no names: it looks at the whole store");
    const struct check_options options = {
        .root = settings->root,
        .quick = settings->quick,
        .repair = settings->repair,
        .json = settings->format && strcmp(settings->format, "json") == 0,
    };
    return check_run(settings->store, &options, err);
}

static int run_tag(const struct settings *settings, char **operands, struct error *err)
{
    struct store store;
    if (!operands[0] || !operands[1] || operands[2])
        return error_set(err, EXIT_OURS, "tag takes an image and its new name");
    _cleanup_free_ char *reference = reference_normalize(operands[1], err);
    if (!reference)
        return -1;
    if (strchr(reference, '@'))
        return error_set(err, EXIT_OURS, "%s: a digest is not given, it is computed; give a tag",
                         operands[1]);
    if (open_store(settings, &store, err) < 0)
        return -1;
    int result = commit_tag(&store, operands[0], reference, err);
    store_close(&store);
    return result;
}

typedef int verb_function(const struct settings *settings, char **operands, struct error *err);

static const struct {
    const char *name;
    verb_function *run;
    bool reduces;  /* gives up privileges itself, once it has what needs them */
    bool sessions; /* has a process that waits for those that do the work */
    bool packs;    /* reads a directory with all its attributes */
} verbs[] = {
    { .name = "check", .run = run_check },
    { .name = "import", .run = run_import, .sessions = true, .packs = true },
    { .name = "load", .run = run_load, .sessions = true },
    { .name = "prune", .run = run_prune },
    { .name = "pull", .run = run_pull, .reduces = true, .sessions = true },
    { .name = "push", .run = run_push, .reduces = true },
    { .name = "rmi", .run = run_rmi },
    { .name = "save", .run = run_save, .sessions = true },
    { .name = "tag", .run = run_tag },
    { .name = "verify", .run = run_verify, .reduces = true, .sessions = true },
};

struct job {
    verb_function *run;
    const struct settings *settings;
    char **operands;
};

static int run_job(void *context, struct error *err)
{
    const struct job *job = context;
    return job->run(job->settings, job->operands, err);
}

static int run_verb(const struct settings *settings, char **operands, struct error *err)
{
    if (!settings->store || !operands[0])
        return error_set(err, EXIT_OURS, "hybrid-image needs --store DIR and a verb");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        struct job job = { verbs[i].run, settings, operands + 1 };
        if (strcmp(operands[0], verbs[i].name) != 0)
            continue;
        if (!verbs[i].reduces && privileges_reduce(verbs[i].packs, err) < 0)
            return -1;
        return verbs[i].sessions ? run_job(&job, err) : session_guard(run_job, &job, err);
    }
    return error_set(err, EXIT_OURS, "hybrid-image: unknown verb %s; --help lists them",
                     operands[0]);
}

/* The options, each with the member that it sets: text if it has an argument, else a flag. */
static const struct {
    struct option option;
    size_t offset;
} settings_table[] = {
    { { "store", required_argument, NULL, 's' }, offsetof(struct settings, store) },
    { { "root", required_argument, NULL, 'r' }, offsetof(struct settings, root) },
    { { "name", required_argument, NULL, 'n' }, offsetof(struct settings, name) },
    { { "quiet", no_argument, NULL, 'q' }, offsetof(struct settings, quiet) },
    { { "force", no_argument, NULL, 'f' }, offsetof(struct settings, force) },
    { { "platform", required_argument, NULL, 'p' }, offsetof(struct settings, platform) },
    { { "plain-http", no_argument, NULL, 'P' }, offsetof(struct settings, plain_http) },
    { { "missing", no_argument, NULL, 'm' }, offsetof(struct settings, missing) },
    { { "output", required_argument, NULL, 'o' }, offsetof(struct settings, output) },
    { { "message", required_argument, NULL, 'M' }, offsetof(struct settings, message) },
    { { "key", required_argument, NULL, 'k' }, offsetof(struct settings, key) },
    { { "all", no_argument, NULL, 'a' }, offsetof(struct settings, all) },
    { { "format", required_argument, NULL, 'F' }, offsetof(struct settings, format) },
    { { "quick", no_argument, NULL, 'Q' }, offsetof(struct settings, quick) },
    { { "repair", no_argument, NULL, 'R' }, offsetof(struct settings, repair) },
};

enum {
    SETTINGS = sizeof settings_table / sizeof *settings_table,
    OTHERS = 4, /* change, help, version, and the end */
    KEEP_READING = -1,
};

/* Returns KEEP_READING, or an exit status: the program is done. */
static int take_option(struct settings *settings, int letter, const char *argument)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        char *member = (char *)settings + settings_table[i].offset;
        if (settings_table[i].option.val != letter)
            continue;
        if (settings_table[i].option.has_arg == required_argument)
            *(const char **)(void *)member = argument;
        else
            *(bool *)(void *)member = true;
        return KEEP_READING;
    }
    switch (letter) {
    case 'c':
        settings->changes[settings->change_count++] = argument;
        return KEEP_READING;
    case 'h':
        return fputs(usage, stdout) < 0 ? EXIT_OURS : 0;
    case 'v':
        return printf("hybrid-image %s\n", HYBRID_VERSION) < 0 ? EXIT_OURS : 0;
    default:
        (void)fputs(usage, stderr);
        return EXIT_OURS;
    }
}

static int read_options(int argc, char **argv, struct settings *settings)
{
    struct option options[SETTINGS + OTHERS] = {
        { "change", required_argument, NULL, 'c' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },
    };
    for (size_t i = 0; i < SETTINGS; i++)
        options[OTHERS - 1 + i] = settings_table[i].option;
    for (int letter; (letter = getopt_long(argc, argv, "qf", options, NULL)) != -1;) {
        int status = take_option(settings, letter, optarg);
        if (status != KEEP_READING)
            return status;
    }
    return KEEP_READING;
}

int main(int argc, char **argv)
{
    _cleanup_free_ const char **changes = calloc((size_t)argc + 1, sizeof *changes);
    struct settings settings = { .changes = changes };
    struct error err = { 0 };
    if (!changes) {
        (void)fprintf(stderr, "hybrid: out of memory\n");
        return EXIT_OURS;
    }
    (void)umask(022); /* what a layer becomes must not depend on who loads it */
    int status = read_options(argc, argv, &settings);
    if (status != KEEP_READING)
        return status;
    status = run_verb(&settings, argv + optind, &err);
    if (status < 0) {
        (void)fprintf(stderr, "hybrid: %s\n", err.message);
        return err.exit_code;
    }
    if (fflush(stdout) != 0) {
        (void)fprintf(stderr, "hybrid: cannot write to standard output\n");
        return EXIT_OURS;
    }
    return status;
}
