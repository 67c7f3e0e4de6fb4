/* From a request to a document. */
#include "lab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "stats.h"

enum { KEPT_SAMPLES = 100, ROW_NAME_SIZE = 64 };

static lab_measure *const measures[TOPICS] = {
    [TOPIC_START] = measure_start,           [TOPIC_STOP] = measure_stop,
    [TOPIC_MEMORY] = measure_memory,         [TOPIC_COST] = measure_cost,
    [TOPIC_REACH] = measure_reach,           [TOPIC_HOST] = measure_host,
    [TOPIC_NEIGHBOURS] = measure_neighbours,
};

bool lab_must_end(const struct error *err)
{
    return err->exit_code != 0;
}

void lab_progress(const struct lab *lab, const char *what, enum compare_isolation isolation)
{
    if (lab->request->progress) {
        (void)fprintf(lab->request->progress, "hybrid: compare: %s, %s\n", what,
                      compare_isolations[isolation].title);
        (void)fflush(lab->request->progress);
    }
}

static void set(struct lab *lab, const char *row, enum compare_isolation isolation, json_t *value)
{
    json_t *by_isolation = json_object_get(lab->values, row);
    if (!by_isolation) {
        by_isolation = json_object();
        (void)json_object_set_new(lab->values, row, by_isolation);
    }
    (void)json_object_set_new(by_isolation, compare_isolations[isolation].name, value);
}

const json_t *lab_value(const struct lab *lab, const char *row, enum compare_isolation isolation)
{
    return json_object_get(json_object_get(lab->values, row), compare_isolations[isolation].name);
}

void lab_set_samples(struct lab *lab, const char *row, enum compare_isolation isolation,
                     int64_t *samples, size_t count)
{
    struct stats stats = stats_of(samples, count);
    json_t *kept = json_array();
    size_t step = count > KEPT_SAMPLES ? (count + KEPT_SAMPLES - 1) / KEPT_SAMPLES : 1;
    for (size_t i = 0; i < count; i += step)
        (void)json_array_append_new(kept, json_integer(samples[i]));
    set(lab, row, isolation,
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "n", (json_int_t)stats.count, "min",
                  (json_int_t)stats.minimum, "p50", (json_int_t)stats.p50, "p90",
                  (json_int_t)stats.p90, "p99", (json_int_t)stats.p99, "max",
                  (json_int_t)stats.maximum, "samples", kept));
}

void lab_set_number(struct lab *lab, const char *row, enum compare_isolation isolation,
                    int64_t value)
{
    set(lab, row, isolation, json_pack("{s:I}", "value", (json_int_t)value));
}

void lab_set_text(struct lab *lab, const char *row, enum compare_isolation isolation,
                  const char *text)
{
    set(lab, row, isolation, json_pack("{s:s}", "text", text));
}

void lab_set_missing(struct lab *lab, const char *row, enum compare_isolation isolation,
                     const char *why)
{
    set(lab, row, isolation, json_pack("{s:s}", "missing", why));
}

void lab_set_note(struct lab *lab, const char *row, enum compare_isolation isolation,
                  const char *note)
{
    json_t *value = (json_t *)lab_value(lab, row, isolation);
    if (value)
        (void)json_object_set_new(value, "note", json_string(note));
}

static void row_name(const struct compare_row *row, char name[ROW_NAME_SIZE])
{
    (void)snprintf(name, ROW_NAME_SIZE, "%s.%s", compare_topics[row->topic].name, row->name);
}

void lab_set_topic_missing(struct lab *lab, enum compare_topic topic,
                           enum compare_isolation isolation, const char *why)
{
    char name[ROW_NAME_SIZE];
    for (const struct compare_row *row = compare_rows; row->name; row++) {
        row_name(row, name);
        if (row->topic == topic && !lab_value(lab, name, isolation))
            lab_set_missing(lab, name, isolation, why);
    }
}

