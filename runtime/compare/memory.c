/* What an idle workload takes of the host's memory, and what lies on disk. */
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lab.h"
#include "processes.h"

enum { SETTLE_NANOSECONDS = 300 * 1000 * 1000 };

static void add_up(struct lab *lab, enum compare_isolation isolation,
                   const struct processes *processes)
{
    struct process_memory ours = { 0 }, workload = { 0 };
    for (size_t i = 0; i < processes->count; i++) {
        const char *comm = processes->list[i].comm;
        bool own = processes_is_ours(comm);
        if (processes_add_memory(processes->list[i].pid, strcmp(comm, "hybrid-vmm") == 0,
                                 own ? &ours : &workload) < 0) {
            lab_set_missing(lab, "memory.ours", isolation, "smaps of a process cannot be read");
            return;
        }
    }
    lab_set_number(lab, "memory.ours", isolation, ours.pss);
    lab_set_number(lab, "memory.workload", isolation, workload.pss + ours.guest_ram);
}

/* Returns 0, or -1 with *err. */
static int look_at_idle(struct lab *lab, enum compare_isolation isolation, struct error *err)
{
    struct job_spec spec = { .isolation = isolation, .command = PROBE("idle") };
    struct timespec settle = { .tv_nsec = SETTLE_NANOSECONDS };
    struct job job;
    if (job_start(lab, &spec, &job, err) < 0)
        return -1;
    int ready = job_wait_lines(lab, &job, 1, err);
    if (ready == 1) {
        struct processes processes;
        (void)nanosleep(&settle, NULL);
        processes_find(job.pid, &processes);
        add_up(lab, isolation, &processes);
    } else if (ready == 0) {
        ready = error_set(err, 0, "the idle workload ended by itself");
    }
    job_close(lab, &job);
    return ready < 0 ? -1 : 0;
}

/* Returns the size of a file, 0 if there is none. */
static int64_t size_of(const char *directory, const char *name)
{
    char path[4096];
    struct stat status;
    (void)snprintf(path, sizeof path, "%s%s%s", directory, *directory ? "/" : "", name);
    return stat(path, &status) == 0 ? status.st_size : 0;
}

int measure_memory(struct lab *lab, enum compare_isolation isolation, struct error *err)
{
    const struct compare_request *request = lab->request;
    int64_t programs = size_of("", request->program);
    if (isolation == IN_VM) {
        programs += size_of(request->runtime->exe_dir, "hybrid-vmm") +
                    size_of(request->runtime->exe_dir, "guest-root.erofs");
        lab_set_number(lab, "memory.kernel", isolation,
                       size_of(request->runtime->exe_dir, "vmlinux"));
    } else {
        lab_set_missing(lab, "memory.kernel", isolation, "the host's kernel is there anyway");
    }
    lab_set_number(lab, "memory.programs", isolation, programs);
    if (look_at_idle(lab, isolation, err) == 0)
        return 0;
    if (lab_must_end(err))
        return -1;
    lab_set_topic_missing(lab, TOPIC_MEMORY, isolation, err->message);
    return 0;
}
