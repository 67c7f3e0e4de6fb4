/*
 * Members of linux.resources that are no more than values of control files: block I/O, huge pages,
 * network, RDMA, what is said for cgroup v2 as it is (`unified`), and the rarer limits of memory
 * and CPU. Each becomes a setting with its form on v1 and on v2.
 */
#include "json_read.h"
#include "parse_parts.h"

#include <stdarg.h>

#define PATH "linux.resources"

enum { MAX_SETTINGS = 512, WEIGHT_MIN = 10, WEIGHT_MAX = 1000 };

struct settings {
    struct plan *plan;
    struct plan_cgroup_setting *entries;
    size_t count;
};

/* Text in memory of the plan; NULL with *err. */
__attribute__((format(printf, 3, 4))) static const char *text(struct plan *plan, struct error *err,
                                                              const char *format, ...)
{
    char buffer[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof buffer) {
        (void)error_set(err, EXIT_OURS, PATH ": a value is longer than %zu bytes", sizeof buffer);
        return NULL;
    }
    char *copy = plan_allocate(plan, (size_t)length + 1, 1, err);
    return copy ? memcpy(copy, buffer, (size_t)length + 1) : NULL;
}

static int add(struct settings *settings, const struct plan_cgroup_setting *setting,
               struct error *err)
{
    bool v1 = setting->v1_file != NULL, v2 = setting->v2_file != NULL;
    if ((v1 && !setting->v1_value) || (v2 && !setting->v2_value))
        return -1; /* the text could not be made: *err says so */
    if (settings->count == MAX_SETTINGS)
        return error_set(err, EXIT_OURS, PATH " has more than %d values", MAX_SETTINGS);
    settings->entries[settings->count++] = *setting;
    return 0;
}

/* --- memory and CPU: one number each ------------------------------------------------------------
 */

static const struct number_member {
    const char *object, *key;
    int64_t minimum, maximum;
    bool zero_counts; /* elsewhere engines write 0 for what was not asked for */
    const char *controller, *v1_file, *v2_file;
} number_members[] = {
    { "memory", "kernel", -1, INT64_MAX, false, "memory", "memory.kmem.limit_in_bytes", NULL },
    { "memory", "kernelTCP", -1, INT64_MAX, false, "memory", "memory.kmem.tcp.limit_in_bytes",
      NULL },
    { "memory", "swappiness", 0, 200, true, "memory", "memory.swappiness", NULL },
    { "cpu", "realtimePeriod", 0, INT64_MAX, false, "cpu", "cpu.rt_period_us", NULL },
    { "cpu", "realtimeRuntime", -1, INT64_MAX, false, "cpu", "cpu.rt_runtime_us", NULL },
    { "cpu", "burst", 0, INT64_MAX, true, "cpu", "cpu.cfs_burst_us", "cpu.max.burst" },
    { "cpu", "idle", 0, 1, true, "cpu", "cpu.idle", "cpu.idle" },
};

static int parse_numbers(struct settings *settings, const json_t *all, struct error *err)
{
    for (size_t i = 0; i < sizeof number_members / sizeof *number_members; i++) {
        const struct number_member *member = &number_members[i];
        char path[48];
        (void)snprintf(path, sizeof path, PATH ".%s", member->object);
        json_t *object = NULL;
        int64_t number = 0;
        int present = json_read_object(all, PATH, member->object, &object, err);
        if (present >= 0)
            present = json_read_integer(object, path, member->key, member->minimum, member->maximum,
                                        &number, err);
        if (present < 0)
            return -1;
        if (!present || (number == 0 && !member->zero_counts))
            continue;
        const char *value = text(settings->plan, err, "%lld", (long long)number);
        const struct plan_cgroup_setting setting = {
            .what = text(settings->plan, err, "%s.%s", path, member->key),
            .controller = member->controller,
            .v1_file = member->v1_file,
            .v1_value = value,
            .v2_file = member->v2_file,
            .v2_value = value,
            /* A kernel without burst and idle has no other value of them. */
            .optional = number == 0 && member->v2_file,
        };
        if (add(settings, &setting, err) < 0)
            return -1;
    }
    return 0;
}

static int parse_oom_killer(struct settings *settings, const json_t *all, struct error *err)
{
    json_t *memory = NULL;
    bool disabled = false;
    if (json_read_object(all, PATH, "memory", &memory, err) < 0 ||
        json_read_boolean(memory, PATH ".memory", "disableOOMKiller", &disabled, err) < 0)
        return -1;
    static const struct plan_cgroup_setting setting = {
        .what = PATH ".memory.disableOOMKiller",
        .controller = "memory",
        .v1_file = "memory.oom_control",
        .v1_value = "1",
    };
    return disabled ? add(settings, &setting, err) : 0;
}

