/* hybrid start: stopped workloads again, with what they wrote. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "runtime/engine/engine.h"
#include "runtime/launch/launch.h"
#include "runtime/launch/make_plan.h"
#include "runtime/launch/run_policy.h"
#include "runtime/launch/workload.h"
#include "verbs.h"

struct settings {
    bool attach, interactive;
};

static const struct cli_option options[] = {
    { .name = "attach",
      .letter = 'a',
      .kind = CLI_FLAG,
      .help = "Stay with it, as `hybrid run` does: output, signals, exit status",
      .offset = offsetof(struct settings, attach) },
    { .name = "interactive",
      .letter = 'i',
      .kind = CLI_FLAG,
      .help = "Pass this standard input on; implies --attach",
      .offset = offsetof(struct settings, interactive) },
    { 0 },
};

/* Everything that is read back of a stopped workload. */
struct stopped {
    struct state state;
    char *config_text;
    struct plan plan;
    uint8_t *filter;
    struct paths paths;
    char **layer_files;
    const char **layer_ids;
    size_t layer_count;
};

static int read_layers(const struct cli *cli, struct stopped *stopped, struct error *err)
{
    size_t count = json_array_size(stopped->state.layers);
    stopped->layer_files = calloc(count + 1, sizeof *stopped->layer_files);
    stopped->layer_ids = calloc(count + 1, sizeof *stopped->layer_ids);
    for (size_t i = 0; stopped->layer_files && stopped->layer_ids && i < count; i++) {
        const char *id = json_string_value(json_array_get(stopped->state.layers, i));
        char *path = NULL;
        if (!id)
            return error_set(err, EXIT_OURS, "state.json of %s: layers", stopped->state.id);
        if (asprintf(&path, "%s/layers/%s.erofs", cli->runtime.store, id) < 0)
            break;
        stopped->layer_ids[i] = id;
        stopped->layer_files[i] = path;
        stopped->layer_count++;
        if (access(path, R_OK) < 0)
            return error_set_errno(err, EXIT_OURS, errno,
                                   "the image of %s, %s, is not in the store any more: %s; load it "
                                   "again",
                                   stopped->state.id, stopped->state.image, path);
    }
    return stopped->layer_count == count ? 0 : error_set(err, EXIT_OURS, "out of memory");
}

/*
 * Takes the lock of a workload that has stopped. The monitor that wrote so has it until it is gone,
 * which is a moment later. Returns 0; 1: it runs; or -1 with *err.
 */
static int lock_stopped(const struct cli *cli, const char *name, int *lock, struct error *err)
{
    struct state state = { 0 };
    int result = workload_read(&cli->runtime, name, &state, err);
    const bool has_stopped = state.status == STATE_STOPPED;
    state_free(&state);
    if (result < 0)
        return -1;
    return has_stopped ? workload_lock_soon(&cli->runtime, name, lock, err) : 1;
}

/* Reads it under the lock, which says that no monitor has it. */
static int read_stopped(const struct cli *cli, const char *name, struct stopped *stopped, int *lock,
                        struct error *err)
{
    int locked = lock_stopped(cli, name, lock, err);
    if (locked == 1)
        return error_set(err, EXIT_OURS, "%s is already running", name);
    if (locked < 0 || state_read_locked(cli->runtime.root, name, &stopped->state, err) < 0 ||
        (stopped->state.abandoned && workload_clean_up(&cli->runtime, &stopped->state, err) < 0))
        return -1;
    stopped->config_text = state_read_config(cli->runtime.root, name, err);
    if (!stopped->config_text || paths_make(&cli->runtime, name, &stopped->paths, err) < 0 ||
        read_layers(cli, stopped, err) < 0 ||
        run_policy_check_start(&cli->runtime, &stopped->state, &stopped->config_text, err) < 0)
        return -1;
    return make_plan_from_text(&cli->runtime, stopped->config_text, PLAN_PARSE_OWN, &stopped->plan,
                               &stopped->filter, err);
}

static void free_stopped(struct stopped *stopped)
{
    for (size_t i = 0; i < stopped->layer_count; i++)
        free(stopped->layer_files[i]);
    free(stopped->layer_files);
    free(stopped->layer_ids);
    paths_free(&stopped->paths);
    plan_free(&stopped->plan);
    free(stopped->filter);
    free(stopped->config_text);
    state_free(&stopped->state);
}

static int launch(const struct cli *cli, struct stopped *stopped, int lock,
                  const struct settings *settings, struct error *err)
{
    const struct workload_ops *ops = workload_find_ops(stopped->state.isolation, err);
    if (!ops) {
        (void)close(lock);
        return -1;
    }
    bool attached = settings->attach || settings->interactive;
    bool input = json_is_true(json_object_get(stopped->state.options, "stdin"));
    struct launch launch = {
        .state = &stopped->state,
        .lock = lock,
        .request = { .ops = ops,
                     .spec = { .id = stopped->state.id,
                               .paths = stopped->paths.paths,
                               .plan = &stopped->plan,
                               .config_text = stopped->config_text,
                               .layer_files = (const char *const *)stopped->layer_files,
                               .layer_ids = stopped->layer_ids,
                               .layer_count = stopped->layer_count,
                               .keep_writable = true },
                     .detached = !attached,
                     .interactive = attached ? settings->interactive : input,
                     .keep_log = true },
    };
    return launch_run(&cli->runtime, &launch, err);
}

static int start_one(const struct cli *cli, const char *name, const struct settings *settings,
                     struct error *err)
{
    struct stopped stopped = { 0 };
    _cleanup_close_ int lock = -1;
    int status = read_stopped(cli, name, &stopped, &lock, err);
    if (status == 0)
        status = launch(cli, &stopped, take_fd(&lock), settings, err);
    free_stopped(&stopped);
    return status;
}

/* In the background there is no exit status yet: another one than 0 means that it did not start. */
static int start_in_background(const struct cli *cli, const char *name, const void *context,
                               struct error *err)
{
    int status = start_one(cli, name, context, err);
    if (status > 0)
        return error_set(err, EXIT_OURS, "%s could not be started", name);
    return status;
}

static int run_start(const struct cli *cli, const void *settings, char **operands, size_t count,
                     struct error *err)
{
    const struct settings *chosen = settings;
    if (count == 1 && engine_owns(&cli->runtime, operands[0])) {
        if (chosen->attach || chosen->interactive)
            return error_set(err, EXIT_OURS,
                             "start: %s was created from a bundle: its streams are those of its "
                             "creator, leave -a and -i out",
                             operands[0]);
        return engine_start(&cli->runtime, operands[0], err);
    }
    if (!chosen->attach && !chosen->interactive)
        return cli_each(cli, operands, count, true, start_in_background, settings);
    if (count > 1)
        return error_set(err, EXIT_OURS, "start: only one workload can be attached at a time");
    return start_one(cli, operands[0], settings, err);
}

const struct verb verb_start = {
    .name = "start",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] NAME [NAME...]",
    .summary = "Start stopped workloads again, with what they wrote",
    .description = "A container that `hybrid create` made of a bundle executes its command.",
    .examples = "  hybrid start web\n"
                "  hybrid start -a -i shell",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = -1,
    .joins_workload = true,
    .single_dash = true,
    .run = run_start,
};
