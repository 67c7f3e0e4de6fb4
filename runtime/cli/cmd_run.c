/* hybrid run: a new workload from an image. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "env.h"
#include "policy_print.h"
#include "run.h"
#include "run_image.h"
#include "run_network.h"
#include "runtime/container/container.h"
#include "runtime/image/store.h"
#include "runtime/launch/launch.h"
#include "runtime/launch/make_plan.h"
#include "runtime/launch/run_policy.h"
#include "runtime/launch/workload.h"
#include "runtime/state/tree.h"
#include "stamp.h"
#include "verbs.h"

/* Everything between the command line and the launch. */
struct run {
    const struct cli *cli;
    const struct run_settings *settings;
    struct run_options options; /* a copy, completed */
    char random_id[16];
    char directory[PATH_MAX]; /* ours: where relative paths of -v begin */
    struct env env;
    struct store_image image;
    json_t *seccomp_profile;
    char *resolver;
    struct run_policy policy;
    char *config_text;
    struct plan plan;
    uint8_t *filter;
    struct paths paths;
    struct state state;
};

/* Under --rm nothing is written to a disk: what would such a limit be of? */
static int check_write_rates(const struct run_settings *settings, struct error *err)
{
    const char *const *rates = settings->run.rates;
    bool bytes = rates[PLAN_DISK_WRITE_BYTES] != NULL;
    if (!settings->remove || (!bytes && !rates[PLAN_DISK_WRITE_REQUESTS]))
        return 0;
    return error_set(err, EXIT_OURS,
                     "%s: with --rm the writable layer is in memory, not on a disk; leave --rm out",
                     rate_option(bytes ? PLAN_DISK_WRITE_BYTES : PLAN_DISK_WRITE_REQUESTS));
}

/* Nor of a network that there is not. */
static int check_network_rates(const struct run_settings *settings, struct error *err)
{
    for (int rate = PLAN_DISK_RATES; rate < PLAN_RATES; rate++) {
        if (settings->run.rates[rate] && strcmp(settings->network, "none") == 0)
            return error_set(err, EXIT_OURS,
                             "%s: there is no network to limit; join one by --network=ns:PATH",
                             rate_option((enum plan_rate)rate));
    }
    return 0;
}

static int check_options(const struct run_settings *settings, struct error *err)
{
    if (check_write_rates(settings, err) < 0 || check_network_rates(settings, err) < 0)
        return -1;
    if (settings->detach && settings->dry_run)
        return error_set(err, EXIT_OURS, "--dry-run runs nothing: leave -d out");
    if (strcmp(settings->format, "json") == 0 && !settings->dry_run)
        return error_set(err, EXIT_OURS,
                         "--format=json is for --dry-run: the output of a run is "
                         "that of its command");
    if (settings->run.terminal && settings->interactive && !settings->detach && !settings->dry_run)
        return launch_check_terminal(err);
    return 0;
}

static int choose_id(struct run *run, struct error *err)
{
    run->options.id = run->settings->name;
    if (run->options.id)
        return state_check_id(run->options.id, err);
    unsigned char bytes[6];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return error_set_errno(err, EXIT_OURS, errno, "cannot choose a name");
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(run->random_id + 2 * i, 3, "%02x", bytes[i]);
    run->options.id = run->random_id;
    return 0;
}

/* --security-opt seccomp=FILE: the last one counts. */
static int read_profile(struct run *run, struct error *err)
{
    static const char prefix[] = "seccomp=";
    const char *path = NULL;
    const struct option_list *list = &run->options.security;
    for (size_t i = 0; i < list->count; i++)
        if (strncmp(list->values[i], prefix, sizeof prefix - 1) == 0)
            path = list->values[i] + sizeof prefix - 1;
    if (!path || !*path || strcmp(path, "unconfined") == 0 || strcmp(path, "builtin") == 0)
        return 0;
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open the seccomp profile %s", path);
    json_error_t where;
    run->seccomp_profile = json_loadf(file, JSON_REJECT_DUPLICATES, &where);
    if (!run->seccomp_profile)
        return error_set(err, EXIT_OURS, "the seccomp profile %s is not valid JSON: line %d: %s",
                         path, where.line, where.text);
    run->options.seccomp_profile = run->seccomp_profile;
    return 0;
}

