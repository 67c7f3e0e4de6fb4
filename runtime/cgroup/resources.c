/* Limits of the plan as values of control files, on v1 and on v2. */
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "cleanup.h"
#include "hierarchy.h"
#include "scope.h"

enum limit {
    LIMIT_MEMORY,
    LIMIT_SWAP,
    LIMIT_RESERVATION,
    LIMIT_SHARES,
    LIMIT_PERIOD,
    LIMIT_QUOTA,
    LIMIT_PIDS,
    LIMIT_CPUS,
    LIMIT_MEMS,
    LIMITS,
};

/* apply_limits has the order in which they are written. On v2, quota and period are one file. */
static const struct {
    const char *what; /* for messages */
    const char *v1_controller, *v1_file;
    const char *v2_file;
} limit_table[LIMITS] = {
    [LIMIT_MEMORY] = { "memory limit", "memory", "memory.limit_in_bytes", "memory.max" },
    [LIMIT_SWAP] = { "swap limit", "memory", "memory.memsw.limit_in_bytes", "memory.swap.max" },
    [LIMIT_RESERVATION] = { "memory reservation", "memory", "memory.soft_limit_in_bytes",
                            "memory.low" },
    [LIMIT_SHARES] = { "CPU shares", "cpu", "cpu.shares", "cpu.weight" },
    [LIMIT_PERIOD] = { "CPU period", "cpu", "cpu.cfs_period_us", NULL },
    [LIMIT_QUOTA] = { "CPU quota", "cpu", "cpu.cfs_quota_us", "cpu.max" },
    [LIMIT_PIDS] = { "limit of processes", "pids", "pids.max", "pids.max" },
    [LIMIT_CPUS] = { "set of CPUs", "cpuset", "cpuset.cpus", "cpuset.cpus" },
    [LIMIT_MEMS] = { "set of memory nodes", "cpuset", "cpuset.mems", "cpuset.mems" },
};

enum { DEFAULT_PERIOD = 100000, SHARES_MIN = 2, SHARES_MAX = 262144 };

/* v1 shares 2..262144 as v2 weight 1..10000, the conversion all runtimes use. */
static int64_t weight_of_shares(int64_t shares)
{
    if (shares < SHARES_MIN)
        shares = SHARES_MIN;
    if (shares > SHARES_MAX)
        shares = SHARES_MAX;
    return 1 + (shares - SHARES_MIN) * 9999 / (SHARES_MAX - SHARES_MIN);
}

/* The numbers of the plan; -1: not given. */
static int64_t number_of(const struct plan_resources *resources, enum limit limit, bool v2)
{
    switch (limit) {
    case LIMIT_MEMORY:
        return resources->memory_limit;
    case LIMIT_SWAP:
        /* The plan counts memory and swap together, as v1 does; v2 counts swap alone. */
        if (v2 && resources->memory_swap >= 0 && resources->memory_swap != PLAN_UNLIMITED &&
            resources->memory_limit >= 0)
            return resources->memory_swap - resources->memory_limit;
        return resources->memory_swap;
    case LIMIT_RESERVATION:
        return resources->memory_reservation;
    case LIMIT_SHARES:
        if (resources->cpu_shares <= 0)
            return -1;
        return v2 ? weight_of_shares(resources->cpu_shares) : resources->cpu_shares;
    case LIMIT_PERIOD:
        return resources->cpu_period;
    case LIMIT_QUOTA:
        return resources->cpu_quota;
    case LIMIT_PIDS:
        return resources->pids_limit;
    default:
        return -1;
    }
}

