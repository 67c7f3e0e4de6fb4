#include "runtime/image/helper/convert.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/helper/confine.h"

enum { MAX_WORKERS = 16 };

/* What a worker writes to its pipe: whole, as it is smaller than PIPE_BUF. */
struct report {
    int64_t bytes; /* of the blob read so far */
    bool finished;
    struct error error; /* exit_code 0: it succeeded */
};
_Static_assert(sizeof(struct report) <= PIPE_BUF, "a report must be written whole");

static void send_progress(void *context, int64_t bytes)
{
    struct report report = { .bytes = bytes };
    (void)io_write_all(*(int *)context, &report, sizeof report);
}

__attribute__((noreturn)) static void work(const struct staging *staging,
                                           const struct layer_job *job, int pipe_fd, pid_t parent)
{
    struct report report = { .bytes = job->blob.size, .finished = true };
    const struct layer_progress progress = { send_progress, &pipe_fd };
    const struct landlock_place place = { .access = LANDLOCK_CHANGE, .fd = staging->fd };
    staging_die_with(parent);
    if (confine_enter(CONFINE_LAYER, &place, 1, &report.error) == 0)
        (void)layer_convert(staging, &job->blob, job->diff_id, &progress, &report.error);
    _exit(io_write_all(pipe_fd, &report, sizeof report) < 0 ? EXIT_OURS : report.error.exit_code);
}

static int start(const struct staging *staging, struct layer_job *job, struct error *err)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    const pid_t self = getpid();
    job->worker = fork();
    if (job->worker == 0)
        work(staging, job, pipe_fds[1], self);
    cleanup_close(&pipe_fds[1]);
    job->pipe = pipe_fds[0];
    if (job->worker < 0) {
        cleanup_close(&job->pipe);
        return error_set_errno(err, EXIT_OURS, errno, "cannot fork");
    }
    job->state = LAYER_CONVERTING;
    return 0;
}

/* Returns its wait status. */
static int reap(struct layer_job *job)
{
    int status = 0;
    while (waitpid(job->worker, &status, 0) < 0 && errno == EINTR)
        ;
    cleanup_close(&job->pipe);
    job->state = LAYER_DONE;
    return status;
}

static int take_report(const struct progress *progress, size_t row, struct layer_job *job,
                       struct error *err)
{
    struct report report;
    ssize_t length = io_read_all(job->pipe, &report, sizeof report);
    if (length != (ssize_t)sizeof report) {
        char what[STORE_DIGEST_HEX];
        (void)snprintf(what, sizeof what, "the converter of layer sha256:%.12s", job->diff_id);
        return confine_explain(what, reap(job), err);
    }
    if (!report.finished) {
        progress_update(progress, row, job->diff_id, report.bytes, job->blob.size);
        return 0;
    }
    (void)reap(job);
    if (report.error.exit_code != 0) {
        *err = report.error;
        return -1;
    }
    progress_done(progress, row, job->diff_id, job->blob.size);
    return 0;
}

static size_t count_in(const struct layer_job *jobs, size_t count, enum layer_state state)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += jobs[i].state == state;
    return found;
}

/* Waits for reports of running workers, and for what the feed brings, and takes them. */
static int wait_for_reports(const struct progress *progress, struct layer_job *jobs, size_t count,
                            const struct layer_feed *feed, struct error *err)
{
    struct pollfd polls[MAX_WORKERS + 1];
    size_t rows[MAX_WORKERS];
    nfds_t used = 0;
    for (size_t i = 0; i < count && used < MAX_WORKERS; i++)
        if (jobs[i].state == LAYER_CONVERTING) {
            rows[used] = i;
            polls[used++] = (struct pollfd){ .fd = jobs[i].pipe, .events = POLLIN };
        }
    bool waiting = feed && count_in(jobs, count, LAYER_ABSENT) > 0;
    polls[used] = (struct pollfd){ .fd = waiting ? feed->fd : -1, .events = POLLIN };
    if (poll(polls, used + 1, -1) < 0)
        return errno == EINTR ? 0 : error_set_errno(err, EXIT_OURS, errno, "cannot poll");
    for (nfds_t i = 0; i < used; i++)
        if (polls[i].revents && take_report(progress, rows[i], &jobs[rows[i]], err) < 0)
            return -1;
    return waiting && polls[used].revents ? feed->take(feed->context, progress, jobs, count, err)
                                          : 0;
}

static size_t count_workers(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        return 1;
    int cpus = CPU_COUNT(&allowed);
    return cpus > MAX_WORKERS ? MAX_WORKERS : (size_t)cpus;
}

static int start_ready(const struct staging *staging, struct layer_job *jobs, size_t count,
                       struct error *err)
{
    size_t running = count_in(jobs, count, LAYER_CONVERTING);
    const size_t most = count_workers();
    for (size_t i = 0; i < count && running < most; i++)
        if (jobs[i].state == LAYER_READY) {
            if (start(staging, &jobs[i], err) < 0)
                return -1;
            running++;
        }
    return 0;
}

static int run(const struct staging *staging, const struct progress *progress,
               struct layer_job *jobs, size_t count, const struct layer_feed *feed,
               struct error *err)
{
    while (count_in(jobs, count, LAYER_DONE) < count) {
        if ((feed && feed->ask(feed->context, jobs, count, err) < 0) ||
            start_ready(staging, jobs, count, err) < 0 ||
            wait_for_reports(progress, jobs, count, feed, err) < 0)
            return -1;
    }
    return 0;
}

int convert_layers(const struct staging *staging, struct layer_job *jobs, size_t count,
                   const struct layer_feed *feed, bool quiet, struct error *err)
{
    const struct progress progress = progress_choose(quiet, count);
    _cleanup_free_ const char **ids = calloc(count + 1, sizeof *ids);
    if (!ids)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < count; i++)
        ids[i] = jobs[i].diff_id;
    progress_begin(&progress, ids);
    int result = run(staging, &progress, jobs, count, feed, err);
    for (size_t i = 0; i < count; i++)
        if (jobs[i].state == LAYER_CONVERTING) {
            (void)kill(jobs[i].worker, SIGKILL);
            (void)reap(&jobs[i]);
        }
    return result;
}