/* Before anything is started, and in the same words in both isolations. */
static int check_sources(const json_t *config, struct error *err)
{
    size_t index;
    const json_t *mount;
    json_array_foreach(json_object_get(config, "mounts"), index, mount)
    {
        const char *source = json_string_value(json_object_get(mount, "source"));
        if (strcmp(json_string_value(json_object_get(mount, "type")), "bind") != 0 ||
            access(source, F_OK) == 0)
            continue;
        if (errno == ENOENT)
            return error_set(err, EXIT_OURS,
                             "cannot mount %.1000s: there is no such file or directory on this "
                             "host; make it first, hybrid never does",
                             source);
        return error_set_errno(err, EXIT_OURS, errno, "cannot mount %.1000s", source);
    }
    return 0;
}

/* Returns 0 with *config, an exit status whose cause has been told, or -1 with *err. */
static int compose_config(struct run *run, char **operands, json_t **config, struct error *err)
{
    const struct cli *cli = run->cli;
    run->options.command = (const char *const *)(operands + 1);
    run->options.entrypoint_given = run->options.entrypoint != NULL;
    if (run->options.userns && userns_parse(run->options.userns, &run->options.userns_map, err) < 0)
        return -1;
    if (!getcwd(run->directory, sizeof run->directory))
        return error_set_errno(err, EXIT_OURS, errno, "cannot tell the working directory");
    run->options.directory = run->directory;
    if (run_network_parse(run->settings->network, &run->options, &run->resolver, err) < 0 ||
        choose_id(run, err) < 0 || read_profile(run, err) < 0 ||
        env_read(&run->settings->env, &run->settings->env_files, &run->env, err) < 0)
        return -1;
    run->options.env = run->env.list;
    int status = run_image_open(cli, operands[0], run->settings->pull, run->settings->quiet,
                                &run->image, err);
    if (status == 0)
        status = run_image_add_probe(cli, &run->image, err);
    if (status != 0)
        return status;
    run->options.image = run->image.reference;
    *config = oci_compose(run->image.config, &run->options, err);
    return *config ? check_sources(*config, err) : -1;
}

/*
 * The policy decides on the configuration before anything else reads it. Returns as compose_config.
 */
static int compose(struct run *run, char **operands, struct error *err)
{
    json_t *config = NULL;
    int status = compose_config(run, operands, &config, err);
    if (status != 0)
        return status;
    int decided = run_policy_decide(&run->cli->runtime, &run->options, &run->image, config,
                                    &run->policy, err);
    if (!run->settings->dry_run)
        decided =
            run_policy_record(&run->cli->runtime, run->options.id, &run->policy, decided, err);
    if (decided == 0) {
        run->options.isolation = policy_isolation_name(run->policy.decision.isolation);
        run->config_text = json_dumps(config, JSON_COMPACT);
        if (!run->config_text)
            decided = error_set(err, EXIT_OURS, "out of memory");
    }
    if (decided < 0) {
        json_decref(config);
        return -1;
    }
    if (make_plan(&run->cli->runtime, config, PLAN_PARSE_OWN, &run->plan, &run->filter, err) < 0)
        return -1;
    return run->policy.decision.isolation == POLICY_CONTAINER
               ? container_check_plan(&run->plan, err)
               : 0;
}

