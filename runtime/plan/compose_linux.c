/* linux: namespaces, masks, sysctls, devices, limits. Docker's defaults. */
#include "compose_parts.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum {
    CPU_PERIOD = 100000,          /* microseconds, the kernel's and Docker's default */
    MEMORY_MIN = 6 * 1024 * 1024, /* Docker's: less does not start anything */
    MAX_CPUS = 8192,              /* NR_CPUS of the largest kernels */
};

static const char *const namespaces[] = { "pid", "network", "mount", "ipc", "uts", "cgroup", NULL };

static const char *const masked_paths[] = {
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    NULL,
};

static const char *const readonly_paths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL,
};

/* Any node may be made, as the capability MKNOD says; only these can be opened. -1: any number. */
static const struct {
    const char *type;
    int major, minor;
    const char *access;
} device_rules[] = {
    { "c", -1, -1, "m" }, { "b", -1, -1, "m" }, { "c", 1, 3, "rwm" },    { "c", 1, 5, "rwm" },
    { "c", 1, 7, "rwm" }, { "c", 1, 8, "rwm" }, { "c", 1, 9, "rwm" },    { "c", 5, 0, "rwm" },
    { "c", 5, 1, "rwm" }, { "c", 5, 2, "rwm" }, { "c", 136, -1, "rwm" },
};

static json_t *string_array(const char *const *strings)
{
    json_t *array = json_array();
    for (size_t i = 0; strings[i]; i++)
        (void)json_array_append_new(array, json_string(strings[i]));
    return array;
}

static json_t *compose_namespaces(bool user, const char *network_path)
{
    json_t *list = json_array();
    for (size_t i = 0; namespaces[i]; i++) {
        json_t *entry = json_pack("{s:s}", "type", namespaces[i]);
        if (network_path && strcmp(namespaces[i], "network") == 0)
            (void)json_object_set_new(entry, "path", json_string(network_path));
        (void)json_array_append_new(list, entry);
    }
    if (user)
        (void)json_array_append_new(list, json_pack("{s:s}", "type", "user"));
    return list;
}

/*
 * A network namespace of its own has no other tenant whom a low port or a ping could disturb. One
 * that is joined is as it is.
 */
static json_t *compose_sysctls(bool user, bool joined)
{
    if (joined)
        return json_object();
    json_t *sysctls = json_pack("{s:s}", "net.ipv4.ip_unprivileged_port_start", "0");
    /* The range must consist of mapped groups: without a user namespace, all are. */
    if (!user)
        (void)json_object_set_new(sysctls, "net.ipv4.ping_group_range",
                                  json_string("0 2147483647"));
    return sysctls;
}

static json_t *compose_device_rules(void)
{
    json_t *rules = json_pack("[{s:b, s:s}]", "allow", 0, "access", "rwm");
    for (size_t i = 0; i < sizeof device_rules / sizeof *device_rules; i++) {
        json_t *rule = json_pack("{s:b, s:s}", "allow", 1, "type", device_rules[i].type);
        if (device_rules[i].major >= 0)
            (void)json_object_set_new(rule, "major", json_integer(device_rules[i].major));
        if (device_rules[i].minor >= 0)
            (void)json_object_set_new(rule, "minor", json_integer(device_rules[i].minor));
        (void)json_object_set_new(rule, "access", json_string(device_rules[i].access));
        (void)json_array_append_new(rules, rule);
    }
    return rules;
}

/* --- limits -------------------------------------------------------------------------------------
 */

static int add_memory(json_t *resources, const struct run_options *options, struct error *err)
{
    int64_t limit = options->memory > 0 ? options->memory : -1;
    int64_t swap = options->memory_swap > 0 ? options->memory_swap : -1;
    if (limit < 0 && swap > 0)
        return error_set(err, EXIT_OURS, "--memory-swap: only together with --memory");
    if (limit < 0)
        return 0;
    if (limit < MEMORY_MIN)
        return error_set(err, EXIT_OURS,
                         "--memory: %lld bytes are too few to start anything; the least is 6m",
                         (long long)limit);
    if (swap > 0 && swap < limit)
        return error_set(err, EXIT_OURS,
                         "--memory-swap: %lld bytes are fewer than --memory (%lld); it counts "
                         "memory plus swap",
                         (long long)swap, (long long)limit);
    /* No swap unless asked for: the limit means the same on a host with swap and in a VM. */
    json_t *memory = json_pack("{s:I, s:I}", "limit", (json_int_t)limit, "swap",
                               (json_int_t)(swap > 0 ? swap : limit));
    return compose_set(resources, "memory", memory, err);
}