int64_t *lab_numbers(const json_t *array, size_t *count)
{
    *count = json_array_size(array);
    int64_t *numbers = *count > 0 ? calloc(*count, sizeof *numbers) : NULL;
    for (size_t i = 0; numbers && i < *count; i++)
        numbers[i] = json_integer_value(json_array_get(array, i));
    return numbers;
}

/* The first run of each isolation shows whether it can be had, and warms the caches. */
static int find_isolations(struct lab *lab, struct error *err)
{
    bool any = false;
    char reason[512] = "";
    for (int i = 0; i < ISOLATIONS; i++) {
        struct job job;
        struct job_spec spec = { .isolation = (enum compare_isolation)i,
                                 .command = PROBE("hello") };
        if (!lab->request->isolations[i]) {
            (void)snprintf(lab->reasons[i], sizeof lab->reasons[i], "not asked for");
            continue;
        }
        lab_progress(lab, "first run", (enum compare_isolation)i);
        if (job_start(lab, &spec, &job, err) < 0)
            return -1;
        int status = job_wait_end(lab, &job, err);
        if (status < 0)
            (void)snprintf(reason, sizeof reason, "%.500s", err->message);
        else
            job_reason(&job, reason, sizeof reason);
        job_close(lab, &job);
        if (status < 0 && lab_must_end(err))
            return -1;
        lab->available[i] = status == 0;
        any = any || status == 0;
        if (status != 0)
            (void)snprintf(lab->reasons[i], sizeof lab->reasons[i], "%s", reason);
    }
    return any ? 0 : error_set(err, EXIT_OURS, "nothing can be compared: %s", reason);
}

static int measure_topics(struct lab *lab, struct error *err)
{
    for (int topic = 0; topic < TOPICS; topic++) {
        for (int i = 0; lab->request->topics[topic] && i < ISOLATIONS; i++) {
            const enum compare_isolation isolation = (enum compare_isolation)i;
            if (!lab->available[i]) {
                lab_set_topic_missing(lab, (enum compare_topic)topic, isolation, lab->reasons[i]);
                continue;
            }
            lab_progress(lab, compare_topics[topic].name, isolation);
            if (measures[topic](lab, isolation, err) < 0)
                return -1;
            lab_set_topic_missing(lab, (enum compare_topic)topic, isolation, "it was not measured");
        }
    }
    return 0;
}

static json_t *describe_host(void)
{
    struct utsname names;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    (void)uname(&names);
    return json_pack("{s:s, s:s, s:I, s:I}", "kernel", names.release, "machine", names.machine,
                     "processors", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "memory",
                     (json_int_t)pages * page);
}

static json_t *describe_isolations(const struct lab *lab)
{
    json_t *list = json_array();
    for (int i = 0; i < ISOLATIONS; i++)
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:b, s:s*}", "name", compare_isolations[i].name, "title",
                            compare_isolations[i].title, "available", (int)lab->available[i],
                            "reason", lab->available[i] ? NULL : lab->reasons[i]));
    return list;
}

static json_t *describe_rows(const struct lab *lab, enum compare_topic topic)
{
    json_t *list = json_array();
    char name[ROW_NAME_SIZE];
    for (const struct compare_row *row = compare_rows; row->name; row++) {
        if (row->topic != topic)
            continue;
        row_name(row, name);
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:O}", "name", row->name,
                                                    "title", row->title, "unit",
                                                    compare_units[row->unit], "text", row->text,
                                                    "values", json_object_get(lab->values, name)));
    }
    return list;
}

static json_t *describe_topics(const struct lab *lab)
{
    json_t *list = json_array();
    for (int i = 0; i < TOPICS; i++)
        if (lab->request->topics[i])
            (void)json_array_append_new(list,
                                        json_pack("{s:s, s:s, s:o}", "name", compare_topics[i].name,
                                                  "title", compare_topics[i].title, "rows",
                                                  describe_rows(lab, (enum compare_topic)i)));
    return list;
}

