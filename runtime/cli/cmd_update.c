/* hybrid update: other limits for a running workload. */
#include "cleanup.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/exec.h"
#include "runtime/engine/machine.h"
#include "runtime/launch/change.h"
#include "runtime/launch/run_policy.h"
#include "runtime/plan/compose.h"
#include "verbs.h"

struct settings {
    const char *resources;
    const char *memory, *memory_swap, *memory_reservation;
    int64_t cpu_period, cpu_quota, cpu_share, pids_limit, blkio_weight;
    int64_t cpu_burst, cpu_idle, cpu_rt_period, cpu_rt_runtime;
    double cpus;
    const char *cpuset_cpus, *cpuset_mems;
};

static const struct settings defaults = { .pids_limit = INT64_MIN,
                                          .cpu_quota = INT64_MIN,
                                          .cpu_burst = INT64_MIN,
                                          .cpu_idle = INT64_MIN,
                                          .cpu_rt_runtime = INT64_MIN,
                                          .cpus = -1 };

static const struct cli_option options[] = {
    CLI_OPTION(CLI_TEXT, struct settings, resources, "resources", 'r', "FILE",
               "Read them from FILE, the linux.resources of a configuration; -: standard input"),
    CLI_OPTION(CLI_TEXT, struct settings, memory, "memory", 'm', "SIZE",
               "Limit of memory, such as 64m; -1: none"),
    CLI_OPTION(CLI_TEXT, struct settings, memory_swap, "memory-swap", 0, "SIZE",
               "Limit of memory plus swap; -1: none"),
    CLI_OPTION(CLI_TEXT, struct settings, memory_reservation, "memory-reservation", 0, "SIZE",
               "Memory that is not taken away as long as there is other"),
    CLI_OPTION(CLI_DECIMAL, struct settings, cpus, "cpus", 0, "NUMBER",
               "Processors to use at most, such as 1.5: sets --cpu-quota and --cpu-period"),
    { .name = "cpu-period",
      .kind = CLI_NUMBER,
      .argument = "MICROSECONDS",
      .help = "Period that --cpu-quota is counted in",
      .offset = offsetof(struct settings, cpu_period),
      .maximum = INT64_MAX - 1 },
    { .name = "cpu-quota",
      .kind = CLI_NUMBER,
      .argument = "MICROSECONDS",
      .help = "Processor time in each period; -1: no limit",
      .offset = offsetof(struct settings, cpu_quota),
      .minimum = -1,
      .maximum = INT64_MAX - 1 },
    { .name = "cpu-share",
      .kind = CLI_NUMBER,
      .argument = "SHARES",
      .help = "Weight against other containers, 2 to 262144",
      .offset = offsetof(struct settings, cpu_share),
      .maximum = INT64_MAX - 1 },
    { .name = "cpu-burst",
      .kind = CLI_NUMBER,
      .argument = "MICROSECONDS",
      .help = "What may be saved of --cpu-quota and spent in a later period",
      .offset = offsetof(struct settings, cpu_burst),
      .maximum = INT64_MAX - 1 },
    { .name = "cpu-idle",
      .kind = CLI_NUMBER,
      .argument = "0|1",
      .help = "1: have processor time only where no other wants it",
      .offset = offsetof(struct settings, cpu_idle),
      .maximum = 1 },
    { .name = "cpu-rt-period",
      .kind = CLI_NUMBER,
      .argument = "MICROSECONDS",
      .help = "Period that --cpu-rt-runtime is counted in (cgroup v1)",
      .offset = offsetof(struct settings, cpu_rt_period),
      .maximum = INT64_MAX - 1 },
    { .name = "cpu-rt-runtime",
      .kind = CLI_NUMBER,
      .argument = "MICROSECONDS",
      .help = "Time in each of these for real-time processes (cgroup v1)",
      .offset = offsetof(struct settings, cpu_rt_runtime),
      .minimum = -1,
      .maximum = INT64_MAX - 1 },
    CLI_OPTION(CLI_TEXT, struct settings, cpuset_cpus, "cpuset-cpus", 0, "LIST",
               "Processors to run on, such as 0-2,5"),
    CLI_OPTION(CLI_TEXT, struct settings, cpuset_mems, "cpuset-mems", 0, "LIST",
               "Memory nodes to use"),
    { .name = "pids-limit",
      .kind = CLI_NUMBER,
      .argument = "NUMBER",
      .help = "Processes and threads at most; -1: no limit",
      .offset = offsetof(struct settings, pids_limit),
      .minimum = -1,
      .maximum = INT64_MAX - 1 },
    { .name = "blkio-weight",
      .kind = CLI_NUMBER,
      .argument = "WEIGHT",
      .help = "Weight of block I/O, 10 to 1000",
      .offset = offsetof(struct settings, blkio_weight),
      .maximum = 1000 },
    CLI_OPTION_REFUSED("kernel-memory", 0, "kernels have no such limit any more"),
    CLI_OPTION_REFUSED("kernel-memory-tcp", 0, "--memory counts it"),
    CLI_OPTION_REFUSED("l3-cache-schema", 0, "Intel RDT is not supported"),
    CLI_OPTION_REFUSED("mem-bw-schema", 0, "Intel RDT is not supported"),
    { 0 },
};

/* The object of linux.resources that a member belongs to, made if absent. */
static json_t *part(json_t *resources, const char *name)
{
    json_t *object = json_object_get(resources, name);
    if (!object && json_object_set_new(resources, name, json_object()) == 0)
        object = json_object_get(resources, name);
    return object;
}