/* --- block I/O ----------------------------------------------------------------------------------
 */

/* v1 weights 10..1000 as v2 weights 1..10000, the conversion all runtimes use. */
static int64_t io_weight(int64_t weight)
{
    return 1 + (weight - WEIGHT_MIN) * 9999 / (WEIGHT_MAX - WEIGHT_MIN);
}

static int read_weight(const json_t *object, const char *path, const char *key, int64_t *weight,
                       struct error *err)
{
    *weight = 0;
    if (json_read_integer(object, path, key, 0, WEIGHT_MAX, weight, err) < 0)
        return -1;
    return *weight > 0 && *weight < WEIGHT_MIN
               ? json_read_refuse(path, key, "a whole number from 10 to 1000", err)
               : 0;
}

/* "major:minor" of a member with those two numbers. */
static const char *read_device(struct plan *plan, const json_t *entry, const char *path,
                               struct error *err)
{
    int64_t major = -1, minor = -1;
    if (json_read_integer(entry, path, "major", 0, UINT32_MAX, &major, err) < 0 ||
        json_read_integer(entry, path, "minor", 0, UINT32_MAX, &minor, err) < 0)
        return NULL;
    if (major >= 0 && minor >= 0)
        return text(plan, err, "%lld:%lld", (long long)major, (long long)minor);
    (void)error_set(err, EXIT_OURS, "%s must have major and minor", path);
    return NULL;
}

static int add_weights(struct settings *settings, const json_t *object, const char *path,
                       const char *device, struct error *err)
{
    int64_t weight, leaf;
    struct plan *plan = settings->plan;
    if (read_weight(object, path, "weight", &weight, err) < 0 ||
        read_weight(object, path, "leafWeight", &leaf, err) < 0)
        return -1;
    const char *who = device ? device : "default";
    const struct plan_cgroup_setting settings_of_weight[] = {
        { .what = text(plan, err, "%s.weight", path),
          .controller = "blkio",
          .v1_file = device ? "blkio.weight_device" : "blkio.weight",
          .v1_alternative = device ? "blkio.bfq.weight_device" : "blkio.bfq.weight",
          .v1_value = text(plan, err, "%s%s%lld", device ? device : "", device ? " " : "",
                           (long long)weight),
          .v2_controller = "io",
          .v2_file = "io.weight",
          .v2_value = text(plan, err, "%s %lld", who, (long long)io_weight(weight)) },
        { .what = text(plan, err, "%s.leafWeight", path),
          .controller = "blkio",
          .v1_file = device ? "blkio.leaf_weight_device" : "blkio.leaf_weight",
          .v1_value = text(plan, err, "%s%s%lld", device ? device : "", device ? " " : "",
                           (long long)leaf) },
    };
    if (weight > 0 && add(settings, &settings_of_weight[0], err) < 0)
        return -1;
    return leaf > 0 ? add(settings, &settings_of_weight[1], err) : 0;
}

static const struct throttle {
    const char *key, *v1_file, *v2_key;
} throttles[] = {
    { "throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps" },
    { "throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps" },
    { "throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops" },
    { "throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops" },
};

static int add_throttle(struct settings *settings, const json_t *entry, const char *path,
                        const struct throttle *throttle, struct error *err)
{
    int64_t rate = -1;
    const char *device = read_device(settings->plan, entry, path, err);
    if (!device || json_read_integer(entry, path, "rate", 0, INT64_MAX, &rate, err) < 0)
        return -1;
    if (rate < 0)
        return json_read_refuse(path, "rate", "given", err);
    /* 0 takes a limit away. */
    const struct plan_cgroup_setting setting = {
        .what = text(settings->plan, err, "%s", path),
        .controller = "blkio",
        .v1_file = throttle->v1_file,
        .v1_value = text(settings->plan, err, "%s %lld", device, (long long)rate),
        .v2_controller = "io",
        .v2_file = "io.max",
        .v2_value = rate > 0 ? text(settings->plan, err, "%s %s=%lld", device, throttle->v2_key,
                                    (long long)rate)
                             : text(settings->plan, err, "%s %s=max", device, throttle->v2_key),
    };
    return add(settings, &setting, err);
}

