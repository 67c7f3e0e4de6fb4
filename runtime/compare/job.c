/* One `hybrid run`: its streams, its stamps, its end. */
#include "lab.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/cgroup/cgroup.h"
#include "stamp.h"

enum {
    MAX_TEXT = 8 << 20,
    JOB_TEXTS = 3,
    CHUNK = 65536,
};

/* Seconds after which a job is given up. A guest on an emulated processor is slow. */
static const int patience[ISOLATIONS] = {
    [IN_CONTAINER] = 120, [IN_UNFILTERED] = 120, [IN_VM] = 300
};

static const char message_prefix[] = "hybrid: ";

struct arguments {
    const char **values; /* ends with NULL */
    size_t count;
    bool lacking; /* there was no memory for all of them */
};

static void free_arguments(struct arguments *arguments)
{
    free(arguments->values);
}

static void add(struct arguments *arguments, const char *word)
{
    const char **grown =
        reallocarray(arguments->values, arguments->count + 2, sizeof *arguments->values);
    if (!grown) {
        arguments->lacking = true;
        return;
    }
    arguments->values = grown;
    grown[arguments->count++] = word;
    grown[arguments->count] = NULL;
}

static void add_all(struct arguments *arguments, const char *const *words)
{
    for (; words && *words; words++)
        add(arguments, *words);
}

/* The program, with what was chosen for all verbs. */
static void add_program(struct arguments *arguments, const struct compare_request *request)
{
    const struct runtime *runtime = request->runtime;
    add(arguments, request->program);
    add_all(arguments, (const char *const[]){ "--root", runtime->root, "--data", runtime->data,
                                              "--cgroup-manager", runtime->cgroup_manager, NULL });
    if (runtime->policy)
        add_all(arguments, (const char *const[]){ "--policy", runtime->policy, NULL });
}

static void make_arguments(struct arguments *arguments, const struct lab *lab,
                           const struct job_spec *spec, const char *name)
{
    add_program(arguments, lab->request);
    add_all(arguments, (const char *const[]){ "run", "--quiet", "--name", name, NULL });
    add(arguments, spec->isolation == IN_VM ? "--isolation=vm" : "--isolation=container");
    if (spec->isolation == IN_UNFILTERED)
        add(arguments, "--security-opt=seccomp=unconfined");
    if (!spec->keep)
        add(arguments, "--rm");
    if (spec->input)
        add(arguments, "--interactive");
    if (!spec->image_command) /* the image's own entry point would take the probe for words */
        add(arguments, "--entrypoint=");
    add_all(arguments, spec->options);
    add(arguments, lab->request->image);
    add_all(arguments, spec->command);
}

/* The child's part: never returns. Between fork and exec, in a process of one thread. */
__attribute__((noreturn)) static void become_hybrid(const struct lab *lab, char *const *arguments,
                                                    const int fds[3], int stamps, int gate,
                                                    bool probe, pid_t parent)
{
    char number[16], byte;
    (void)setpgid(0, 0); /* Ctrl-C is for us: we end it in order */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)sigprocmask(SIG_SETMASK, &lab->mask, NULL);
    if (getppid() != parent || (gate >= 0 && read(gate, &byte, 1) != 1))
        _exit(EXIT_OURS);
    for (int i = 0; i < 3; i++)
        if (dup2(fds[i], i) < 0)
            _exit(EXIT_OURS);
    (void)unsetenv(STAMP_ENV);
    (void)unsetenv("HYBRID_PROBE");
    if (stamps >= 0) {
        (void)fcntl(stamps, F_SETFD, 0);
        (void)snprintf(number, sizeof number, "%d", stamps);
        (void)setenv(STAMP_ENV, number, 1);
    }
    if (probe)
        (void)setenv("HYBRID_PROBE", "1", 1);
    (void)execv(arguments[0], arguments);
    _exit(EXIT_OURS);
}

/* Pipes of a job: [i][0] is read from, [i][1] written to. */
enum { PIPE_IN, PIPE_OUT, PIPE_ERRORS, PIPE_STAMPS, PIPE_GATE, PIPES };

static void close_pipes(int pipes[PIPES][2])
{
    for (int i = 0; i < PIPES; i++) {
        cleanup_close(&pipes[i][0]);
        cleanup_close(&pipes[i][1]);
    }
}

static int make_pipes(int pipes[PIPES][2], struct error *err)
{
    for (int i = 0; i < PIPES; i++)
        pipes[i][0] = pipes[i][1] = -1;
    for (int i = 0; i < PIPES; i++) {
        if (pipe2(pipes[i], O_CLOEXEC) == 0)
            continue;
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
        close_pipes(pipes);
        return -1;
    }
    return 0;
}