/* "N system calls", or words where it was not measured. */
static void count_text(const struct lab *lab, const char *row, enum compare_isolation isolation,
                       char *text, size_t size)
{
    const json_t *value = json_object_get(lab_value(lab, row, isolation), "value");
    if (value)
        (void)snprintf(text, size, "%lld system calls", (long long)json_integer_value(value));
    else
        (void)snprintf(text, size, "an unmeasured number of system calls");
}

static json_t *conclude(const struct lab *lab)
{
    char filtered[64], unfiltered[64], allowed[64], container[256], without[256], vm[400];
    count_text(lab, "reach.calls", IN_CONTAINER, filtered, sizeof filtered);
    count_text(lab, "reach.calls", IN_UNFILTERED, unfiltered, sizeof unfiltered);
    count_text(lab, "host.allowed", IN_VM, allowed, sizeof allowed);
    (void)snprintf(
        container, sizeof container,
        "if a kernel bug is exploited: the attacker owns this machine's kernel and every "
        "workload on it; %s lead there",
        filtered);
    (void)snprintf(without, sizeof without,
                   "if a kernel bug is exploited: the same, and %s lead there", unfiltered);
    (void)snprintf(vm, sizeof vm,
                   "if a kernel bug is exploited: the attacker owns a guest's kernel that runs "
                   "nothing else; the host needs a second bug, in KVM, or in hybrid-vmm and then "
                   "the host's kernel through %s",
                   allowed);
    json_t *conclusions = json_object();
    const char *const texts[ISOLATIONS] = { container, without, vm };
    for (int i = 0; i < ISOLATIONS; i++)
        (void)json_object_set_new(conclusions, compare_isolations[i].name, json_string(texts[i]));
    return conclusions;
}

static json_t *describe(const struct lab *lab)
{
    char now[32];
    time_t seconds = time(NULL);
    struct tm broken;
    (void)strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &broken));
    json_t *command = json_array();
    for (const char *const *word = lab->request->command; *word; word++)
        (void)json_array_append_new(command, json_string(*word));
    if (json_array_size(command) == 0) {
        json_decref(command);
        command = json_null();
    }
    return json_pack("{s:s, s:i, s:s, s:s, s:o, s:s, s:o, s:i, s:o, s:o, s:o}", "format",
                     "hybrid-compare", "version", COMPARE_VERSION, "hybrid", HYBRID_VERSION, "time",
                     now, "host", describe_host(), "image", lab->request->image, "command", command,
                     "runs", lab->request->runs, "isolations", describe_isolations(lab), "topics",
                     describe_topics(lab), "conclusions", conclude(lab));
}

static int open_signals(struct lab *lab, struct error *err)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    sigset_t set;
    (void)sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        (void)sigaddset(&set, numbers[i]);
    (void)sigprocmask(SIG_BLOCK, &set, &lab->mask);
    lab->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return lab->signals < 0 ? error_set_errno(err, EXIT_OURS, errno, "cannot watch signals") : 0;
}

json_t *compare_measure(const struct compare_request *request, struct error *err)
{
    struct lab lab = { .request = request, .signals = -1, .values = json_object() };
    json_t *document = NULL;
    (void)signal(SIGCHLD, SIG_DFL); /* inherited as ignored, children could not be waited for */
    if (!lab.values)
        (void)error_set(err, EXIT_OURS, "out of memory");
    else if (open_signals(&lab, err) == 0 && find_isolations(&lab, err) == 0 &&
             measure_topics(&lab, err) == 0) {
        document = describe(&lab);
        if (!document)
            (void)error_set(err, EXIT_OURS, "out of memory");
    }
    cleanup_close(&lab.signals);
    (void)sigprocmask(SIG_SETMASK, &lab.mask, NULL);
    json_decref(lab.values);
    return document;
}
