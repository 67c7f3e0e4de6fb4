/* How the kernel is to treat the process: personality, scheduler, I/O priority. Specification:
 * runtime-spec 1.2, config-linux.md, "Personality", and config.md, "Linux Process". */
#include "json_read.h"
#include "parse_parts.h"

#include <linux/ioprio.h>
#include <linux/sched.h>
#include <sys/personality.h>

struct named {
    const char *name;
    uint64_t value;
};

static const struct named personalities[] = {
    { "LINUX", PER_LINUX },
    { "LINUX32", PER_LINUX32 },
    { NULL, 0 },
};

static const struct named policies[] = {
    { "SCHED_OTHER", SCHED_NORMAL },
    { "SCHED_FIFO", SCHED_FIFO },
    { "SCHED_RR", SCHED_RR },
    { "SCHED_BATCH", SCHED_BATCH },
    { "SCHED_IDLE", SCHED_IDLE },
    { "SCHED_DEADLINE", SCHED_DEADLINE },
    { NULL, 0 },
};

static const struct named scheduler_flags[] = {
    { "SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK },
    { "SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM },
    { "SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN },
    { "SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY },
    { "SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS },
    { "SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN },
    { "SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX },
    { NULL, 0 },
};

static const struct named io_classes[] = {
    { "IOPRIO_CLASS_RT", IOPRIO_CLASS_RT },
    { "IOPRIO_CLASS_BE", IOPRIO_CLASS_BE },
    { "IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE },
    { NULL, 0 },
};

static int find(const struct named *table, const char *name, const char *what, uint64_t *value,
                struct error *err)
{
    const char *names[16] = { NULL };
    for (size_t i = 0; i < 15 && table[i].name; i++) {
        names[i] = table[i].name;
        if (strcmp(name, table[i].name) != 0)
            continue;
        *value = table[i].value;
        return 0;
    }
    const char *near = nearest_name(name, names);
    return error_set(err, EXIT_OURS, "%s \"%.40s\" is unknown%s%s", what, name,
                     near ? "; did you mean " : "", near ? near : "");
}

int parse_personality(struct plan *plan, const json_t *document, struct error *err)
{
    json_t *linux_part = NULL, *personality = NULL, *flags = NULL;
    const char *domain = "LINUX";
    uint64_t value = 0;
    if (json_read_object(document, "", "linux", &linux_part, err) < 0)
        return -1;
    int present = json_read_object(linux_part, "linux", "personality", &personality, err);
    if (present <= 0)
        return present;
    if (json_read_string(personality, "linux.personality", "domain", &domain, err) < 0 ||
        json_read_strings(personality, "linux.personality", "flags", &flags, err) < 0 ||
        find(personalities, domain, "linux.personality.domain", &value, err) < 0)
        return -1;
    if (json_array_size(flags) > 0) /* the specification has none yet */
        return error_set(err, EXIT_OURS, "linux.personality.flags \"%.40s\" is unknown",
                         json_string_value(json_array_get(flags, 0)));
    struct plan_step *step = plan_add_step(plan, PLAN_PERSONALITY, err);
    if (!step)
        return -1;
    step->personality = (unsigned long)value;
    return 0;
}

static int read_flags(const json_t *scheduler, uint64_t *flags, struct error *err)
{
    json_t *names = NULL;
    if (json_read_strings(scheduler, "process.scheduler", "flags", &names, err) < 0)
        return -1;
    size_t index;
    const json_t *name;
    json_array_foreach(names, index, name)
    {
        uint64_t flag = 0;
        if (find(scheduler_flags, json_string_value(name), "process.scheduler.flags", &flag, err) <
            0)
            return -1;
        *flags |= flag;
    }
    return 0;
}

static int add_scheduler(struct plan *plan, const json_t *process, struct error *err)
{
    static const char *const path = "process.scheduler";
    json_t *scheduler = NULL;
    const char *policy = "";
    uint64_t number = 0, flags = 0;
    int64_t nice = 0, priority = 0, runtime = 0, deadline = 0, period = 0;
    int present = json_read_object(process, "process", "scheduler", &scheduler, err);
    if (present <= 0)
        return present;
    if (json_read_string(scheduler, path, "policy", &policy, err) < 0 ||
        find(policies, policy, "process.scheduler.policy", &number, err) < 0 ||
        json_read_integer(scheduler, path, "nice", -20, 19, &nice, err) < 0 ||
        json_read_integer(scheduler, path, "priority", 0, 99, &priority, err) < 0 ||
        json_read_integer(scheduler, path, "runtime", 0, INT64_MAX, &runtime, err) < 0 ||
        json_read_integer(scheduler, path, "deadline", 0, INT64_MAX, &deadline, err) < 0 ||
        json_read_integer(scheduler, path, "period", 0, INT64_MAX, &period, err) < 0 ||
        read_flags(scheduler, &flags, err) < 0)
        return -1;
    struct plan_step *step = plan_add_step(plan, PLAN_SCHEDULER, err);
    if (!step)
        return -1;
    step->scheduler = (struct plan_scheduler){
        .policy = (uint32_t)number,
        .flags = flags,
        .nice = (int32_t)nice,
        .priority = (uint32_t)priority,
        .runtime = (uint64_t)runtime,
        .deadline = (uint64_t)deadline,
        .period = (uint64_t)period,
    };
    return 0;
}

static int add_io_priority(struct plan *plan, const json_t *process, struct error *err)
{
    json_t *priority = NULL;
    const char *class = "";
    uint64_t number = 0;
    int64_t level = 0;
    int present = json_read_object(process, "process", "ioPriority", &priority, err);
    if (present <= 0)
        return present;
    if (json_read_string(priority, "process.ioPriority", "class", &class, err) < 0 ||
        find(io_classes, class, "process.ioPriority.class", &number, err) < 0 ||
        json_read_integer(priority, "process.ioPriority", "priority", 0, 7, &level, err) < 0)
        return -1;
    struct plan_step *step = plan_add_step(plan, PLAN_IO_PRIORITY, err);
    if (!step)
        return -1;
    step->io_priority = IOPRIO_PRIO_VALUE((int)number, (int)level);
    return 0;
}

int parse_scheduler(struct plan *plan, const json_t *process, struct error *err)
{
    return add_scheduler(plan, process, err) < 0 ? -1 : add_io_priority(plan, process, err);
}