static void take_text(struct job_text *text, int *fd)
{
    *text = (struct job_text){ .fd = take_fd(fd) };
    (void)fcntl(text->fd, F_SETFL, O_NONBLOCK);
}

static int fork_job(const struct lab *lab, const struct job_spec *spec, struct job *job,
                    int pipes[PIPES][2], struct error *err)
{
    __attribute__((cleanup(free_arguments))) struct arguments arguments = { .count = 0 };
    make_arguments(&arguments, lab, spec, job->name);
    if (arguments.lacking)
        return error_set(err, EXIT_OURS, "out of memory");
    _cleanup_close_ int null = cgroup_open_device("/dev/null", O_RDONLY);
    const int fds[3] = { spec->input ? pipes[PIPE_IN][0] : null, pipes[PIPE_OUT][1],
                         pipes[PIPE_ERRORS][1] };
    pid_t parent = getpid();
    job->started = stamp_now();
    job->deadline = job->started + patience[spec->isolation] * (int64_t)1000000000;
    job->pid = fork();
    if (job->pid == 0)
        become_hybrid(lab, (char *const *)arguments.values, fds, pipes[PIPE_STAMPS][1],
                      spec->held ? pipes[PIPE_GATE][0] : -1, !spec->image_command, parent);
    if (job->pid < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot fork");
    job->pidfd = (int)syscall(SYS_pidfd_open, job->pid, 0);
    return 0;
}

int job_start(struct lab *lab, const struct job_spec *spec, struct job *job, struct error *err)
{
    int pipes[PIPES][2];
    *job = (struct job){ .isolation = spec->isolation, .keep = spec->keep };
    job->pidfd = job->input = job->gate = -1;
    job->out.fd = job->errors.fd = job->stamps.fd = -1;
    (void)snprintf(job->name, sizeof job->name, "compare-%d-%u", (int)getpid(), ++lab->started);
    if (make_pipes(pipes, err) < 0)
        return -1;
    if (fork_job(lab, spec, job, pipes, err) < 0) {
        close_pipes(pipes);
        return -1;
    }
    take_text(&job->out, &pipes[PIPE_OUT][0]);
    take_text(&job->errors, &pipes[PIPE_ERRORS][0]);
    take_text(&job->stamps, &pipes[PIPE_STAMPS][0]);
    if (spec->input)
        job->input = take_fd(&pipes[PIPE_IN][1]);
    if (spec->held)
        job->gate = take_fd(&pipes[PIPE_GATE][1]);
    close_pipes(pipes);
    return 0;
}

void job_release(struct job *job)
{
    job->started = stamp_now();
    if (write(job->gate, "x", 1) == 1)
        cleanup_close(&job->gate);
    job->gate = -1;
}

/* Returns -1 with errno when there is no room for more. */
static int read_text(struct job_text *text)
{
    for (;;) {
        if (text->length + CHUNK > text->room) {
            size_t room = text->room ? text->room * 2 : (size_t)CHUNK * 2;
            char *grown = room <= MAX_TEXT ? realloc(text->data, room) : NULL;
            if (!grown)
                return -1;
            text->data = grown;
            text->room = room;
        }
        ssize_t n = read(text->fd, text->data + text->length, CHUNK - 1);
        if (n > 0) {
            text->length += (size_t)n;
            text->data[text->length] = '\0';
            continue;
        }
        if (n == 0) {
            cleanup_close(&text->fd);
            text->fd = -1;
        }
        return 0;
    }
}

static int read_texts(struct job *job, struct error *err)
{
    struct job_text *const texts[JOB_TEXTS] = { &job->out, &job->errors, &job->stamps };
    for (size_t i = 0; i < JOB_TEXTS; i++) {
        if (texts[i]->fd >= 0 && read_text(texts[i]) < 0)
            return error_set(err, 0, "%s wrote more than %d bytes", job->name, MAX_TEXT);
    }
    if (job->first_byte == 0 && job->out.length > 0)
        job->first_byte = stamp_now();
    return 0;
}

static int check_signals(const struct lab *lab, struct error *err)
{
    struct signalfd_siginfo info;
    if (read(lab->signals, &info, sizeof info) != sizeof info)
        return 0;
    return error_set(err, EXIT_SIGNAL_BASE + (int)info.ssi_signo, "compare: ended by signal %u",
                     info.ssi_signo);
}

/* Waits for news of the job: 0, or -1 with *err. */
static int wait_once(const struct lab *lab, struct job *job, struct error *err)
{
    struct pollfd fds[] = { { .fd = lab->signals, .events = POLLIN },
                            { .fd = job->out.fd, .events = POLLIN },
                            { .fd = job->errors.fd, .events = POLLIN },
                            { .fd = job->stamps.fd, .events = POLLIN },
                            { .fd = job->pidfd, .events = POLLIN } };
    int64_t left = (job->deadline - stamp_now()) / 1000000;
    int ready = left > 0 ? poll(fds, sizeof fds / sizeof *fds, (int)left) : 0;
    if (ready < 0 && errno != EINTR)
        return error_set_errno(err, EXIT_OURS, errno, "poll failed");
    if (ready == 0)
        return error_set(err, 0, "it took more than %d s", patience[job->isolation]);
    if (check_signals(lab, err) < 0)
        return -1;
    /* Before the streams: all that was written before the end is there then. */
    if (fds[4].revents && waitpid(job->pid, &job->status, WNOHANG) == job->pid) {
        job->ended = stamp_now();
        job->is_over = true;
    }
    return read_texts(job, err);
}

static size_t count_lines(const struct job_text *text)
{
    size_t lines = 0;
    for (size_t i = 0; i < text->length; i++)
        lines += text->data[i] == '\n';
    return lines;
}

int job_wait_lines(struct lab *lab, struct job *job, size_t lines, struct error *err)
{
    while (count_lines(&job->out) < lines) {
        if (job->is_over)
            return 0;
        if (wait_once(lab, job, err) < 0)
            return -1;
    }
    return 1;
}

int job_wait_end(struct lab *lab, struct job *job, struct error *err)
{
    while (!job->is_over)
        if (wait_once(lab, job, err) < 0)
            return -1;
    return WIFEXITED(job->status) ? WEXITSTATUS(job->status)
                                  : EXIT_SIGNAL_BASE + WTERMSIG(job->status);
}

/* The start of the last line that hybrid itself wrote, else of the last one. */
static const char *find_reason(const char *text)
{
    const char *last = text, *own = NULL;
    for (const char *line = text; line && *line;) {
        last = line;
        if (strncmp(line, message_prefix, sizeof message_prefix - 1) == 0)
            own = line + sizeof message_prefix - 1;
        line = strchr(line, '\n');
        line += line != NULL;
    }
    return own ? own : last;
}

void job_reason(const struct job *job, char *text, size_t size)
{
    const char *line = job->errors.length > 0 ? find_reason(job->errors.data) : "it said nothing";
    (void)snprintf(text, size, "%.*s", (int)strcspn(line, "\n"), line);
}

void job_close(struct lab *lab, struct job *job)
{
    cleanup_close(&job->gate); /* a job that is still held ends by itself */
    job->gate = -1;
    cleanup_close(&job->input);
    const char *const remove[] = { "rm", "-f", job->name, NULL };
    if (job->pid > 0 && (!job->is_over || job->keep))
        (void)lab_call(lab, remove);
    if (job->pid > 0 && !job->is_over) {
        (void)kill(job->pid, SIGKILL);
        (void)waitpid(job->pid, NULL, 0);
        (void)lab_call(lab, remove); /* it may have made its workload only after the first one */
    }
    struct job_text *const texts[JOB_TEXTS] = { &job->out, &job->errors, &job->stamps };
    for (size_t i = 0; i < JOB_TEXTS; i++) {
        cleanup_close(&texts[i]->fd);
        free(texts[i]->data);
    }
    cleanup_close(&job->pidfd);
    *job = (struct job){ .pidfd = -1, .input = -1, .gate = -1 };
}

static json_t *parse_lines(char *text)
{
    json_t *lines = json_array();
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *value = json_loads(line, 0, NULL);
        if (value)
            (void)json_array_append_new(lines, value);
    }
    return lines;
}