/* Writes the value of a limit into text. Returns whether there is one. */
static bool value_of(const struct plan_resources *resources, enum limit limit, bool v2,
                     char text[CONTROL_VALUE_SIZE])
{
    const char *set = limit == LIMIT_CPUS   ? resources->cpuset_cpus
                      : limit == LIMIT_MEMS ? resources->cpuset_mems
                                            : NULL;
    if (limit == LIMIT_CPUS || limit == LIMIT_MEMS) {
        (void)snprintf(text, CONTROL_VALUE_SIZE, "%s", set ? set : "");
        return set && *set;
    }
    int64_t number = number_of(resources, limit, v2);
    if (number == PLAN_UNLIMITED && limit != LIMIT_QUOTA) {
        bool low = limit == LIMIT_RESERVATION && v2; /* a protection: none is 0 */
        (void)snprintf(text, CONTROL_VALUE_SIZE, "%s",
                       low                         ? "0"
                       : v2 || limit == LIMIT_PIDS ? "max"
                                                   : "-1");
        return true;
    }
    if (limit == LIMIT_QUOTA && number == PLAN_UNLIMITED && !v2) {
        (void)snprintf(text, CONTROL_VALUE_SIZE, "-1");
        return true;
    }
    if (limit == LIMIT_QUOTA && v2) {
        int64_t period = resources->cpu_period > 0 ? resources->cpu_period : DEFAULT_PERIOD;
        if (number > 0 && number != PLAN_UNLIMITED)
            (void)snprintf(text, CONTROL_VALUE_SIZE, "%lld %lld", (long long)number,
                           (long long)period);
        else
            (void)snprintf(text, CONTROL_VALUE_SIZE, "max %lld", (long long)period);
        return number > 0 || resources->cpu_period > 0;
    }
    if (limit == LIMIT_PIDS && number == 0)
        (void)snprintf(text, CONTROL_VALUE_SIZE, "max");
    else
        (void)snprintf(text, CONTROL_VALUE_SIZE, "%lld", (long long)number);
    return number >= 0;
}

int resources_value(const struct plan_resources *resources, size_t n, bool v2,
                    struct control_value *value)
{
    if (n >= LIMITS)
        return -1;
    value->file = v2 ? limit_table[n].v2_file : limit_table[n].v1_file;
    return value->file && value_of(resources, (enum limit)n, v2, value->text);
}

bool resources_quota(const struct plan_resources *resources, struct control_value *value)
{
    value->file = limit_table[LIMIT_QUOTA].v2_file;
    return value_of(resources, LIMIT_QUOTA, true, value->text);
}

/* Why there is no such file. */
static const char *explain_absence(const struct cgroup *cgroup)
{
    return cgroup->crowded ? "a cgroup above the workload's has processes, and so hands it no "
                             "controllers; " CGROUP_CROWD_REMEDY
                           : "this host's cgroups do not offer it";
}

static int explain(const struct cgroup *cgroup, enum limit limit, const char *value,
                   struct error *err)
{
    int cause = errno;
    if (cause == ENOENT) {
        (void)error_set(err, EXIT_OURS, "cannot set the %s to %s: %s", limit_table[limit].what,
                        value, explain_absence(cgroup));
        return error_see_doctor(err, "cgroup");
    }
    return error_set_errno(err, EXIT_OURS, cause, "cannot set the %s to %s",
                           limit_table[limit].what, value);
}

/*
 * Without swap accounting the limit cannot be set, and without swap it holds anyway; what cannot be
 * limited is unlimited.
 */
static bool holds_anyway(enum limit limit, int64_t number)
{
    struct sysinfo info;
    if (errno != ENOENT)
        return false;
    return number == PLAN_UNLIMITED ||
           (limit == LIMIT_SWAP && sysinfo(&info) == 0 && info.totalswap == 0);
}

static int apply_limit(const struct cgroup *cgroup, const struct plan_resources *resources,
                       enum limit limit, struct error *err)
{
    char value[CONTROL_VALUE_SIZE];
    int v1_fd = cgroup_v1_fd(cgroup, limit_table[limit].v1_controller);
    bool v2 = v1_fd < 0;
    const char *file = v2 ? limit_table[limit].v2_file : limit_table[limit].v1_file;
    if (!file || !value_of(resources, limit, v2, value))
        return 0;
    int written = -1;
    if (v2 && cgroup->v2_fd < 0)
        errno = ENOENT;
    else
        written = cgroup_write_file(v2 ? cgroup->v2_fd : v1_fd, file, value);
    if (written == 0 || holds_anyway(limit, number_of(resources, limit, v2)))
        return 0;
    return explain(cgroup, limit, value, err);
}

