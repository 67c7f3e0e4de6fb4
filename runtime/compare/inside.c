/* What the probe finds inside: costs, and what the code can reach. */
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cpuinfo.h"
#include "lab.h"

/* A failed measurement ends its topic only, unless all has to end. */
static int give_up(struct lab *lab, enum compare_topic topic, enum compare_isolation isolation,
                   const struct error *err)
{
    if (lab_must_end(err))
        return -1;
    lab_set_topic_missing(lab, topic, isolation, err->message);
    return 0;
}

int measure_cost(struct lab *lab, enum compare_isolation isolation, struct error *err)
{
    struct job_spec spec = { .isolation = isolation, .command = PROBE("cost"), .keep = true };
    json_t *lines = job_probe(lab, &spec, err);
    const json_t *line;
    size_t i;
    if (!lines)
        return give_up(lab, TOPIC_COST, isolation, err);
    json_array_foreach(lines, i, line)
    {
        char row[64];
        const char *kind = json_string_value(json_object_get(line, "kind"));
        const char *missing = json_string_value(json_object_get(line, "missing"));
        size_t count;
        _cleanup_free_ int64_t *samples = lab_numbers(json_object_get(line, "samples"), &count);
        (void)snprintf(row, sizeof row, "cost.%s", kind ? kind : "");
        if (samples)
            lab_set_samples(lab, row, isolation, samples, count);
        else
            lab_set_missing(lab, row, isolation, missing ? missing : "no sample");
    }
    json_decref(lines);
    return 0;
}

static void report_calls(struct lab *lab, enum compare_isolation isolation, const char *letters)
{
    static const struct {
        char letter;
        const char *row;
    } kinds[] = { { 'r', "reach.calls" },
                  { 'e', "reach.refused" },
                  { 'n', "reach.absent" },
                  { 's', "reach.killed" } };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int64_t count = 0;
        for (const char *at = letters; *at; at++)
            count += *at == kinds[i].letter;
        lab_set_number(lab, kinds[i].row, isolation, count);
    }
}

/* What the host says of itself, before and after the workload has looked. */
struct identity {
    char boot_id[64];
    double uptime, load[3];
};

static void read_identity(struct identity *identity)
{
    *identity = (struct identity){ 0 };
    _cleanup_fclose_ FILE *boot_id = fopen("/proc/sys/kernel/random/boot_id", "re");
    _cleanup_fclose_ FILE *uptime = fopen("/proc/uptime", "re");
    _cleanup_fclose_ FILE *load = fopen("/proc/loadavg", "re");
    /* NOLINTBEGIN(cert-err34-c): the kernel's numbers */
    if (!boot_id || fscanf(boot_id, "%63s", identity->boot_id) != 1 || !uptime ||
        fscanf(uptime, "%lf", &identity->uptime) != 1 || !load ||
        fscanf(load, "%lf %lf %lf", &identity->load[0], &identity->load[1], &identity->load[2]) !=
            3)
        identity->boot_id[0] = '\0';
    /* NOLINTEND(cert-err34-c) */
    // cppcheck-suppress resourceLeak ; released by its _cleanup_*
}

static const char *own_or_host(bool host)
{
    return host ? "the host's" : "its own";
}

static bool is_between(double value, double first, double second, double tolerance)
{
    double least = first < second ? first : second, most = first < second ? second : first;
    return value >= least - tolerance && value <= most + tolerance;
}

/* The texts of the probe's facts by name. */
static const char *fact(const json_t *lines, const char *name)
{
    const json_t *line;
    size_t i;
    json_array_foreach(lines, i, line)
    {
        const char *found = json_string_value(json_object_get(line, "name"));
        const char *text = json_string_value(json_object_get(line, "text"));
        if (found && strcmp(found, name) == 0)
            return text ? text : "";
    }
    return "";
}

static void report_identity(struct lab *lab, enum compare_isolation isolation, const json_t *facts,
                            const struct identity *before, const struct identity *after)
{
    double load[3] = { 0 };
    const char *text = fact(facts, "loadavg");
    char *end = (char *)text;
    bool same = *text != '\0';
    for (int i = 0; i < 3; i++) {
        load[i] = strtod(end, &end);
        same = same && is_between(load[i], before->load[i], after->load[i], 0.015);
    }
    lab_set_text(lab, "reach.loadavg", isolation, own_or_host(same));
    lab_set_text(lab, "reach.uptime", isolation,
                 own_or_host(is_between(strtod(fact(facts, "uptime"), NULL), before->uptime,
                                        after->uptime, 0.02)));
    lab_set_text(lab, "reach.kernel_is", isolation,
                 own_or_host(strcmp(fact(facts, "boot_id"), after->boot_id) == 0));
    lab_set_note(lab, "reach.kernel_is", isolation, fact(facts, "boot_id"));
    lab_set_text(lab, "reach.release", isolation, fact(facts, "release"));
    char host[32];
    (void)snprintf(host, sizeof host, "%016llx", (unsigned long long)cpuinfo_hash());
    lab_set_text(lab, "reach.cpuinfo", isolation,
                 own_or_host(strcmp(fact(facts, "cpuinfo"), host) == 0));
}

static void report_fact(struct lab *lab, enum compare_isolation isolation, const json_t *line)
{
    char row[64], first[512] = "";
    const char *name = json_string_value(json_object_get(line, "name"));
    const json_t *open = json_object_get(line, "open"), *count = json_object_get(line, "count"),
                 *names = json_object_get(line, "first"), *text = json_object_get(line, "text"),
                 *entry;
    size_t i;
    (void)snprintf(row, sizeof row, "reach.%s", name ? name : "");
    if (open) {
        lab_set_text(lab, row, isolation, json_is_true(open) ? "open" : "closed");
        if (json_is_false(open) && json_string_value(text))
            lab_set_note(lab, row, isolation, json_string_value(text));
    }
    if (!count)
        return;
    lab_set_number(lab, row, isolation, json_integer_value(count));
    json_array_foreach(names, i, entry)
    {
        size_t used = strlen(first);
        (void)snprintf(first + used, sizeof first - used, "%s%s", i ? " " : "",
                       json_string_value(entry));
    }
    if (*first)
        lab_set_note(lab, row, isolation, first);
}

int measure_reach(struct lab *lab, enum compare_isolation isolation, struct error *err)
{
    struct job_spec spec = { .isolation = isolation, .command = PROBE("reach") };
    struct identity before, after;
    const json_t *line;
    size_t i;
    read_identity(&before);
    json_t *lines = job_probe(lab, &spec, err);
    read_identity(&after);
    if (!lines)
        return give_up(lab, TOPIC_REACH, isolation, err);
    json_array_foreach(lines, i, line)
    {
        const char *letters = json_string_value(json_object_get(line, "calls"));
        if (letters)
            report_calls(lab, isolation, letters);
        else
            report_fact(lab, isolation, line);
    }
    report_identity(lab, isolation, lines, &before, &after);
    json_decref(lines);
    return 0;
}
