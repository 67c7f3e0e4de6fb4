/* Programs of the host's that are run for what they do: hooks, and the tools of systemd. */
#ifndef HYBRID_PROGRAM_H
#define HYBRID_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

#include "error.h"

struct program {
    const char *what;        /* for messages: "the prestart hook" */
    const char *path;        /* absolute */
    const char *const *argv; /* NULL-terminated */
    const char *const *env;  /* NULL-terminated: this and nothing else */
    int timeout;             /* seconds; 0: none */
};

/* A file in memory with this content, read from its start. Returns -1 with *err. */
int program_memory_file(const char *content, struct error *err);

/*
 * Starts it in a process group of its own, with these descriptors as 0, 1 and 2 and no others.
 * dies_with_caller: it is killed when the calling thread ends. Returns its number, or -1 with *err.
 */
pid_t program_start(const struct program *program, const int streams[3], bool dies_with_caller,
                    struct error *err);

/* Waits at most as long as it may take. Returns its wait status, or -1 with *err, and it is killed.
 */
int program_await(const struct program *program, pid_t pid, struct error *err);

/*
 * Why it failed: its wait status, and the end of what it wrote into the file `output`, as a
 * terminal may show it. Returns -1.
 */
int program_explain(const struct program *program, int status, int output, struct error *err);

/*
 * Starts it with `input` as its standard input, and waits for it. Returns 0, or -1 with *err.
 * exit_status: receives its exit status, -1 if it has none; NULL: nobody asks.
 */
int program_run(const struct program *program, const char *input, int *exit_status,
                struct error *err);

#endif
