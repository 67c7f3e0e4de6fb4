/*
 * hybrid-probe: what `hybrid compare` runs inside a workload. It is in no image: compare puts it
 * below one as a layer of its own, /.hybrid/probe. It prints JSON, a line a finding, depends on
 * nothing but the kernel that it finds itself on, and changes nothing that outlives the workload.
 */
#ifndef HYBRID_PROBE_H
#define HYBRID_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { PROBE_LAST_CALL = 470 };

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline int64_t probe_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Runs it in a child, which is killed after a second. Returns the status of waitpid(2), or -1. */
int probe_in_child(int (*run)(void *context), void *context);

/* Writes text as a JSON string. */
void probe_print_string(const char *text);

/* Each is one word of the command line; returns the exit status. */
int probe_facts(char **arguments);
int probe_reach(char **arguments);
int probe_cost(char **arguments);
int probe_load(char **arguments);
int probe_victim(char **arguments);
int probe_aggressor(char **arguments);
int probe_crash(char **arguments);

/* What `cost` measures and `load` repeats: one operation; returns the times to divide by, or -1. */
struct probe_operation {
    const char *name;
    int (*prepare)(void); /* NULL: nothing; -1 with errno */
    int (*run)(void);
    void (*finish)(void);
    int most; /* samples */
};
extern const struct probe_operation probe_operations[]; /* ends with a name of NULL */

#endif