/*
 * v1 bounds one number by the other: memory by memory plus swap, the quota of each period by what
 * the cgroup above has. Which of the two is written first depends on whether they grow or shrink.
 */
static int apply_pair(const struct cgroup *cgroup, const struct plan_resources *resources,
                      enum limit one, enum limit other, struct error *err)
{
    struct error first;
    if (apply_limit(cgroup, resources, one, &first) == 0)
        return apply_limit(cgroup, resources, other, err);
    if (number_of(resources, other, false) < 0) {
        *err = first;
        return -1;
    }
    return apply_limit(cgroup, resources, other, err) < 0
               ? -1
               : apply_limit(cgroup, resources, one, err);
}

/* memory.checkBeforeUpdate: the kernel would reclaim, or kill, until the limit holds. */
static int check_memory(const struct cgroup *cgroup, const struct plan_resources *resources,
                        struct error *err)
{
    struct cgroup_stats stats;
    if (!resources->check_memory || resources->memory_limit <= 0 ||
        cgroup_read_stats(cgroup, &stats, err) < 0 ||
        stats.memory_bytes <= (uint64_t)resources->memory_limit)
        return 0;
    return error_set(err, EXIT_OURS,
                     "cannot set the memory limit to %lld: %llu bytes are in use "
                     "(linux.resources.memory.checkBeforeUpdate)",
                     (long long)resources->memory_limit, (unsigned long long)stats.memory_bytes);
}

static int apply_setting(const struct cgroup *cgroup, const struct plan_cgroup_setting *setting,
                         struct error *err)
{
    int fd = setting->v1_file ? cgroup_v1_fd(cgroup, setting->controller) : -1;
    bool v1 = fd >= 0;
    const char *file = v1 ? setting->v1_file : setting->v2_file;
    const char *value = v1 ? setting->v1_value : setting->v2_value;
    if (!v1)
        fd = cgroup->v2_fd;
    if (!file || fd < 0) {
        (void)error_set(err, EXIT_OURS, "%s: %s", setting->what, explain_absence(cgroup));
        return error_see_doctor(err, "cgroup");
    }
    int written = cgroup_write_file(fd, file, value);
    if (written < 0 && errno == ENOENT && v1 && setting->v1_alternative)
        written = cgroup_write_file(fd, setting->v1_alternative, value);
    if (written == 0 || (errno == ENOENT && setting->optional))
        return 0;
    if (errno == ENOENT && cgroup->crowded)
        return error_set(err, EXIT_OURS, "%s: %s", setting->what, explain_absence(cgroup));
    if (errno == ENOENT)
        return error_set(err, EXIT_OURS, "%s: this kernel's cgroups have no %s", setting->what,
                         file);
    return error_set_errno(err, EXIT_OURS, errno, "%s: cannot write \"%s\" to %s", setting->what,
                           value, file);
}

/* The number that a control file of v2 begins with; -1: it says "max", or is not there. */
static int64_t number_in_force(const struct cgroup *cgroup, const char *controller,
                               const char *file)
{
    char text[64];
    if (cgroup_v1_fd(cgroup, controller) >= 0 || cgroup->v2_fd < 0 ||
        cgroup_read_file(cgroup->v2_fd, file, text, sizeof text) <= 0 || *text < '0' || *text > '9')
        return -1;
    return strtoll(text, NULL, 10);
}

/* The period that a quota is of; the default one where none can be read. */
static int64_t period_in_force(const struct cgroup *cgroup)
{
    char text[64];
    int v1_fd = cgroup_v1_fd(cgroup, "cpu");
    const char *file = v1_fd >= 0 ? "cpu.cfs_period_us" : "cpu.max";
    ssize_t length = cgroup_read_file(v1_fd >= 0 ? v1_fd : cgroup->v2_fd, file, text, sizeof text);
    const char *space = length > 0 ? strchr(text, ' ') : NULL;
    int64_t period =
        length > 0 && (v1_fd >= 0 || space) ? strtoll(space ? space : text, NULL, 10) : 0;
    return period > 0 ? period : DEFAULT_PERIOD;
}

