/* Start, stage by stage, and stop. */
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "lab.h"
#include "stamp.h"

/* In the order in which they end. The last three are seen by us, or by us as well. */
enum stage {
    STAGE_CLI,
    STAGE_IMAGE,
    STAGE_NAMESPACES,
    STAGE_MONITOR,
    STAGE_KERNEL,
    STAGE_INIT,
    STAGE_COMMAND,
    STAGE_RUN,
    STAGE_REAPED,
    STAGES,
};

static const char *const stage_names[STAGES] = {
    "cli", "image", "namespaces", "monitor", "kernel", "init", "command", "run", "reaped",
};

/* When each stage ended; 0: it was not seen. */
static void read_stamps(const struct job *job, int64_t ends[STAGES])
{
    memset(ends, 0, STAGES * sizeof *ends);
    for (int i = 0; i < STAGES; i++) {
        size_t length = strlen(stage_names[i]);
        for (const char *line = job->stamps.data; line && *line;) {
            if (strncmp(line, stage_names[i], length) == 0 && line[length] == ' ')
                ends[i] = strtoll(line + length, NULL, 10);
            line = strchr(line, '\n');
            line += line != NULL;
        }
    }
    ends[STAGE_COMMAND] = job->first_byte;
    ends[STAGE_REAPED] = job->ended;
    /* Who reads the first byte may be later than the monitor that sees the end. */
    if (ends[STAGE_RUN] != 0 && ends[STAGE_RUN] < ends[STAGE_COMMAND])
        ends[STAGE_RUN] = ends[STAGE_COMMAND];
}

struct times {
    int64_t *stages[STAGES], *total, *first_byte;
    bool seen[STAGES]; /* in every run */
};

static void add_run(struct times *times, const struct job *job, int run)
{
    int64_t ends[STAGES], before = job->started;
    read_stamps(job, ends);
    for (int i = 0; i < STAGES; i++) {
        times->seen[i] = times->seen[i] && ends[i] != 0;
        times->stages[i][run] = ends[i] != 0 ? ends[i] - before : 0;
        before = ends[i] != 0 ? ends[i] : before;
    }
    times->total[run] = job->ended - job->started;
    times->first_byte[run] = job->first_byte - job->started;
}

static void report(struct lab *lab, struct times *times, enum compare_isolation isolation,
                   size_t runs)
{
    char row[64];
    for (int i = 0; i < STAGES; i++) {
        (void)snprintf(row, sizeof row, "start.%s", stage_names[i]);
        if (times->seen[i])
            lab_set_samples(lab, row, isolation, times->stages[i], runs);
        else if (i == STAGE_COMMAND)
            lab_set_missing(lab, row, isolation, "the command wrote nothing");
        else
            lab_set_missing(lab, row, isolation, "not a stage of this isolation");
    }
    lab_set_samples(lab, "start.total", isolation, times->total, runs);
    if (times->seen[STAGE_COMMAND])
        lab_set_samples(lab, "start.first_byte", isolation, times->first_byte, runs);
    else
        lab_set_missing(lab, "start.first_byte", isolation, "the command wrote nothing");
}

/* Every list is a part of one block. */
static int64_t *allocate(struct times *times, size_t runs)
{
    int64_t *block = calloc((STAGES + 2) * runs, sizeof *block);
    for (int i = 0; block && i < STAGES; i++) {
        times->stages[i] = block + (size_t)i * runs;
        times->seen[i] = true;
    }
    times->total = block + STAGES * runs;
    times->first_byte = block + (STAGES + 1) * runs;
    return block;
}

static int start_once(struct lab *lab, const struct job_spec *spec, struct times *times, int run,
                      struct error *err)
{
    struct job job;
    if (job_start(lab, spec, &job, err) < 0)
        return -1;
    int status = job_wait_end(lab, &job, err);
    /* A command's own failure is its own affair, as long as hybrid could start it. */
    if (status >= EXIT_OURS && status <= EXIT_NOT_FOUND) {
        char reason[512];
        job_reason(&job, reason, sizeof reason);
        status = error_set(err, 0, "%s", reason);
    }
    if (status >= 0)
        add_run(times, &job, run);
    job_close(lab, &job);
    return status < 0 ? -1 : 0;
}

int measure_start(struct lab *lab, enum compare_isolation isolation, struct error *err)
{
    const struct compare_request *request = lab->request;
    bool own = request->command[0] != NULL;
    struct job_spec spec = { .isolation = isolation,
                             .command = own ? request->command : PROBE("hello"),
                             .image_command = own };
    struct times times;
    _cleanup_free_ int64_t *block = allocate(&times, (size_t)request->runs);
    if (!block)
        return error_set(err, EXIT_OURS, "out of memory");
    for (int run = 0; run < request->runs; run++) {
        if (start_once(lab, &spec, &times, run, err) == 0)
            continue;
        if (lab_must_end(err))
            return -1;
        lab_set_topic_missing(lab, TOPIC_START, isolation, err->message);
        return 0;
    }
    report(lab, &times, isolation, (size_t)request->runs);
    return 0;
}

enum { MOST_STOPS = 5 };

/* Returns how long `hybrid stop` of an idle workload took, or -1 with *err. */
static int64_t stop_once(struct lab *lab, const struct job_spec *spec, struct error *err)
{
    struct job job;
    int64_t time = -1;
    if (job_start(lab, spec, &job, err) < 0)
        return -1;
    int ready = job_wait_lines(lab, &job, 1, err);
    if (ready == 1) {
        int64_t before = stamp_now();
        int status = lab_call(lab, (const char *const[]){ "stop", job.name, NULL });
        time = stamp_now() - before;
        if (status != 0)
            time = error_set(err, 0, "`hybrid stop` ended with status %d", status);
    } else if (ready == 0) {
        (void)error_set(err, 0, "the idle workload ended by itself");
    }
    if (time >= 0 && job_wait_end(lab, &job, err) < 0)
        time = -1;
    job_close(lab, &job);
    return time;
}

int measure_stop(struct lab *lab, enum compare_isolation isolation, struct error *err)
{
    struct job_spec spec = { .isolation = isolation, .command = PROBE("idle") };
    int64_t times[MOST_STOPS];
    size_t count = 0, runs = (size_t)lab->request->runs;
    while (count < MOST_STOPS && count < runs) {
        times[count] = stop_once(lab, &spec, err);
        if (times[count++] >= 0)
            continue;
        if (lab_must_end(err))
            return -1;
        lab_set_missing(lab, "stop.stop", isolation, err->message);
        return 0;
    }
    lab_set_samples(lab, "stop.stop", isolation, times, count);
    return 0;
}
