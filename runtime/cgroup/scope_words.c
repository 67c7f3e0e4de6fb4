/* Limits of the plan as properties of a unit. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hierarchy.h"
#include "scope.h"

void scope_words_add(struct scope_words *words, const char *format, ...)
{
    char *word = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&word, format, arguments);
    va_end(arguments);
    char **grown = length < 0 ? NULL : reallocarray(words->words, words->count + 2, sizeof *grown);
    if (!grown) {
        if (length >= 0)
            free(word);
        words->failed = true;
        return;
    }
    words->words = grown;
    grown[words->count++] = word;
    grown[words->count] = NULL;
}

void scope_words_free(struct scope_words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->words[i]);
    free(words->words);
    *words = (struct scope_words){ 0 };
}

/* Control files, and the property by which systemd writes them (systemd.resource-control(5)). */
static const struct {
    const char *file, *property;
} properties[] = {
    { "memory.max", "MemoryMax" },
    { "memory.high", "MemoryHigh" },
    { "memory.low", "MemoryLow" },
    { "memory.min", "MemoryMin" },
    { "memory.swap.max", "MemorySwapMax" },
    { "cpu.weight", "CPUWeight" },
    { "pids.max", "TasksMax" },
    { "cpuset.cpus", "AllowedCPUs" },
    { "cpuset.mems", "AllowedMemoryNodes" },
    { "io.weight", "IOWeight" },
    /* v1; the others are not systemd's there */
    { "memory.limit_in_bytes", "MemoryLimit" },
    { "cpu.shares", "CPUShares" },
    { "blkio.weight", "BlockIOWeight" },
};

/*
 * "QUOTA PERIOD" of cpu.max. systemd keeps whole percents of a processor (what it writes into the
 * unit's file and reads back when it is reloaded): it is told the next higher one, and the exact
 * number is in the control file until it writes there.
 */
static void add_quota(struct scope_words *words, const char *value)
{
    const char *space = strchr(value, ' ');
    long long period = space ? strtoll(space + 1, NULL, 10) : 100000;
    if (strncmp(value, "max", 3) == 0) {
        scope_words_add(words, "CPUQuota=");
    } else {
        long long percent, quota = strtoll(value, NULL, 10);
        if (period <= 0 || __builtin_mul_overflow(quota, 100LL, &percent))
            return; /* the kernel will say what it thinks of it */
        scope_words_add(words, "CPUQuota=%lld%%", percent / period + (percent % period > 0));
    }
    scope_words_add(words, "CPUQuotaPeriodSec=%lldus", period);
}

/* One file's value. Numbers of one device among several stay the control file's alone. */
static void add_file(struct scope_words *words, const char *file, const char *value)
{
    if (strcmp(file, "cpu.max") == 0) {
        add_quota(words, value);
        return;
    }
    if (strcmp(file, "cpu.idle") == 0) { /* "0" is what it has unless it is told otherwise */
        if (strcmp(value, "1") == 0)
            scope_words_add(words, "CPUWeight=idle");
        return;
    }
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++) {
        if (strcmp(properties[i].file, file) != 0)
            continue;
        bool none = strcmp(value, "max") == 0 || strcmp(value, "-1") == 0;
        value += strncmp(value, "default ", strlen("default ")) == 0 ? strlen("default ") : 0;
        if (strcmp(file, "io.weight") != 0 || !strchr(value, ':'))
            scope_words_add(words, "%s=%s", properties[i].property, none ? "infinity" : value);
        return;
    }
}

void scope_words_add_limits(struct scope_words *words, const struct plan_resources *resources,
                            bool v1)
{
    struct control_value value;
    int given;
    for (size_t n = 0; (given = resources_value(resources, n, !v1, &value)) >= 0; n++) {
        /* v1 has no systemd that knows sets of CPUs, nor two files of what is one property. */
        bool known = !v1 || (strncmp(value.file, "cpuset.", 7) != 0 &&
                             strncmp(value.file, "cpu.cfs_", 8) != 0);
        if (given && known)
            add_file(words, value.file, value.text);
    }
    if (v1 && resources_quota(resources, &value))
        add_quota(words, value.text);
    for (size_t i = 0; i < resources->setting_count; i++) {
        const struct plan_cgroup_setting *setting = &resources->settings[i];
        const char *file = v1 ? setting->v1_file : setting->v2_file;
        if (file && !(v1 && strcmp(file, "cpu.idle") == 0))
            add_file(words, file, v1 ? setting->v1_value : setting->v2_value);
    }
}

static void add_device(struct scope_words *words, const struct plan_device_rule *rule)
{
    char who[64];
    const char *type = rule->type == 'b' ? "block" : "char";
    if (rule->major >= 0 && rule->minor >= 0)
        (void)snprintf(who, sizeof who, "/dev/%s/%lld:%lld", type, (long long)rule->major,
                       (long long)rule->minor);
    else if (rule->major >= 0)
        (void)snprintf(who, sizeof who, "%s-%lld", type, (long long)rule->major);
    else
        (void)snprintf(who, sizeof who, "%s-*", type); /* one minor of all majors is among them */
    scope_words_add(words, "DeviceAllow=%s %s%s%s", who, rule->read ? "r" : "",
                    rule->write ? "w" : "", rule->mknod ? "m" : "");
}

/*
 * systemd writes "everything" into devices.allow of v1 whenever it writes there, unless it is told
 * otherwise. On v2 it loads no program of its own if it is told nothing, and ours is what holds.
 * It knows no exceptions: what it is told covers all that the rules allow, and perhaps more.
 */
void scope_words_add_devices(struct scope_words *words, const struct plan_resources *resources)
{
    size_t from = resources->device_count;
    while (from > 0 && resources->devices[from - 1].type != 'a')
        from--;
    if (from == 0 || resources->devices[from - 1].allow)
        return;
    scope_words_add(words, "DevicePolicy=strict");
    for (; from < resources->device_count; from++)
        if (resources->devices[from].allow)
            add_device(words, &resources->devices[from]);
}