/* Whether v1's limit of memory and swap together is below this one of memory alone. */
static bool exceeds_swap_in_force(const struct cgroup *cgroup, int64_t memory)
{
    char text[64];
    int v1_fd = cgroup_v1_fd(cgroup, "memory");
    return v1_fd >= 0 &&
           cgroup_read_file(v1_fd, "memory.memsw.limit_in_bytes", text, sizeof text) > 0 &&
           strtoll(text, NULL, 10) < memory;
}

/*
 * An update names one of two numbers that mean something only together, and the other is taken as
 * it is in force: a quota's period on v1 and v2; a period's quota, and memory and swap, on v2,
 * which keeps both in one file, or counts one without the other.
 */
int resources_complete(const struct cgroup *cgroup, struct plan_resources *resources,
                       struct error *err)
{
    bool memory = resources->memory_limit > 0 && resources->memory_limit != PLAN_UNLIMITED;
    bool swap = resources->memory_swap > 0 && resources->memory_swap != PLAN_UNLIMITED;
    int64_t old_memory = number_in_force(cgroup, "memory", "memory.max");
    int64_t old_swap = number_in_force(cgroup, "memory", "memory.swap.max");
    int64_t total; /* stays what it is, as on v1 */
    /* Without a limit of memory none of memory and swap together makes sense; v1 refuses it. */
    if (resources->memory_limit == PLAN_UNLIMITED && resources->memory_swap < 0)
        resources->memory_swap = PLAN_UNLIMITED;
    if (memory && resources->memory_swap < 0 && old_memory >= 0 && old_swap >= 0 &&
        !__builtin_add_overflow(old_memory, old_swap, &total))
        resources->memory_swap = total > resources->memory_limit ? total : resources->memory_limit;
    if (memory && resources->memory_swap < 0 &&
        exceeds_swap_in_force(cgroup, resources->memory_limit))
        resources->memory_swap = resources->memory_limit; /* as on v2 */
    if (swap && resources->memory_limit < 0)
        resources->memory_limit = old_memory;
    if (swap && resources->memory_limit != PLAN_UNLIMITED &&
        resources->memory_swap < resources->memory_limit)
        return error_set(err, EXIT_OURS,
                         "cannot set the limit of memory and swap together to %lld: that of memory "
                         "alone is %lld",
                         (long long)resources->memory_swap, (long long)resources->memory_limit);
    if (resources->cpu_period > 0 && resources->cpu_quota < 0)
        resources->cpu_quota = number_in_force(cgroup, "cpu", "cpu.max");
    if (resources->cpu_quota > 0 && resources->cpu_quota != PLAN_UNLIMITED &&
        resources->cpu_period <= 0)
        resources->cpu_period = period_in_force(cgroup);
    return 0;
}

static bool is_being_made(const struct cgroup *cgroup)
{
    return cgroup->seat_pid > 0;
}

/*
 * A scope's limits are also systemd's to write, which it does when it pleases; when a scope is made
 * it is told with the rest. Where our numbers are the more exact ones, they are written after it.
 */
static int tell_systemd(const struct cgroup *cgroup, const struct plan_resources *resources,
                        struct error *err)
{
    return *cgroup->unit && !is_being_made(cgroup) ? scope_set_limits(cgroup->unit, resources, err)
                                                   : 0;
}

static const struct cgroup_file pids_limit = { "pids", "pids.max", NULL, "pids.max", NULL, 1 };

static int write_pids_limit(const struct cgroup *cgroup, uint64_t limit, struct error *err)
{
    char text[CONTROL_VALUE_SIZE];
    int v1_fd = cgroup_v1_fd(cgroup, pids_limit.controller);
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)limit);
    return cgroup_write_file(v1_fd >= 0 ? v1_fd : cgroup->v2_fd, pids_limit.v2_file, text) == 0
               ? 0
               : explain(cgroup, LIMIT_PIDS, text, err);
}

/*
 * The process that holds a scope until the workload is in it is none of the workload's: there is
 * room for one more as long as it is there. systemd has been told the limit as it is; it would
 * write it only if it were reloaded meanwhile.
 */
static int make_room(struct cgroup *cgroup, struct error *err)
{
    uint64_t limit;
    if (!is_being_made(cgroup) || !cgroup_read_number(cgroup, &pids_limit, &limit) ||
        limit == UINT64_MAX)
        return 0;
    cgroup->exact_pids = limit;
    return write_pids_limit(cgroup, limit + 1, err);
}