/* "0-3,5": numbers and ranges, in the form of cpuset(7). */
static bool is_cpu_list(const char *text)
{
    for (;;) {
        long first = -1, last = -1;
        int used = 0;
        /* NOLINTNEXTLINE(cert-err34-c): six digits at most */
        if (!isdigit((unsigned char)*text) || sscanf(text, "%6ld%n", &first, &used) != 1)
            return false;
        text += used;
        if (*text == '-') {
            text++;
            /* NOLINTNEXTLINE(cert-err34-c): likewise */
            if (!isdigit((unsigned char)*text) || sscanf(text, "%6ld%n", &last, &used) != 1 ||
                last < first)
                return false;
            text += used;
        }
        if (first >= MAX_CPUS || last >= MAX_CPUS)
            return false;
        if (!*text)
            return true;
        if (*text++ != ',')
            return false;
    }
}

int oci_compose_cpus(json_t *cpu, double cpus, struct error *err)
{
    if (!isfinite(cpus) || cpus < 0.01 || cpus > MAX_CPUS)
        return error_set(err, EXIT_OURS, "--cpus: %g is not a number of CPUs from 0.01 to %d", cpus,
                         MAX_CPUS);
    json_int_t quota = (json_int_t)(cpus * CPU_PERIOD + 0.5);
    if (compose_set(cpu, "quota", json_integer(quota), err) < 0)
        return -1;
    return compose_set(cpu, "period", json_integer(CPU_PERIOD), err);
}

static int add_cpu(json_t *resources, const struct run_options *options, struct error *err)
{
    json_auto_t *cpu = json_object();
    if (options->cpus != 0 && oci_compose_cpus(cpu, options->cpus, err) < 0)
        return -1;
    if (options->cpuset_cpus) {
        if (!is_cpu_list(options->cpuset_cpus))
            return error_set(err, EXIT_OURS,
                             "--cpuset-cpus \"%.80s\": not a list of CPUs, such as "
                             "0-3,5",
                             options->cpuset_cpus);
        if (compose_set(cpu, "cpus", json_string(options->cpuset_cpus), err) < 0)
            return -1;
    }
    return json_object_size(cpu) > 0 ? compose_set(resources, "cpu", json_incref(cpu), err) : 0;
}

static int add_pids(json_t *resources, const struct run_options *options, struct error *err)
{
    if (options->pids_limit < -1)
        return error_set(err, EXIT_OURS,
                         "--pids-limit %lld: a number of processes, or -1 for no "
                         "limit",
                         (long long)options->pids_limit);
    if (options->pids_limit <= 0)
        return 0;
    return compose_set(resources, "pids",
                       json_pack("{s:I}", "limit", (json_int_t)options->pids_limit), err);
}

json_t *compose_resources(const struct run_options *options, struct error *err)
{
    json_auto_t *resources = json_object();
    if (compose_set(resources, "devices", compose_device_rules(), err) < 0 ||
        add_memory(resources, options, err) < 0 || add_cpu(resources, options, err) < 0 ||
        add_pids(resources, options, err) < 0)
        return NULL;
    return json_incref(resources);
}

static int add_id_maps(json_t *linux_part, const struct plan_id_map *map, struct error *err)
{
    json_auto_t *maps = json_pack("[{s:I, s:I, s:I}]", "containerID", (json_int_t)map->container,
                                  "hostID", (json_int_t)map->host, "size", (json_int_t)map->size);
    if (compose_set(linux_part, "uidMappings", json_incref(maps), err) < 0 ||
        compose_set(linux_part, "gidMappings", json_incref(maps), err) < 0)
        return -1;
    return 0;
}

json_t *compose_linux(const struct run_options *options, struct error *err)
{
    bool user = options->userns_map.size > 0;
    if (user && options->network_path) {
        (void)error_set(err, EXIT_OURS,
                        "--userns and --network=ns: exclude each other: /sys belongs to the "
                        "owner of the network namespace, which the workload would not be");
        return NULL;
    }
    json_auto_t *resources = compose_resources(options, err);
    json_auto_t *linux_part = json_object();
    if (!resources || (user && add_id_maps(linux_part, &options->userns_map, err) < 0))
        return NULL;
    if (compose_set(linux_part, "namespaces", compose_namespaces(user, options->network_path),
                    err) < 0 ||
        compose_set(linux_part, "sysctl", compose_sysctls(user, options->network_path != NULL),
                    err) < 0 ||
        compose_set(linux_part, "resources", json_incref(resources), err) < 0 ||
        compose_set(linux_part, "maskedPaths", string_array(masked_paths), err) < 0 ||
        compose_set(linux_part, "readonlyPaths", string_array(readonly_paths), err) < 0)
        return NULL;
    return json_incref(linux_part);
}
