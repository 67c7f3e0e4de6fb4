/* What the processes of a workload ask of the host's kernel while it does a little of everything.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "lab.h"
#include "processes.h"
#include "trace.h"

enum { ALL_SHOWN = 8 }; /* reasons of exits in JSON */

/* Reasons of exits, the most frequent first: "hlt 12, io 3". */
static void describe_exits(const json_t *exits, int most_shown, char *text, size_t size)
{
    json_int_t most = INT64_MAX;
    text[0] = '\0';
    for (int shown = 0; shown < most_shown;) {
        json_int_t next = 0;
        const char *name;
        const json_t *count;
        json_object_foreach((json_t *)exits, name, count) if (json_integer_value(count) < most &&
                                                              json_integer_value(count) > next)
            next = json_integer_value(count);
        if (next == 0)
            return;
        json_object_foreach((json_t *)exits, name, count)
        {
            size_t used = strlen(text);
            if (json_integer_value(count) != next || shown == most_shown)
                continue;
            if (strncmp(name, "EXIT_", strlen("EXIT_")) == 0)
                name += strlen("EXIT_");
            (void)snprintf(text + used, size - used, "%s%s %lld", shown++ ? ", " : "", name,
                           (long long)next);
        }
        most = next;
    }
}

static json_int_t sum(const json_t *counts)
{
    json_int_t all = 0;
    const char *name;
    const json_t *count;
    json_object_foreach((json_t *)counts, name, count) all += json_integer_value(count);
    return all;
}

static void report_exits(struct lab *lab, enum compare_isolation isolation,
                         const struct trace *trace, const struct trace_counts *counts)
{
    char reasons[256];
    if (isolation != IN_VM || !trace->exits) {
        const char *why =
            isolation != IN_VM ? "a container has none" : "the host's kernel has no event kvm_exit";
        lab_set_missing(lab, "host.exits", isolation, why);
        lab_set_missing(lab, "host.exit_reasons", isolation, why);
        return;
    }
    describe_exits(counts->exits, 1, reasons, sizeof reasons);
    lab_set_number(lab, "host.exits", isolation, sum(counts->exits));
    lab_set_text(lab, "host.exit_reasons", isolation, reasons);
    describe_exits(counts->exits, ALL_SHOWN, reasons, sizeof reasons);
    lab_set_note(lab, "host.exit_reasons", isolation, reasons);
}

static void report_trace(struct lab *lab, enum compare_isolation isolation,
                         const struct trace *trace, const struct trace_counts *counts)
{
    static const char *const rows[] = { "host.calls", "host.calls_ours", "host.functions" };
    lab_set_number(lab, rows[0], isolation, (int64_t)json_object_size(counts->calls));
    lab_set_number(lab, rows[1], isolation, (int64_t)json_object_size(counts->our_calls));
    if (trace->no_functions == 0) {
        lab_set_number(lab, rows[2], isolation, (int64_t)json_object_size(counts->functions));
    } else {
        char why[160];
        (void)snprintf(why, sizeof why,
                       "could not be measured: the host's kernel refuses %s of its function "
                       "tracer: %s",
                       trace->refused, strerror(trace->no_functions));
        lab_set_missing(lab, rows[2], isolation, why);
    }
    report_exits(lab, isolation, trace, counts);
    if (counts->lost == 0)
        return;
    char note[96];
    (void)snprintf(note, sizeof note, "at least: %lld events did not fit", counts->lost);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        lab_set_note(lab, rows[i], isolation, note);
}

/* In a container the load is a process of the host, in a VM all processes are ours. */
static size_t list_ours(const struct job *job, pid_t ours[MAX_PROCESSES])
{
    struct processes processes;
    size_t count = 0;
    if (job->isolation == IN_VM)
        return 0;
    processes_find(job->pid, &processes);
    for (size_t i = 0; i < processes.count; i++)
        if (processes_is_ours(processes.list[i].comm))
            ours[count++] = processes.list[i].pid;
    return count;
}

/* Returns 0, or -1 with *err. */
static int trace_load(struct lab *lab, struct job *job, struct trace *trace, struct error *err)
{
    pid_t ours[MAX_PROCESSES];
    struct trace_counts counts = { 0 };
    job_release(job);
    int ready = job_wait_lines(lab, job, 1, err);
    if (ready == 1) {
        size_t count = list_ours(job, ours);
        trace_start(trace);
        ready = write(job->input, "x", 1) == 1 ? job_wait_lines(lab, job, 2, err) : 0;
        trace_stop(trace);
        if (ready == 1 && trace_read(trace, ours, count, &counts, err) < 0)
            ready = -1;
    }
    if (ready == 0) {
        char reason[400];
        job_reason(job, reason, sizeof reason);
        return error_set(err, 0, "the load ended too early: %s", reason);
    }
    if (ready < 0)
        return -1;
    report_trace(lab, job->isolation, trace, &counts);
    trace_counts_free(&counts);
    return 0;
}

/* Of hybrid-vmm --system-calls: "NAME KINDS", a line each. 0: it cannot be asked. */
static int64_t count_allowed(const struct lab *lab)
{
    _cleanup_free_ char *program = NULL;
    char line[256], kinds[128];
    int ends[2];
    int64_t count = 0;
    if (asprintf(&program, "%s/hybrid-vmm", lab->request->runtime->exe_dir) < 0 ||
        pipe2(ends, O_CLOEXEC) < 0)
        return 0;
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)execl(program, "hybrid-vmm", "--system-calls", (char *)NULL);
        _exit(EXIT_OURS);
    }
    (void)close(ends[1]);
    _cleanup_fclose_ FILE *lines = fdopen(ends[0], "re");
    while (lines && fgets(line, sizeof line, lines))
        /* Its own VMs share no files. */
        if (sscanf(line, "%*s %127s", kinds) == 1 && strcmp(kinds, "startup") != 0 &&
            strcmp(kinds, "share") != 0)
            count++;
    if (child > 0)
        (void)waitpid(child, NULL, 0);
    return count;
}

int measure_host(struct lab *lab, enum compare_isolation isolation, struct error *err)
{
    struct job_spec spec = {
        .isolation = isolation, .command = PROBE("load"), .input = true, .held = true
    };
    struct trace trace = { .instance = -1, .instances = -1 };
    struct job job;
    int64_t allowed = isolation == IN_VM ? count_allowed(lab) : 0;
    if (allowed > 0)
        lab_set_number(lab, "host.allowed", isolation, allowed);
    else
        lab_set_missing(lab, "host.allowed", isolation,
                        isolation == IN_VM ? "hybrid-vmm does not tell" : "a container has none");
    if (job_start(lab, &spec, &job, err) < 0)
        return -1;
    int result = trace_open(&trace, job.pid, err);
    if (result == 0)
        result = trace_load(lab, &job, &trace, err);
    job_close(lab, &job);
    trace_close(&trace);
    if (result == 0)
        return 0;
    if (lab_must_end(err))
        return -1;
    lab_set_topic_missing(lab, TOPIC_HOST, isolation, err->message);
    return 0;
}
