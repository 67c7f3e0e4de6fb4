/* A victim beside aggressors, and the panic of a guest. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "lab.h"

static const char *const aggressors[] = { "cpu", "memory", "dentries", "fsync", "forks", NULL };
static const char *const limits[] = { "--memory=256m", NULL };

static int64_t *run_victim(struct lab *lab, enum compare_isolation isolation, size_t *count,
                           struct error *err)
{
    struct job_spec spec = { .isolation = isolation,
                             .command = PROBE("victim", "500"),
                             .options = limits };
    json_t *lines = job_probe(lab, &spec, err);
    if (!lines)
        return NULL;
    int64_t *samples = lab_numbers(json_object_get(json_array_get(lines, 0), "samples"), count);
    json_decref(lines);
    if (!samples)
        (void)error_set(err, 0, "the victim measured nothing");
    return samples;
}

/* kind NULL: no aggressor. Returns 0, or -1 with *err. */
static int measure_pair(struct lab *lab, const char *kind, enum compare_isolation isolation,
                        enum compare_isolation victim, struct error *err)
{
    struct job aggressor = { .pid = 0, .pidfd = -1, .input = -1, .gate = -1 };
    struct job_spec spec = {
        .isolation = isolation, .command = PROBE("aggressor", kind), .options = limits, .keep = true
    };
    char row[64], note[64];
    aggressor.out.fd = aggressor.errors.fd = aggressor.stamps.fd = -1;
    if (kind && job_start(lab, &spec, &aggressor, err) < 0)
        return -1;
    int ready = kind ? job_wait_lines(lab, &aggressor, 1, err) : 1;
    if (ready == 0)
        ready = error_set(err, 0, "the aggressor ended by itself");
    size_t count = 0;
    _cleanup_free_ int64_t *samples = ready == 1 ? run_victim(lab, victim, &count, err) : NULL;
    job_close(lab, &aggressor);
    if (!samples)
        return -1;
    (void)snprintf(row, sizeof row, "neighbours.%s", kind ? kind : "quiet");
    (void)snprintf(note, sizeof note, "victim: %s", compare_isolations[victim].title);
    lab_set_samples(lab, row, isolation, samples, count);
    lab_set_note(lab, row, isolation, note);
    return 0;
}

static void read_boot_id(char boot_id[64])
{
    boot_id[0] = '\0';
    _cleanup_fclose_ FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file && fscanf(file, "%63s", boot_id) != 1)
        boot_id[0] = '\0';
    // cppcheck-suppress resourceLeak ; released by its _cleanup_*
}

/* Whether a job still does as it is told. */
static bool is_alive(struct lab *lab, struct job *job)
{
    return !job->is_over && lab_call(lab, (const char *const[]){ "stop", job->name, NULL }) == 0;
}

/* Panics a guest beside an idle sibling. Returns 0, or -1 with *err. */
static int crash_guest(struct lab *lab, struct job *sibling, struct error *err)
{
    static const char *const options[] = { "--memory=64m", "--cap-add=SYS_ADMIN",
                                           "--security-opt=seccomp=unconfined", NULL };
    char before[64], after[64], reason[300], text[400];
    struct job guest;
    read_boot_id(before);
    struct job_spec spec = { .isolation = IN_VM,
                             .command = PROBE("crash", before),
                             .options = options };
    if (job_start(lab, &spec, &guest, err) < 0)
        return -1;
    int status = job_wait_end(lab, &guest, err);
    bool crashed = guest.out.length > 0 && status == EXIT_OURS;
    job_reason(&guest, reason, sizeof reason);
    job_close(lab, &guest);
    if (status < 0)
        return -1;
    if (!crashed)
        return error_set(err, 0, "the guest did not panic: status %d, %s", status, reason);
    read_boot_id(after);
    bool alive = is_alive(lab, sibling);
    (void)snprintf(text, sizeof text, "%s",
                   alive && strcmp(before, after) == 0 ? "only it dies" : "siblings suffer");
    lab_set_text(lab, "neighbours.crash", IN_VM, text);
    lab_set_note(lab, "neighbours.crash", IN_VM, reason);
    return 0;
}

static int measure_crash(struct lab *lab, struct error *err)
{
    struct job_spec spec = { .isolation = IN_VM, .command = PROBE("idle"), .options = limits };
    struct job sibling;
    if (job_start(lab, &spec, &sibling, err) < 0)
        return -1;
    int ready = job_wait_lines(lab, &sibling, 1, err);
    int result = ready == 1   ? crash_guest(lab, &sibling, err)
                 : ready == 0 ? error_set(err, 0, "the sibling ended by itself")
                              : -1;
    job_close(lab, &sibling);
    return result;
}

/* One that failed leaves the others to be measured. Returns -1 when all has to end. */
static int conclude(struct lab *lab, const char *name, enum compare_isolation isolation, int result,
                    const struct error *err)
{
    char row[64];
    if (result == 0)
        return 0;
    if (lab_must_end(err))
        return -1;
    (void)snprintf(row, sizeof row, "neighbours.%s", name);
    lab_set_missing(lab, row, isolation, err->message);
    return 0;
}

int measure_neighbours(struct lab *lab, enum compare_isolation isolation, struct error *err)
{
    if (isolation == IN_UNFILTERED) {
        lab_set_topic_missing(lab, TOPIC_NEIGHBOURS, isolation,
                              "as the container beside it: the filter bounds no resource");
        return 0;
    }
    const enum compare_isolation other = isolation == IN_VM ? IN_CONTAINER : IN_VM;
    enum compare_isolation victim = lab->available[other] ? other : isolation;
    if (conclude(lab, "quiet", isolation, measure_pair(lab, NULL, isolation, victim, err), err) < 0)
        return -1;
    for (size_t i = 0; aggressors[i]; i++)
        if (conclude(lab, aggressors[i], isolation,
                     measure_pair(lab, aggressors[i], isolation, victim, err), err) < 0)
            return -1;
    if (isolation == IN_VM)
        return conclude(lab, "crash", isolation, measure_crash(lab, err), err);
    lab_set_missing(lab, "neighbours.crash", isolation,
                    "its kernel is the host's: not tried, everything would end");
    return 0;
}