static int dry_run(const struct run *run, struct error *err)
{
    FILE *out = run->cli->out;
    if (strcmp(run->settings->format, "json") == 0) {
        json_t *document = plan_to_json(&run->plan);
        if (!document || run_policy_add(&run->policy, document) < 0) {
            json_decref(document);
            return error_set(err, EXIT_OURS, "out of memory");
        }
        cli_print_json(out, document);
        json_decref(document);
        return 0;
    }
    (void)fprintf(out, "image      %s\nisolation  %s\nlayers     %zu\n",
                  run->image.reference ? run->image.reference : run->image.id,
                  run->options.isolation, run->image.layer_count);
    policy_print_decision(&run->policy, out);
    if (plan_print(&run->plan, out) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot print the plan");
    return 0;
}

static int fill_state(struct run *run, struct error *err)
{
    struct state *state = &run->state;
    const json_t *process = json_object_get(run->plan.document, "process");
    *state = (struct state){
        .id = strdup(run->options.id),
        .image = strdup(run->image.reference ? run->image.reference : run->image.id),
        .isolation = strdup(run->options.isolation),
        .cgroup = strdup(""),
        .status = STATE_CREATING,
        .remove = run->settings->remove,
        .created = time(NULL),
        .command = json_incref(json_object_get(process, "args")),
        .layers = json_array(),
        .options = json_pack("{s:b, s:s}", "stdin", run->settings->interactive, "cgroup_manager",
                             run->cli->runtime.cgroup_manager),
        .policy = run_policy_to_json(&run->policy),
    };
    for (size_t i = 0; i < run->image.layer_count; i++)
        (void)json_array_append_new(state->layers, json_string(run->image.layer_ids[i]));
    if (!state->id || !state->image || !state->isolation || !state->cgroup || !state->options ||
        json_array_size(state->layers) != run->image.layer_count)
        return error_set(err, EXIT_OURS, "out of memory");
    return 0;
}

/*
 * Only for what keeps something there: its log, or what it wrote. What a workload of that name left
 * that does not exist any more, since the machine was restarted, goes in any case.
 */
static int make_data_directory(struct run *run, bool kept, struct error *err)
{
    const char *path = run->paths.paths.data_dir;
    char parent[4096];
    (void)snprintf(parent, sizeof parent, "%s/workloads", run->cli->runtime.data);
    if (tree_remove(path, err) < 0)
        return -1;
    if (!kept)
        return 0;
    int made = mkdir(path, 0700);
    if (made < 0 && errno == ENOENT && (mkdir(parent, 0700) == 0 || errno == EEXIST))
        made = mkdir(path, 0700);
    if (made < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make %s", path);
    return 0;
}

static int create_state(struct run *run, int *lock, struct error *err)
{
    int created = state_create(run->cli->runtime.root, &run->state, run->config_text, lock, err);
    if (created == 1) {
        /* One whose monitor was killed and that was to be removed makes room. */
        _cleanup_state_ struct state old = { 0 };
        struct error ignored;
        (void)workload_read(&run->cli->runtime, run->state.id, &old, &ignored);
        created = state_create(run->cli->runtime.root, &run->state, run->config_text, lock, err);
    }
    if (created == 1)
        return error_set(
            err, EXIT_OURS,
            "the name %s is in use; choose another, or remove that workload: hybrid rm "
            "-f %s",
            run->state.id, run->state.id);
    return created;
}

static int launch(struct run *run, struct error *err)
{
    const struct run_settings *settings = run->settings;
    const struct workload_ops *ops = workload_find_ops(run->options.isolation, err);
    int lock = -1;
    if (!ops || paths_make(&run->cli->runtime, run->options.id, &run->paths, err) < 0 ||
        fill_state(run, err) < 0 || create_state(run, &lock, err) < 0)
        return -1;
    struct launch launch = {
        .state = &run->state,
        .lock = lock,
        .quiet = settings->quiet,
        .request = { .ops = ops,
                     .spec = { .id = run->options.id,
                               .paths = run->paths.paths,
                               .plan = &run->plan,
                               .config_text = run->config_text,
                               .layer_files = (const char *const *)run->image.layer_files,
                               .layer_ids = (const char *const *)run->image.layer_ids,
                               .layer_count = run->image.layer_count,
                               .keep_writable = !settings->remove },
                     .detached = settings->detach,
                     .interactive = settings->interactive,
                     .keep_log = settings->detach || !settings->remove,
                     .fresh = true },
    };
    int status = make_data_directory(run, launch.request.keep_log, err);
    if (status == 0)
        status = launch_run(&run->cli->runtime, &launch, err);
    else
        (void)close(lock);
    if (!launch.forked)
        (void)workload_remove(&run->cli->runtime, &run->state, NULL);
    if (status == 0 && settings->detach)
        (void)fprintf(run->cli->out, "%s\n", run->options.id);
    return status;
}

static void free_run(struct run *run)
{
    paths_free(&run->paths);
    state_free(&run->state);
    plan_free(&run->plan);
    free(run->filter);
    free(run->config_text);
    json_decref(run->seccomp_profile);
    free(run->resolver);
    run_policy_free(&run->policy);
    store_image_free(&run->image);
    env_free(&run->env);
}

/* Whether an option is one of those that come with --bundle, or has a meaning both with and
 * without. */
static bool is_of_bundles(const struct cli_option *option)
{
    size_t first = offsetof(struct run_settings, bundle);
    return option->offset >= first && option->offset < first + sizeof(struct engine_run_options);
}

static bool is_of_both(const struct cli_option *option)
{
    return strcmp(option->name, "detach") == 0 || strcmp(option->name, "rm") == 0;
}

/* Images and bundles are run with different options: the wrong ones would be ignored. */
static int check_kind(const struct run_settings *settings, bool bundle, struct error *err)
{
    for (const struct cli_option *option = run_option_table; option->name; option++) {
        if (is_of_both(option) || is_of_bundles(option) == bundle ||
            !cli_is_given(&verb_run, option, settings))
            continue;
        if (bundle)
            return error_set(
                err, EXIT_OURS,
                "run --bundle: --%s is for images; the bundle's config.json says how it runs",
                option->name);
        return error_set(err, EXIT_OURS, "--%s is for bundles: run --bundle=DIR ID", option->name);
    }
    return 0;
}

static int run_bundle(const struct cli *cli, const struct run_settings *settings, char **operands,
                      size_t count, struct error *err)
{
    if (count != 1)
        return error_set(
            err, EXIT_OURS,
            "run --bundle: one id, please; the command is process.args of config.json");
    struct engine_run_options options = settings->bundle;
    options.detach = settings->detach;
    return engine_run(&cli->runtime, operands[0], &options, err);
}

static int check_run(const struct cli *cli, const void *settings, struct error *err)
{
    const struct run_settings *chosen = settings;
    return chosen->dry_run ? 0 : workload_check_root(&cli->runtime, err);
}

static int run_run(const struct cli *cli, const void *settings, char **operands, size_t count,
                   struct error *err)
{
    const struct run_settings *chosen = settings;
    stamp("cli");
    bool bundle = chosen->bundle.create.bundle != NULL;
    if (check_kind(chosen, bundle, err) < 0)
        return -1;
    if (bundle)
        return run_bundle(cli, chosen, operands, count, err);
    struct run run = { .cli = cli, .settings = settings };
    run.options = run.settings->run;
    if (strcmp(cli->runtime.called_as, "hybrid-vm") == 0) /* the stronger of the two wins */
        run.options.isolation = "vm";
    int status = check_options(settings, err);
    if (status == 0)
        status = compose(&run, operands, err);
    stamp("image");
    if (status == 0)
        status = run.settings->dry_run ? dry_run(&run, err) : launch(&run, err);
    free_run(&run);
    return status;
}

int run_explain(const struct cli *cli, const struct run_settings *settings, char **operands,
                struct error *err)
{
    struct run run = { .cli = cli, .settings = settings, .options = settings->run };
    json_t *config = NULL, *trace = NULL;
    int status = compose_config(&run, operands, &config, err);
    if (status == 0)
        status = run_policy_explain(&cli->runtime, &run.options, &run.image, config, &run.policy,
                                    &trace, err);
    if (trace)
        policy_print_explanation(&run.policy, &run.options, trace, settings->format, cli->out);
    json_decref(trace);
    json_decref(config);
    free_run(&run);
    return status;
}

const struct verb verb_run = {
    .name = "run",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] IMAGE [COMMAND [ARG...]] | --bundle=DIR [OPTIONS] ID",
    .summary = "Run an image, or a command in it, as a container or as a virtual machine",
    .description =
        "The exit status is that of the command, or 128+n if signal n ended it; 125 if hybrid\n"
        "failed, 126 if the command cannot be executed, 127 if it does not exist. Signals are "
        "passed\n"
        "on to the command; the second Ctrl-C kills it.\n"
        "\n"
        "With --bundle, ID is the name of a container that is created from an OCI bundle, started "
        "and,\n"
        "when it has ended, deleted: `hybrid create`, `start` and `delete` in one.",
    .examples = "  hybrid run --rm busybox uname -a\n"
                "  hybrid run --rm --isolation=vm -m 128m busybox uname -a\n"
                "  hybrid run -it --rm busybox sh\n"
                "  hybrid run -d --name job -e COUNT=3 busybox sh -c 'sleep $COUNT; echo done'\n"
                "  tar c . | hybrid run -i --rm busybox tar t\n"
                "  hybrid run --dry-run --isolation=vm busybox",
    .options = run_option_table,
    .settings_size = sizeof(struct run_settings),
    .defaults = &run_defaults,
    .min_operands = 1,
    .max_operands = -1,
    .operand_ends_options = true,
    .joins_workload = true,
    .check = check_run,
    .run = run_run,
};
