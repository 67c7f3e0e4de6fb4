/* Which namespaces the child is born in, and which it enters by itself. */
#ifndef HYBRID_SANDBOX_NAMESPACES_H
#define HYBRID_SANDBOX_NAMESPACES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox.h"

/* Flags of clone3 for the namespaces made at birth. */
uint64_t namespaces_at_birth(const struct sandbox_request *request);

/* Whether the child ends up in a user namespace other than the caller's. */
bool namespaces_have_user(const struct sandbox_request *request);

/* The caller's own namespaces, while its children are to be born in others; -1: not changed. */
struct namespaces_restore {
    int pid_fd, time_fd;
};

/*
 * In the caller: refuses a plan that changes, or shows, what belongs to a namespace, and joins the
 * host's by its path: the parser can only see that there is one. Returns 0, or -1 with *err.
 */
int namespaces_check(const struct plan *plan, struct error *err);

/*
 * In the caller: makes its next child be born in the pid namespace to be joined, and in a new time
 * namespace. *restore (-1, -1 before) is to be given to namespaces_restore after clone3, also on
 * failure. Returns 0, or -1 with *err.
 */
int namespaces_prepare(const struct sandbox_request *request, struct namespaces_restore *restore,
                       struct error *err);
int namespaces_restore(struct namespaces_restore *restore, struct error *err);

/* In the caller: writes the id maps of a new user namespace. Returns 0, or -1 with *err. */
int namespaces_write_maps(const struct plan *plan, pid_t pid, struct error *err);

/* In the child: joins the others, and makes those that could not be made at birth. */
int namespaces_enter(const struct sandbox_request *request, struct error *err);

#endif
