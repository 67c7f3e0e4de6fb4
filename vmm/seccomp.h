/* The system calls that each kind of thread may make. */
#ifndef HYBRID_VMM_SECCOMP_H
#define HYBRID_VMM_SECCOMP_H

#include "error.h"

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum seccomp_thread {
    SECCOMP_STARTUP = 1, /* the whole process, from the jail on */
    SECCOMP_VCPU = 2,    /* runs the guest */
    SECCOMP_DISK = 4,    /* one block device */
    SECCOMP_LOOP = 8,    /* vsock, console, control socket */
    SECCOMP_SHARE = 16,  /* the file system device's talk with its virtiofsd */
};

enum seccomp_condition {
    SECCOMP_ALWAYS,
    SECCOMP_EQUALS, /* the argument's low 32 bits are value */
    SECCOMP_CLEAR,  /* none of the bits of value is set in them */
    SECCOMP_WHOLE,  /* the argument is value, with all its 64 bits: an address in memory */
    SECCOMP_HIGH,   /* the argument is an address above 32 bits */
    SECCOMP_ABSENT, /* not allowed: it fails with ENOSYS, so that the caller does without */
};

struct seccomp_rule {
    uint32_t threads; /* enum seccomp_thread, or'ed: those that may make this call */
    int call;         /* __NR_* */
    const char *name;
    enum seccomp_condition condition;
    unsigned argument; /* number of the argument that the condition looks at */
    uint32_t value;
    const char *reason;
};

extern const struct seccomp_rule seccomp_rules[];
extern const size_t seccomp_rule_count;

enum {
    SECCOMP_MAX_PROGRAM = 720, /* instructions */
    SECCOMP_RULE_STEPS = 7,    /* of them, at most, for one rule */
    SECCOMP_FRAME_STEPS = 5,   /* around the rules */
};

/*
 * Writes the filter of a kind of thread: what no rule allows kills the process. Returns the number
 * of instructions, at most SECCOMP_MAX_PROGRAM.
 */
size_t seccomp_assemble(enum seccomp_thread thread, struct sock_filter *program);

/*
 * Applies the filter to the calling thread (and those it starts). Filters add up: a call must pass
 * all. Needs no_new_privs. Returns 0, or -1 with err.
 */
int seccomp_enter(enum seccomp_thread thread, struct error *err);

/*
 * Prints the table, a line a system call: its name, and the kinds of threads that may make it while
 * the guest runs ("vcpu,loop"), or "startup".
 */
void seccomp_print(FILE *out);

#endif