/* Calls for each member of a list of devices. */
static int parse_throttles(struct settings *settings, const json_t *block, struct error *err)
{
    for (size_t i = 0; i < sizeof throttles / sizeof *throttles; i++) {
        json_t *entries = NULL;
        if (json_read_array(block, PATH ".blockIO", throttles[i].key, &entries, err) < 0)
            return -1;
        size_t index;
        const json_t *entry;
        json_array_foreach(entries, index, entry)
        {
            char path[80];
            (void)snprintf(path, sizeof path, PATH ".blockIO.%s[%zu]", throttles[i].key, index);
            if (add_throttle(settings, entry, path, &throttles[i], err) < 0)
                return -1;
        }
    }
    return 0;
}

static int parse_block_io(struct settings *settings, const json_t *all, struct error *err)
{
    json_t *block = NULL, *devices = NULL;
    if (json_read_object(all, PATH, "blockIO", &block, err) < 0 ||
        add_weights(settings, block, PATH ".blockIO", NULL, err) < 0 ||
        json_read_array(block, PATH ".blockIO", "weightDevice", &devices, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    json_array_foreach(devices, index, entry)
    {
        char path[80];
        (void)snprintf(path, sizeof path, PATH ".blockIO.weightDevice[%zu]", index);
        const char *device = read_device(settings->plan, entry, path, err);
        if (!device || add_weights(settings, entry, path, device, err) < 0)
            return -1;
    }
    return parse_throttles(settings, block, err);
}

/* --- huge pages, network, RDMA ------------------------------------------------------------------
 */

/* "64KB", "2MB", "1GB": it becomes part of a file's name. */
static bool is_page_size(const char *size)
{
    size_t digits = size ? strspn(size, "0123456789") : 0;
    return digits > 0 && digits < 12 && strchr("KMG", size[digits]) && size[digits] &&
           strcmp(size + digits + 1, "B") == 0;
}

static int add_page_limit(struct settings *settings, const json_t *entry, const char *path,
                          struct error *err)
{
    const char *size = NULL;
    int64_t limit = -1;
    struct plan *plan = settings->plan;
    if (json_read_string(entry, path, "pageSize", &size, err) < 0 ||
        json_read_integer(entry, path, "limit", 0, INT64_MAX, &limit, err) < 0)
        return -1;
    if (!is_page_size(size))
        return json_read_refuse(path, "pageSize", "a size such as 2MB", err);
    if (limit < 0)
        return json_read_refuse(path, "limit", "given", err);
    const char *value = text(plan, err, "%lld", (long long)limit);
    /* Reservations too: they would count against everybody's pages. Kernels before 5.7 have none.
     */
    static const char *const kinds[] = { "", "rsvd." };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct plan_cgroup_setting setting = {
            .what = text(plan, err, "%s", path),
            .controller = "hugetlb",
            .v1_file = text(plan, err, "hugetlb.%s.%slimit_in_bytes", size, kinds[i]),
            .v1_value = value,
            .v2_file = text(plan, err, "hugetlb.%s.%smax", size, kinds[i]),
            .v2_value = value,
            .optional = i > 0,
        };
        if (add(settings, &setting, err) < 0)
            return -1;
    }
    return 0;
}

static int parse_huge_pages(struct settings *settings, const json_t *all, struct error *err)
{
    json_t *limits = NULL;
    if (json_read_array(all, PATH, "hugepageLimits", &limits, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    json_array_foreach(limits, index, entry)
    {
        char path[64];
        (void)snprintf(path, sizeof path, PATH ".hugepageLimits[%zu]", index);
        if (add_page_limit(settings, entry, path, err) < 0)
            return -1;
    }
    return 0;
}

static int add_priority(struct settings *settings, const json_t *entry, const char *path,
                        struct error *err)
{
    const char *name = NULL;
    int64_t priority = -1;
    if (json_read_string(entry, path, "name", &name, err) < 0 ||
        json_read_integer(entry, path, "priority", 0, UINT32_MAX, &priority, err) < 0)
        return -1;
    if (!name || !*name || strpbrk(name, " \n/"))
        return json_read_refuse(path, "name", "the name of an interface", err);
    if (priority < 0)
        return json_read_refuse(path, "priority", "given", err);
    const struct plan_cgroup_setting setting = {
        .what = text(settings->plan, err, "%s", path),
        .controller = "net_prio",
        .v1_file = "net_prio.ifpriomap",
        .v1_value = text(settings->plan, err, "%s %lld", name, (long long)priority),
    };
    return add(settings, &setting, err);
}

static int parse_network(struct settings *settings, const json_t *all, struct error *err)
{
    json_t *network = NULL, *priorities = NULL;
    int64_t class_id = 0;
    if (json_read_object(all, PATH, "network", &network, err) < 0 ||
        json_read_integer(network, PATH ".network", "classID", 0, UINT32_MAX, &class_id, err) < 0 ||
        json_read_array(network, PATH ".network", "priorities", &priorities, err) < 0)
        return -1;
    const struct plan_cgroup_setting setting = {
        .what = PATH ".network.classID",
        .controller = "net_cls",
        .v1_file = "net_cls.classid",
        .v1_value = text(settings->plan, err, "%lld", (long long)class_id),
    };
    if (class_id > 0 && add(settings, &setting, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    json_array_foreach(priorities, index, entry)
    {
        char path[64];
        (void)snprintf(path, sizeof path, PATH ".network.priorities[%zu]", index);
        if (add_priority(settings, entry, path, err) < 0)
            return -1;
    }
    return 0;
}

static int parse_rdma(struct settings *settings, const json_t *all, struct error *err)
{
    json_t *devices = NULL;
    if (json_read_object(all, PATH, "rdma", &devices, err) < 0)
        return -1;
    const char *name;
    json_t *entry;
    json_object_foreach(devices, name, entry)
    {
        int64_t handles = -1, objects = -1;
        if (json_read_integer(entry, PATH ".rdma", "hcaHandles", 0, UINT32_MAX, &handles, err) <
                0 ||
            json_read_integer(entry, PATH ".rdma", "hcaObjects", 0, UINT32_MAX, &objects, err) < 0)
            return -1;
        if (!*name || strpbrk(name, " \n/"))
            return error_set(err, EXIT_OURS, PATH ".rdma must have names of devices");
        char handle[32] = "", object[32] = "";
        if (handles >= 0)
            (void)snprintf(handle, sizeof handle, " hca_handle=%lld", (long long)handles);
        if (objects >= 0)
            (void)snprintf(object, sizeof object, " hca_object=%lld", (long long)objects);
        const char *value = text(settings->plan, err, "%s%s%s", name, handle, object);
        const struct plan_cgroup_setting setting = {
            .what = PATH ".rdma",
            .controller = "rdma",
            .v1_file = "rdma.max",
            .v1_value = value,
            .v2_file = "rdma.max",
            .v2_value = value,
        };
        if (add(settings, &setting, err) < 0)
            return -1;
    }
    return 0;
}

/* --- unified ------------------------------------------------------------------------------------
 */

/*
 * The name of a file of a controller, and nothing that is not a limit: membership, freezing and
 * delegation (cgroup.*) are not the configuration's.
 */
static bool is_control_file(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *dot = strchr(name, '.');
    if (!dot || dot == name || name[strspn(name, letters)])
        return false;
    return strncmp(name, "cgroup.", 7) != 0 || strncmp(name, "cgroup.max.", 11) == 0;
}

static int parse_unified(struct settings *settings, const json_t *all, struct error *err)
{
    json_t *files = NULL;
    if (json_read_object(all, PATH, "unified", &files, err) < 0)
        return -1;
    const char *name;
    json_t *entry;
    json_object_foreach(files, name, entry)
    {
        const char *value = NULL;
        if (json_read_string(files, PATH ".unified", name, &value, err) < 0)
            return -1;
        if (!value || !is_control_file(name))
            return error_set(err, EXIT_OURS,
                             PATH
                             ".unified: \"%.60s\" is not a limit of a cgroup v2 controller, such "
                             "as memory.high, with a string",
                             name);
        const struct plan_cgroup_setting setting = {
            .what = text(settings->plan, err, PATH ".unified: %s", name),
            .controller = text(settings->plan, err, "%.*s", (int)strcspn(name, "."), name),
            .v2_file = name,
            .v2_value = value,
        };
        if (add(settings, &setting, err) < 0)
            return -1;
    }
    return 0;
}

int parse_settings(struct plan *plan, const json_t *resources, struct error *err)
{
    struct settings settings = { .plan = plan };
    settings.entries = plan_allocate(plan, MAX_SETTINGS, sizeof *settings.entries, err);
    if (!settings.entries)
        return -1;
    if (parse_numbers(&settings, resources, err) < 0 ||
        parse_oom_killer(&settings, resources, err) < 0 ||
        parse_block_io(&settings, resources, err) < 0 ||
        parse_huge_pages(&settings, resources, err) < 0 ||
        parse_network(&settings, resources, err) < 0 || parse_rdma(&settings, resources, err) < 0 ||
        parse_unified(&settings, resources, err) < 0)
        return -1;
    plan->resources.settings = settings.entries;
    plan->resources.setting_count = settings.count;
    return 0;
}
