/* What `hybrid doctor` looks at: a table of checks, each of which tries what a workload needs. */
#ifndef HYBRID_DOCTOR_H
#define HYBRID_DOCTOR_H

#include <stdbool.h>

#include "error.h"
#include "runtime/runtime.h"

enum finding_status {
    FINDING_GOOD,
    FINDING_NOTE,    /* something is missing that only some options need */
    FINDING_MISSING, /* the isolations of `needed_by` do not work */
};

struct finding {
    enum finding_status status;
    char text[600];
    char remedy[600]; /* "" where there is nothing to do */
};

enum { NEEDED_BY_CONTAINER = 1, NEEDED_BY_VM = 2, NEEDED_BY_BOTH = 3 };

struct check {
    const char *name; /* one word, for scripts */
    unsigned int needed_by;
    void (*look)(const struct runtime *runtime, struct finding *finding);
};

/* Each ends with a name of NULL. */
extern const struct check host_checks[], machine_checks[], network_checks[];

/* What an error of a workload's says, without that it points here. Changes *err. */
const char *doctor_plain(struct error *err);

/* filesystems.c */
void doctor_look_file_systems(const struct runtime *runtime, struct finding *finding);

/* store.c */
void doctor_look_store(const struct runtime *runtime, struct finding *finding);

/* Fills in what was found; the remedy may be NULL. */
__attribute__((format(printf, 4, 5))) void finding_set(struct finding *finding,
                                                       enum finding_status status,
                                                       const char *remedy, const char *format, ...);

/* Whether a program is in PATH or where Debian keeps those of root. */
bool doctor_has_program(const char *name);

#endif
