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

/*
 * In the caller: makes its next child be born in the pid namespace to be joined. *restore_fd: to be
 * given to namespaces_restore after clone3; -1 if there is none. Returns 0, or -1 with *err.
 */
int namespaces_prepare(const struct sandbox_request *request, int *restore_fd, struct error *err);
int namespaces_restore(int restore_fd, struct error *err);

/* In the caller: writes the id maps of a new user namespace. Returns 0, or -1 with *err. */
int namespaces_write_maps(const struct plan *plan, pid_t pid, struct error *err);

/* In the child: joins the others, and makes those that could not be made at birth. */
int namespaces_enter(const struct sandbox_request *request, struct error *err);

#endif
