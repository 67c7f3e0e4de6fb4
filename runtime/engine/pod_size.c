/* How large the machine of a pod is. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "pod_machine.h"
#include "runtime/plan/compose.h"
#include "runtime/state/state.h"
#include "runtime/vm/vm.h"

/* containerd's, of the pod's containers together; "0": not given. */
#define MEMORY_ANNOTATION "io.kubernetes.cri.sandbox-memory"
#define QUOTA_ANNOTATION  "io.kubernetes.cri.sandbox-cpu-quota"
#define PERIOD_ANNOTATION "io.kubernetes.cri.sandbox-cpu-period"

json_t *pod_read_config(const struct runtime *runtime, const char *sandbox, struct error *err)
{
    json_error_t where;
    _cleanup_free_ char *text = state_read_config(runtime->root, sandbox, err);
    json_t *config = text ? plan_load_json(text, &where) : NULL;
    if (text && !config)
        (void)error_set(err, EXIT_OURS, "the configuration of %s: %s", sandbox, where.text);
    return config;
}

const char *pod_find_shm(const json_t *config)
{
    size_t index;
    const json_t *mount;
    json_array_foreach(json_object_get(config, "mounts"), index, mount)
    {
        const char *target = json_string_value(json_object_get(mount, "destination"));
        const char *source = json_string_value(json_object_get(mount, "source"));
        if (target && source && strcmp(target, "/dev/shm") == 0 && *source == '/')
            return source;
    }
    return NULL;
}

/* -1: it is not there, or no more than 0. */
static int read_number(const json_t *config, const char *name, int64_t *value, struct error *err)
{
    const json_t *entry = json_object_get(json_object_get(config, "annotations"), name);
    const char *text = json_string_value(entry);
    char *end = NULL;
    *value = -1;
    if (!entry)
        return 0;
    errno = 0;
    long long number = text ? strtoll(text, &end, 10) : 0;
    if (!text || end == text || *end || errno != 0)
        return error_set(err, EXIT_OURS, "annotations: %s must be a number, as a string", name);
    if (number > 0)
        *value = number;
    return 0;
}

/* The annotation, but no more than the sandbox's own limit: a policy's floor is written there. */
static int read_memory(const json_t *config, int64_t *limit, struct error *err)
{
    int64_t asked;
    if (read_number(config, MEMORY_ANNOTATION, &asked, err) < 0)
        return -1;
    bool limited = *limit > 0 && *limit != PLAN_UNLIMITED;
    if (asked > 0 && (!limited || asked < *limit))
        *limit = asked;
    else if (!limited)
        *limit = PLAN_VM_POD_MEMORY;
    return 0;
}

/* Likewise. */
static int read_processors(const json_t *config, struct plan_resources *resources,
                           struct error *err)
{
    int64_t quota, period;
    if (read_number(config, QUOTA_ANNOTATION, &quota, err) < 0 ||
        read_number(config, PERIOD_ANNOTATION, &period, err) < 0)
        return -1;
    bool limited = resources->cpu_quota > 0 && resources->cpu_period > 0;
    if (quota <= 0 || period <= 0 ||
        (limited && (double)quota / (double)period >=
                        (double)resources->cpu_quota / (double)resources->cpu_period))
        return 0;
    resources->cpu_quota = quota;
    resources->cpu_period = period;
    return 0;
}

int pod_size_machine(const json_t *config, const struct plan *plan,
                     struct plan_resources *resources, struct error *err)
{
    const struct plan_resources *own = &plan->resources;
    *resources = (struct plan_resources){
        .memory_limit = own->memory_limit,
        .memory_swap = -1,
        .memory_reservation = -1,
        .cpu_shares = -1, /* not those of a process that does nothing */
        .cpu_quota = own->cpu_quota,
        .cpu_period = own->cpu_period,
        .cpuset_cpus = own->cpuset_cpus,
        .cpuset_mems = own->cpuset_mems,
        .pids_limit = -1,
        .every_controller = own->every_controller,
    };
    memcpy(resources->rates, own->rates, sizeof resources->rates);
    return read_memory(config, &resources->memory_limit, err) < 0
               ? -1
               : read_processors(config, resources, err);
}

/* The memory limit of a configuration that need not be one that can be run; -1: none. */
static int64_t memory_limit_of(const json_t *config)
{
    const json_t *memory =
        json_object_get(json_object_get(json_object_get(config, "linux"), "resources"), "memory");
    const json_t *limit = json_object_get(memory, "limit");
    return json_is_integer(limit) ? json_integer_value(limit) : -1;
}

int pod_check_memory(const char *sandbox, const json_t *config, const json_t *document,
                     struct error *err)
{
    int64_t wanted = memory_limit_of(document), machine = memory_limit_of(config);
    if (read_memory(config, &machine, err) < 0)
        return -1;
    if (wanted <= machine)
        return 0;
    return error_set(err, EXIT_OURS,
                     VM_REFUSES
                     "linux.resources.memory.limit: %lld bytes are "
                     "more than the VM of the pod of %.64s has, %lld; make the pod with more: by "
                     "the sandbox's annotation " MEMORY_ANNOTATION
                     ", or its linux.resources.memory.limit",
                     (long long)wanted, sandbox, (long long)machine);
}
