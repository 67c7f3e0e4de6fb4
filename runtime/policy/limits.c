/* The limits that a policy requires, on linux.resources: absent ones are set, larger ones refused.
 */
#include <string.h>

#include "parts.h"
#include "plan.h"

enum { ABSENT = 0 };

/* A whole number; absent, null: ABSENT. A value of another type is refused here already. */
static int read_number(const json_t *object, const char *what, const char *key, int64_t *value,
                       struct policy_decision *decision)
{
    const json_t *member = json_object_get(object, key);
    *value = json_integer_value(member);
    if (!member || json_is_null(member) || json_is_integer(member))
        return 0;
    return policy_refuse(decision, "linux.resources.%s.%s is no number", what, key);
}

static json_t *child(json_t *resources, const char *key, bool make)
{
    json_t *object = json_object_get(resources, key);
    if (!make || json_is_object(object))
        return object;
    object = json_object();
    return json_object_set_new(resources, key, object) == 0 ? object : NULL;
}

static int set_number(json_t *object, const char *key, int64_t value,
                      struct policy_decision *decision)
{
    return json_object_set_new(object, key, json_integer(value)) == 0
               ? 0
               : policy_refuse(decision, "out of memory");
}

/* Whether an absent or unlimited value is to be replaced, or (an update) stays what it was. */
static int is_missing(int64_t value, bool missing, const char *what,
                      struct policy_decision *decision)
{
    if (value > 0)
        return 0;
    if (missing)
        return 1;
    if (value < 0)
        return policy_refuse(decision, "a limit of %s is required, and cannot be taken away", what);
    return 0;
}

/* What an absent limit becomes. A VM without it has `in_vm`, which the policy must not raise. */
static int64_t fill(int64_t most, int64_t in_vm, const struct policy_decision *decision)
{
    return decision->isolation == POLICY_VM && in_vm < most ? in_vm : most;
}

static int apply_memory(int64_t most, bool missing, json_t *resources,
                        struct policy_decision *decision)
{
    int64_t limit, swap;
    json_t *memory = child(resources, "memory", missing);
    if (read_number(memory, "memory", "limit", &limit, decision) < 0 ||
        read_number(memory, "memory", "swap", &swap, decision) < 0)
        return -1;
    if (limit > most)
        return policy_refuse(decision,
                             "a memory limit of %lld bytes is more than the %lld that are allowed; "
                             "lower --memory",
                             (long long)limit, (long long)most);
    int absent = is_missing(limit, missing, "memory", decision);
    if (absent < 0)
        return -1;
    if (absent) {
        most = fill(most, PLAN_VM_MEMORY, decision);
        if (set_number(memory, "limit", most, decision) < 0 ||
            policy_note(decision, "memory: %lld bytes at most", (long long)most) < 0)
            return -1;
    }
    /* "swap" counts memory plus swap: the limit of memory would mean little without it. */
    bool changes = missing ? swap <= 0 || swap > most : swap < 0 || swap > most;
    if (changes && !missing)
        return policy_refuse(decision, "memory and swap together can be %lld bytes at most",
                             (long long)most);
    if (changes &&
        (set_number(memory, "swap", most, decision) < 0 ||
         policy_note(decision, "memory and swap: %lld bytes at most", (long long)most) < 0))
        return -1;
    return 0;
}

/* quota / period > most / POLICY_CPU_PERIOD */
static bool uses_more(int64_t quota, int64_t period, int64_t most)
{
    int64_t left, right;
    return __builtin_mul_overflow(quota, (int64_t)POLICY_CPU_PERIOD, &left) ||
           (!__builtin_mul_overflow(most, period, &right) && left > right);
}

static int apply_cpu(int64_t most, bool missing, json_t *resources,
                     struct policy_decision *decision)
{
    int64_t quota, period, burst;
    json_t *cpu = child(resources, "cpu", missing);
    if (read_number(cpu, "cpu", "quota", &quota, decision) < 0 ||
        read_number(cpu, "cpu", "period", &period, decision) < 0 ||
        read_number(cpu, "cpu", "burst", &burst, decision) < 0)
        return -1;
    int64_t counted = period > 0 ? period : POLICY_CPU_PERIOD;
    if (burst > 0 || (quota > 0 && uses_more(quota, counted, most)))
        return policy_refuse(decision,
                             "more than %g processors (or a burst) are not allowed; lower --cpus",
                             (double)most / POLICY_CPU_PERIOD);
    /* A period alone changes what the quota that is in force means. */
    if (!missing && quota == ABSENT && period > 0)
        return policy_refuse(decision, "cpu.period can only be changed together with cpu.quota");
    int absent = is_missing(quota, missing, "processor time", decision);
    if (absent <= 0)
        return absent;
    most = fill(most, (int64_t)PLAN_VM_CPUS * POLICY_CPU_PERIOD, decision);
    if (set_number(cpu, "quota", most, decision) < 0 ||
        set_number(cpu, "period", POLICY_CPU_PERIOD, decision) < 0)
        return -1;
    return policy_note(decision, "processors: %g at most", (double)most / POLICY_CPU_PERIOD);
}

static int apply_pids(int64_t most, bool missing, json_t *resources,
                      struct policy_decision *decision)
{
    int64_t limit;
    json_t *pids = child(resources, "pids", missing);
    if (read_number(pids, "pids", "limit", &limit, decision) < 0)
        return -1;
    if (limit > most)
        return policy_refuse(decision, "--pids-limit can be %lld at most", (long long)most);
    int absent = is_missing(limit, missing, "processes", decision);
    if (absent <= 0)
        return absent;
    if (set_number(pids, "limit", most, decision) < 0)
        return -1;
    return policy_note(decision, "processes: %lld at most", (long long)most);
}

/* linux.resources.unified writes any file of cgroup v2: it must not undo a limit. */
static int check_unified(const struct policy_floors *floors, json_t *resources,
                         struct policy_decision *decision)
{
    const struct {
        const char *prefix;
        bool limited;
    } controllers[] = {
        { "memory.", floors->memory > 0 },
        { "cpu.", floors->cpu_quota > 0 },
        { "pids.", floors->pids > 0 },
    };
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(resources, "unified"), key, value)
    {
        for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++)
            if (controllers[i].limited &&
                strncmp(key, controllers[i].prefix, strlen(controllers[i].prefix)) == 0)
                return policy_refuse(decision,
                                     "linux.resources.unified cannot set %.80s, which the policy "
                                     "limits",
                                     key);
    }
    return 0;
}

int policy_apply_limits(const struct policy_floors *floors, bool missing, json_t *resources,
                        struct policy_decision *decision)
{
    if (check_unified(floors, resources, decision) < 0)
        return -1;
    if (floors->memory > 0 && apply_memory(floors->memory, missing, resources, decision) < 0)
        return -1;
    if (floors->cpu_quota > 0 && apply_cpu(floors->cpu_quota, missing, resources, decision) < 0)
        return -1;
    return floors->pids > 0 ? apply_pids(floors->pids, missing, resources, decision) : 0;
}