json_t *job_probe(struct lab *lab, const struct job_spec *spec, struct error *err)
{
    struct job job;
    json_t *lines = NULL;
    if (job_start(lab, spec, &job, err) < 0)
        return NULL;
    int status = job_wait_end(lab, &job, err);
    if (status > 0) {
        char reason[512];
        job_reason(&job, reason, sizeof reason);
        (void)error_set(err, 0, "the probe ended with status %d: %s", status, reason);
    } else if (status == 0) {
        lines = job.out.length > 0 ? parse_lines(job.out.data) : json_array();
    }
    job_close(lab, &job);
    return lines;
}

int lab_call(const struct lab *lab, const char *const *words)
{
    __attribute__((cleanup(free_arguments))) struct arguments arguments = { .count = 0 };
    int status;
    add_program(&arguments, lab->request);
    add_all(&arguments, words);
    if (arguments.lacking)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        int null = cgroup_open_device("/dev/null", O_RDWR);
        (void)setpgid(0, 0);
        (void)sigprocmask(SIG_SETMASK, &lab->mask, NULL);
        for (int i = 0; i < 3 && null >= 0; i++)
            (void)dup2(null, i);
        (void)execv(arguments.values[0], (char *const *)arguments.values);
        _exit(EXIT_OURS);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNAL_BASE + WTERMSIG(status);
}
