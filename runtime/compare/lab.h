/* What the measuring parts share: running hybrid, and where results go. */
#ifndef HYBRID_COMPARE_LAB_H
#define HYBRID_COMPARE_LAB_H

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#include "compare.h"

struct lab {
    const struct compare_request *request;
    int signals;      /* signalfd of what ends us */
    sigset_t mask;    /* the caller's */
    unsigned started; /* jobs, for their names */
    bool available[ISOLATIONS];
    char reasons[ISOLATIONS][512]; /* why not */
    json_t *values;                /* "TOPIC.ROW" -> isolation -> value */
};

/* Bytes that a job has written. */
struct job_text {
    int fd; /* -1: closed */
    char *data;
    size_t length, room;
};

struct job_spec {
    enum compare_isolation isolation;
    const char *const *command; /* ends with NULL */
    const char *const *options; /* more of them for `run`; NULL: none */
    bool image_command;         /* the command is of the image: no probe is brought */
    bool keep;                  /* the writable layer is on disk */
    bool input;                 /* job.input is its standard input */
    bool held;                  /* waits for job_release before anything is executed */
};

/* One `hybrid run`. */
struct job {
    char name[64];
    enum compare_isolation isolation;
    pid_t pid;
    int pidfd, input, gate;
    struct job_text out, errors, stamps;
    int64_t started, first_byte, ended; /* stamp_now() */
    int64_t deadline;
    int status; /* of waitpid(2) */
    bool keep, is_over;
};

/* The workload of a probe: `words` follow /.hybrid/probe; ends with NULL. */
#define PROBE(...) ((const char *const[]){ "/.hybrid/probe", __VA_ARGS__, NULL })

/* Starts it. Returns 0, or -1 with *err and nothing left behind. */
int job_start(struct lab *lab, const struct job_spec *spec, struct job *job, struct error *err);

/* Lets a held job go on. */
void job_release(struct job *job);

/*
 * Waits until so many whole lines were written, or the job is over. Returns 1, 0 if it ended
 * before, or -1 with *err (a signal, a timeout).
 */
int job_wait_lines(struct lab *lab, struct job *job, size_t lines, struct error *err);

/* Waits until the job is over. Returns its exit status, or -1 with *err. */
int job_wait_end(struct lab *lab, struct job *job, struct error *err);

/* Ends and removes what there is of it, frees. To be called after job_start, whatever happened. */
void job_close(struct lab *lab, struct job *job);

/* What it said last on standard error, without the program's name. */
void job_reason(const struct job *job, char *text, size_t size);

/*
 * Runs the probe to its end and takes the lines it wrote as JSON: a new array. Returns NULL with
 * *err; exit code 0 there means that this measurement failed, others that all has to end.
 */
json_t *job_probe(struct lab *lab, const struct job_spec *spec, struct error *err);

/* Executes `hybrid WORDS...` to its end, silently. Returns its exit status, or -1. */
int lab_call(const struct lab *lab, const char *const *words);

/* Says what is being measured. */
void lab_progress(const struct lab *lab, const char *what, enum compare_isolation isolation);

/* Whether a failed measurement means that everything ends: a signal came. */
bool lab_must_end(const struct error *err);

/* Results; `row` is "TOPIC.NAME". Samples are sorted. */
void lab_set_samples(struct lab *lab, const char *row, enum compare_isolation isolation,
                     int64_t *samples, size_t count);
void lab_set_number(struct lab *lab, const char *row, enum compare_isolation isolation,
                    int64_t value);
void lab_set_text(struct lab *lab, const char *row, enum compare_isolation isolation,
                  const char *text);
void lab_set_missing(struct lab *lab, const char *row, enum compare_isolation isolation,
                     const char *why);
/* The same for every row of a topic that has no value yet. */
void lab_set_topic_missing(struct lab *lab, enum compare_topic topic,
                           enum compare_isolation isolation, const char *why);
/* Adds a remark to a value that is there. */
void lab_set_note(struct lab *lab, const char *row, enum compare_isolation isolation,
                  const char *note);
const json_t *lab_value(const struct lab *lab, const char *row, enum compare_isolation isolation);

/* Numbers of a JSON array, malloc'd; NULL: none. */
int64_t *lab_numbers(const json_t *array, size_t *count);

/* A measurement of one topic in one isolation. Returns 0, or -1 with *err when all has to end. */
typedef int lab_measure(struct lab *lab, enum compare_isolation isolation, struct error *err);

lab_measure measure_start, measure_stop, measure_memory, measure_cost, measure_reach, measure_host,
    measure_neighbours;

#endif