static int add_size(json_t *resources, const char *key, const char *text, const char *option,
                    struct error *err)
{
    if (!text)
        return 0;
    int64_t bytes = strcmp(text, "-1") == 0 ? -1 : size_parse(text, option, err);
    if (bytes < 0 && strcmp(text, "-1") != 0)
        return -1;
    return json_object_set_new(part(resources, "memory"), key, json_integer(bytes));
}

static void add_number(json_t *resources, const char *object, const char *key, int64_t value,
                       int64_t absent)
{
    if (value != absent)
        (void)json_object_set_new(part(resources, object), key, json_integer(value));
}

static void add_text(json_t *resources, const char *key, const char *value)
{
    if (value)
        (void)json_object_set_new(part(resources, "cpu"), key, json_string(value));
}

/* The options as linux.resources, on top of --resources. New reference, or NULL with *err. */
static json_t *compose(const struct settings *settings, struct error *err)
{
    json_t *resources = settings->resources
                            ? engine_read_json(settings->resources, "--resources", err)
                            : json_object();
    if (!resources)
        return NULL;
    bool twice = settings->cpu_period != 0 || settings->cpu_quota != defaults.cpu_quota;
    bool given = settings->cpus != defaults.cpus;
    if (given && twice) {
        (void)error_set(err, EXIT_OURS,
                        "--cpus sets --cpu-quota and --cpu-period: give it or them, not both");
        json_decref(resources);
        return NULL;
    }
    if ((given && oci_compose_cpus(part(resources, "cpu"), settings->cpus, err) < 0) ||
        add_size(resources, "limit", settings->memory, "--memory", err) < 0 ||
        add_size(resources, "swap", settings->memory_swap, "--memory-swap", err) < 0 ||
        add_size(resources, "reservation", settings->memory_reservation, "--memory-reservation",
                 err) < 0) {
        json_decref(resources);
        return NULL;
    }
    add_number(resources, "cpu", "period", settings->cpu_period, 0);
    add_number(resources, "cpu", "quota", settings->cpu_quota, defaults.cpu_quota);
    add_number(resources, "cpu", "shares", settings->cpu_share, 0);
    add_number(resources, "cpu", "burst", settings->cpu_burst, defaults.cpu_burst);
    add_number(resources, "cpu", "idle", settings->cpu_idle, defaults.cpu_idle);
    add_number(resources, "cpu", "realtimePeriod", settings->cpu_rt_period, 0);
    add_number(resources, "cpu", "realtimeRuntime", settings->cpu_rt_runtime,
               defaults.cpu_rt_runtime);
    /* In a document 0 is what nobody asked for. As a limit it is as good as 1, and systemd has none
     * of 0: no process more than there is. */
    add_number(resources, "pids", "limit", settings->pids_limit == 0 ? 1 : settings->pids_limit,
               defaults.pids_limit);
    add_number(resources, "blockIO", "weight", settings->blkio_weight, 0);
    add_text(resources, "cpus", settings->cpuset_cpus);
    add_text(resources, "mems", settings->cpuset_mems);
    return resources;
}

static int apply(const struct runtime *runtime, const struct state *state,
                 const struct plan_resources *resources, struct error *err)
{
    if (state->status == STATE_STOPPED)
        return error_set(err, EXIT_OURS, "%s: container not running", state->id);
    if (state->pod)
        return machine_update(runtime, state, resources, err);
    if (!state->cgroup || !*state->cgroup)
        return error_set(err, EXIT_OURS, "cannot limit %s: it has no cgroup of its own", state->id);
    return workload_set_limits(state, resources, err);
}

static int update_container(const struct cli *cli, const char *id,
                            const struct plan_resources *resources, struct error *err)
{
    _cleanup_close_ int lock = -1;
    _cleanup_state_ struct state state = { 0 };
    if (engine_lock(&cli->runtime, id, &lock, &state, err) < 0)
        return -1;
    return apply(&cli->runtime, &state, resources, err);
}

static int run_update(const struct cli *cli, const void *settings, char **operands, size_t count,
                      struct error *err)
{
    (void)count;
    json_t *resources = compose(settings, err);
    struct plan plan = { 0 };
    if (!resources)
        return -1;
    if (run_policy_check_resources(&cli->runtime, resources, err) < 0) {
        json_decref(resources);
        return -1;
    }
    if (plan_parse_update(resources, &plan, err) < 0)
        return -1;
    int result = engine_owns(&cli->runtime, operands[0])
                     ? update_container(cli, operands[0], &plan.resources, err)
                     : workload_update(&cli->runtime, operands[0], &plan.resources, err);
    plan_free(&plan);
    return result;
}

const struct verb verb_update = {
    .name = "update",
    .group = CLI_GROUP_WORKLOADS,
    .synopsis = "[OPTIONS] NAME",
    .summary = "Change the limits of a running workload",
    .description =
        "Until it ends: `hybrid start` gives it again what it was made with. What can be changed\n"
        "of a VM are its processors and block I/O (--cpu-*, --cpuset-*, --blkio-weight), not its\n"
        "memory and what its own kernel limits; of a container in the VM of a pod its memory,\n"
        "processor time and number of processes.",
    .examples = "  hybrid update --memory 256m --pids-limit 100 web\n"
                "  echo '{\"cpu\":{\"shares\":512}}' | hybrid update --resources - web",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 1,
    .max_operands = 1,
    .single_dash = true,
    .run = run_update,
};
