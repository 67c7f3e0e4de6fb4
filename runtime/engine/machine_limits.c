/* Limits of one container in the VM of a pod, which its guest holds it to. */
#include <stdlib.h>
#include <string.h>

#include "machine.h"

/* What the guest knows how to limit. */
static const struct limit {
    const char *object, *key;
    size_t offset;
} limits[] = {
    { "memory", "limit", offsetof(struct plan_resources, memory_limit) },
    { "memory", "reservation", offsetof(struct plan_resources, memory_reservation) },
    { "cpu", "shares", offsetof(struct plan_resources, cpu_shares) },
    { "cpu", "quota", offsetof(struct plan_resources, cpu_quota) },
    { "cpu", "period", offsetof(struct plan_resources, cpu_period) },
    { "pids", "limit", offsetof(struct plan_resources, pids_limit) },
};

/* Of a controller that a guest has, which has cgroup v2. */
static bool can_be_held(const struct plan_cgroup_setting *setting)
{
    static const char *const controllers[] = { "memory", "cpu", "pids" };
    for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++)
        if (strcmp(setting->controller, controllers[i]) == 0)
            return setting->v2_file != NULL;
    return false;
}

/* Kubelets say it, and it holds for every guest: there is no swap, and are no huge pages. */
static bool holds_anyway(const struct plan_cgroup_setting *setting)
{
    const char *file = setting->v2_file;
    return file &&
           (strcmp(file, "memory.swap.max") == 0 || strcmp(file, "memory.swap.high") == 0 ||
            (strcmp(setting->controller, "hugetlb") == 0 && strcmp(setting->v2_value, "0") == 0));
}

const char *machine_find_unheld(const struct plan_resources *resources)
{
    /* Those of the host, to which only the machine as a whole can be bound. */
    if (resources->cpuset_cpus || resources->cpuset_mems)
        return resources->cpuset_cpus ? "linux.resources.cpu.cpus" : "linux.resources.cpu.mems";
    for (size_t i = 0; i < resources->setting_count; i++)
        if (!holds_anyway(&resources->settings[i]) && !can_be_held(&resources->settings[i]))
            return resources->settings[i].what;
    return NULL;
}

/* The rest in the form that it has in a guest. */
static int describe_settings(const struct plan_resources *resources, json_t *document)
{
    json_auto_t *unified = json_object();
    int result = unified ? 0 : -1;
    for (size_t i = 0; result == 0 && i < resources->setting_count; i++)
        if (can_be_held(&resources->settings[i]) && !holds_anyway(&resources->settings[i]))
            result = json_object_set_new(unified, resources->settings[i].v2_file,
                                         json_string(resources->settings[i].v2_value));
    return result == 0 && json_object_size(unified) > 0
               ? json_object_set(document, "unified", unified)
               : result;
}

char *machine_describe_limits(const struct plan_resources *resources)
{
    json_auto_t *document = json_object();
    for (size_t i = 0; document && i < sizeof limits / sizeof *limits; i++) {
        int64_t value =
            *(const int64_t *)(const void *)((const char *)resources + limits[i].offset);
        if (value == -1)
            continue;
        if (!json_object_get(document, limits[i].object) &&
            json_object_set_new(document, limits[i].object, json_object()) < 0)
            return NULL;
        if (json_object_set_new(json_object_get(document, limits[i].object), limits[i].key,
                                json_integer(value == PLAN_UNLIMITED ? -1 : value)) < 0)
            return NULL;
    }
    return document && describe_settings(resources, document) == 0
               ? json_dumps(document, JSON_COMPACT)
               : NULL;
}
