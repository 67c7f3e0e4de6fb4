/* Which namespaces the child is born in, and which it enters by itself. */
#ifndef HYBRID_SANDBOX_NAMESPACES_H
#define HYBRID_SANDBOX_NAMESPACES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox.h"

enum { NAMESPACES_MAX = 8 };

/* Flags of clone3 for the namespaces made at birth. */
uint64_t namespaces_at_birth(const struct sandbox_request *request);

/* Whether the child ends up in a user namespace other than the caller's. */
bool namespaces_have_user(const struct sandbox_request *request);

/* The caller's own namespaces, while its children are to be born in others; -1: not changed. */
struct namespaces_restore {
    int pid_fd, time_fd;
};

/* Namespaces to be joined by a path, by enum plan_namespace; -1: none. */
struct namespaces_joined {
    int fds[NAMESPACES_MAX];
};

/*
 * Whether the child is to be born of a process that has joined namespaces for it (birth.c); and
 * what that process does: it joins them, and its children will be born in the pid namespace.
 * Returns 0, or -1 with *err.
 */
bool namespaces_join_early(const struct sandbox_request *request);
int namespaces_join_first(const struct sandbox_request *request,
                          const struct namespaces_joined *joined, struct error *err);

/*
 * In the caller, whose rights to look at the host's namespaces are not in question: opens all of
 * them, once, and refuses the host's where a policy judged that it is not (PLAN_NOT_HOSTS_KEY), or
 * where the plan would change, or show, what belongs to it. What was looked at is what the child
 * joins. Returns 0, or -1 with *err; namespaces_close in both cases.
 */
int namespaces_open(const struct sandbox_request *request, struct namespaces_joined *joined,
                    struct error *err);
void namespaces_close(struct namespaces_joined *joined);

/*
 * In the caller: makes its next child be born in the pid namespace to be joined, if that is not
 * left to namespaces_join_first (where namespaces_join_early), and in a new time namespace.
 * *restore (-1, -1 before) is to be given to namespaces_restore after clone3, also on failure.
 * Returns 0, or -1 with *err.
 */
int namespaces_prepare(const struct sandbox_request *request,
                       const struct namespaces_joined *joined, struct namespaces_restore *restore,
                       struct error *err);
int namespaces_restore(struct namespaces_restore *restore, struct error *err);

/* In the caller: writes the id maps of a new user namespace. Returns 0, or -1 with *err. */
int namespaces_write_maps(const struct plan *plan, pid_t pid, struct error *err);

/*
 * In the caller: whether a user namespace that was joined by path has the mappings that the plan
 * gives beside it, as podman, containerd and CRI-O do. Returns 0, also if there are none; or -1
 * with *err.
 */
int namespaces_check_maps(const struct plan *plan, pid_t pid, struct error *err);

/* In the child: joins the others, and makes those that could not be made at birth. */
int namespaces_enter(const struct sandbox_request *request, const struct namespaces_joined *joined,
                     struct error *err);

#endif
