#include "runtime/image/helper/push_parts.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/helper/confine.h"
#include "runtime/image/helper/progress.h"
#include "runtime/image/helper/staging.h"

enum { REPORT_BYTES = 1024 * 1024 };

/* What a sender writes to its pipe: whole, as it is smaller than PIPE_BUF. */
struct report {
    int64_t bytes;
    bool finished;
    int outcome; /* once finished: enum upload_outcome, or -1 with error */
    struct error error;
};
_Static_assert(sizeof(struct report) <= PIPE_BUF, "a report must be written whole");

struct sender {
    pid_t pid; /* 0: none */
    int pipe;
    size_t row; /* of the parts */
};

struct push_job {
    struct push_part *parts;
    size_t count, begun;
    struct remote *remote;
    struct progress progress;
    struct sender senders[SETTINGS_MAX_PARALLEL];
};

/* --- a sender --------------------------------------------------------------------------------- */

struct telling {
    int pipe;
    int64_t told;
};

static void tell(void *context, int64_t bytes)
{
    struct telling *telling = context;
    struct report report = { .bytes = bytes };
    if (bytes >= telling->told && bytes - telling->told < REPORT_BYTES)
        return;
    telling->told = bytes;
    (void)io_write_all(telling->pipe, &report, sizeof report);
}

__attribute__((noreturn)) static void send_part(const struct push_part *part, struct remote *remote,
                                                int pipe_fd, pid_t parent)
{
    struct upload upload;
    struct telling telling = { .pipe = pipe_fd };
    struct report report = { .bytes = part->size, .finished = true, .outcome = -1 };
    staging_die_with(parent);
    if (upload_begin(&upload, remote, &report.error) == 0) {
        upload.progress = tell;
        upload.context = &telling;
        report.outcome =
            upload_blob(&upload, part->hex, part->size, part->fd, part->from, &report.error);
    }
    upload_end(&upload);
    _exit(io_write_all(pipe_fd, &report, sizeof report) < 0 ? EXIT_OURS : 0);
}

/* --- those who wait for them ------------------------------------------------------------------ */

static int start(struct push_job *job, struct sender *sender, struct error *err)
{
    int pipe_fds[2];
    const pid_t self = getpid();
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    sender->row = job->begun++;
    sender->pid = fork();
    if (sender->pid == 0)
        send_part(&job->parts[sender->row], job->remote, pipe_fds[1], self);
    cleanup_close(&pipe_fds[1]);
    sender->pipe = pipe_fds[0];
    if (sender->pid > 0)
        return 0;
    sender->pid = 0;
    cleanup_close(&sender->pipe);
    return error_set_errno(err, EXIT_OURS, errno, "cannot fork");
}

/* Returns its wait status. */
static int reap(struct sender *sender)
{
    int status = 0;
    while (waitpid(sender->pid, &status, 0) < 0 && errno == EINTR)
        ;
    cleanup_close(&sender->pipe);
    sender->pid = 0;
    return status;
}

static void show_outcome(const struct push_job *job, size_t row, int outcome)
{
    char note[300];
    const struct push_part *part = &job->parts[row];
    (void)snprintf(note, sizeof note, "mounted from %s", part->from ? part->from : "");
    if (outcome == UPLOAD_SENT)
        progress_push(&job->progress, row, part->hex, part->size, part->size);
    else
        progress_note(&job->progress, row, part->hex,
                      outcome == UPLOAD_MOUNTED ? note : "is there already");
}

static int take_report(struct push_job *job, struct sender *sender, struct error *err)
{
    struct report report;
    const struct push_part *part = &job->parts[sender->row];
    if (io_read_all(sender->pipe, &report, sizeof report) != (ssize_t)sizeof report)
        return confine_explain("a process that sends a blob", reap(sender), err);
    if (!report.finished) {
        if (report.bytes < part->size)
            progress_push(&job->progress, sender->row, part->hex, report.bytes, part->size);
        return 0;
    }
    (void)reap(sender);
    if (report.outcome >= 0) {
        show_outcome(job, sender->row, report.outcome);
        return 0;
    }
    report.error.message[sizeof report.error.message - 1] = '\0';
    return error_set(err, EXIT_OURS, "%s sha256:%.12s: %s", part->kind, part->hex,
                     report.error.message);
}

static int wait_for_reports(struct push_job *job, size_t most, struct error *err)
{
    struct pollfd polls[SETTINGS_MAX_PARALLEL];
    for (size_t i = 0; i < most; i++)
        polls[i] = (struct pollfd){ .fd = job->senders[i].pid ? job->senders[i].pipe : -1,
                                    .events = POLLIN };
    if (poll(polls, most, -1) < 0)
        return errno == EINTR ? 0 : error_set_errno(err, EXIT_OURS, errno, "cannot poll");
    for (size_t i = 0; i < most; i++)
        if (polls[i].revents && take_report(job, &job->senders[i], err) < 0)
            return -1;
    return 0;
}

static int send_all(struct push_job *job, size_t most, struct error *err)
{
    for (;;) {
        size_t running = 0;
        for (size_t i = 0; i < most; i++) {
            if (!job->senders[i].pid && job->begun < job->count &&
                start(job, &job->senders[i], err) < 0)
                return -1;
            running += job->senders[i].pid != 0;
        }
        if (running == 0)
            return 0;
        if (wait_for_reports(job, most, err) < 0)
            return -1;
    }
}

/* How the registry is spoken to, and its token, are found out once, and inherited. */
static int introduce(const struct push_part *part, struct remote *remote, struct error *err)
{
    struct upload upload;
    int result = upload_begin(&upload, remote, err);
    if (result == 0)
        result = upload_find(&upload, part->hex, err);
    upload_end(&upload);
    return result < 0 ? -1 : 0;
}

int push_parts_send(struct push_part *parts, size_t count, struct remote *remote, bool quiet,
                    struct error *err)
{
    struct push_job job = {
        .parts = parts, .count = count, .remote = remote, .progress = progress_choose(quiet, count)
    };
    const size_t most = (size_t)remote->parallel;
    _cleanup_free_ const char **ids = calloc(count + 1, sizeof *ids);
    _cleanup_free_ const char **kinds = calloc(count + 1, sizeof *kinds);
    if (!ids || !kinds)
        return error_set(err, EXIT_OURS, "out of memory");
    for (size_t i = 0; i < count; i++) {
        ids[i] = parts[i].hex;
        kinds[i] = parts[i].kind;
    }
    job.progress.kinds = kinds;
    if (introduce(&parts[0], remote, err) < 0)
        return -1;
    progress_begin(&job.progress, ids);
    int result = send_all(&job, most, err);
    for (size_t i = 0; i < most; i++)
        if (job.senders[i].pid) {
            (void)kill(job.senders[i].pid, SIGKILL);
            (void)reap(&job.senders[i]);
        }
    return result;
}
