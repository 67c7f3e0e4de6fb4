/*
 * What each kind of process of hybrid-image may do: system calls, places of the file system,
 * resources. A child's kind is added to its parent's, so that a list holds what its children's do.
 */
#ifndef HYBRID_CONFINE_H
#define HYBRID_CONFINE_H

#include <stdint.h>
#include <sys/types.h>

#include "runtime/image/helper/landlock.h"

enum confine_kind {
    CONFINE_NETWORK = 1, /* speaks to registries, as nobody; writes to descriptors it is given */
    CONFINE_STORE = 2,   /* writes the store, waits for the others; has no network */
    CONFINE_LAYER = 4,   /* unpacks one layer, and makes its file */
    CONFINE_TOOL = 8,    /* a program of another package that STORE runs */
};

enum confine_condition {
    CONFINE_ALWAYS,
    CONFINE_EQUALS, /* the argument is value */
    CONFINE_CLEAR,  /* none of the bits of value is set in the argument */
};

struct confine_call {
    uint32_t kinds; /* enum confine_kind, or'ed */
    int call;       /* __NR_* */
    const char *name;
    enum confine_condition condition;
    unsigned int argument; /* number of the argument that the condition looks at */
    uint64_t value;
    bool rare; /* other versions of libraries make it, or other machines: tests need not see it */
    const char *reason;
};

extern const struct confine_call confine_calls[];
extern const size_t confine_call_count;

/*
 * Confines the calling process, and what it starts or executes, to what its kind needs, and to the
 * places besides those that every process of its kind needs. A system call that is not listed ends
 * it with SIGSYS. Needs no_new_privs. Returns 0, or -1 with *err.
 */
int confine_enter(enum confine_kind kind, const struct landlock_place *places, size_t count,
                  struct error *err);

/* Says in *err how a process ended that should have exited: `what` and its wait status. -1. */
int confine_explain(const char *what, int status, struct error *err);

#endif