int resources_settle(struct cgroup *cgroup, struct error *err)
{
    return cgroup->exact_pids > 0 ? write_pids_limit(cgroup, cgroup->exact_pids, err) : 0;
}

/* By its file of v2; NULL: there is none. */
static const struct plan_cgroup_setting *find_setting(const struct plan_resources *resources,
                                                      const char *v2_file)
{
    for (size_t i = 0; i < resources->setting_count; i++) {
        const struct plan_cgroup_setting *setting = &resources->settings[i];
        if (setting->v2_file && strcmp(setting->v2_file, v2_file) == 0)
            return setting;
    }
    return NULL;
}

/* A group with cpu.idle has no weight: the kernel refuses one then, and forgets an earlier one. */
static bool makes_idle(const struct plan_resources *resources)
{
    const struct plan_cgroup_setting *idle = find_setting(resources, "cpu.idle");
    return idle && strcmp(idle->v2_value, "1") == 0;
}

/* A quota may not be below the burst in force: where both shrink, the burst does so first. */
static int apply_quota(const struct cgroup *cgroup, const struct plan_resources *resources,
                       struct error *err)
{
    struct error ignored;
    if (apply_pair(cgroup, resources, LIMIT_PERIOD, LIMIT_QUOTA, err) == 0)
        return 0;
    const struct plan_cgroup_setting *burst = find_setting(resources, "cpu.max.burst");
    if (!burst || apply_setting(cgroup, burst, &ignored) < 0)
        return -1;
    return apply_pair(cgroup, resources, LIMIT_PERIOD, LIMIT_QUOTA, err);
}

static int apply_limits(const struct cgroup *cgroup, const struct plan_resources *resources,
                        struct error *err)
{
    static const enum limit alone[] = { LIMIT_RESERVATION, LIMIT_SHARES, LIMIT_PIDS, LIMIT_CPUS,
                                        LIMIT_MEMS };
    if (apply_pair(cgroup, resources, LIMIT_MEMORY, LIMIT_SWAP, err) < 0 ||
        apply_quota(cgroup, resources, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
        if (!(alone[i] == LIMIT_SHARES && makes_idle(resources)) &&
            apply_limit(cgroup, resources, alone[i], err) < 0)
            return -1;
    return 0;
}

/* Two that bound each other, such as the real-time period and its run time, stand beside each
 * other. */
static int apply_settings(const struct cgroup *cgroup, const struct plan_resources *resources,
                          struct error *err)
{
    const struct plan_cgroup_setting *settings = resources->settings;
    for (size_t i = 0; i < resources->setting_count; i++) {
        struct error ignored;
        if (apply_setting(cgroup, &settings[i], err) == 0)
            continue;
        if (i + 1 == resources->setting_count ||
            apply_setting(cgroup, &settings[i + 1], &ignored) < 0 ||
            apply_setting(cgroup, &settings[i], err) < 0)
            return -1;
        i++;
    }
    return 0;
}

int resources_apply(struct cgroup *cgroup, const struct plan_resources *given, struct error *err)
{
    struct plan_resources completed = *given;
    const struct plan_resources *resources = &completed;
    if (check_memory(cgroup, given, err) < 0 || resources_complete(cgroup, &completed, err) < 0 ||
        tell_systemd(cgroup, resources, err) < 0 || apply_limits(cgroup, resources, err) < 0 ||
        apply_settings(cgroup, resources, err) < 0)
        return -1;
    if (make_room(cgroup, err) < 0)
        return -1;
    if (resources->device_count == 0)
        return 0;
    int v1_fd = cgroup_v1_fd(cgroup, "devices");
    if (v1_fd >= 0)
        return devices_apply_v1(v1_fd, resources->devices, resources->device_count, err);
    if (cgroup->v2_fd >= 0)
        return devices_apply_v2(cgroup->v2_fd, resources->devices, resources->device_count, err);
    return error_set(err, EXIT_OURS, "cannot restrict devices: this host has no such cgroup");
}
