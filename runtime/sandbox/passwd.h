/*
 * Names of users and groups as the image's own /etc/passwd and /etc/group know them. The files are
 * the image's: regular files only, opened without blocking, of bounded size, and parsed strictly.
 */
#ifndef HYBRID_SANDBOX_PASSWD_H
#define HYBRID_SANDBOX_PASSWD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

struct passwd_entry {
    bool found;
    uid_t uid;
    gid_t gid;
    char name[256];
    char home[1024];
};

/*
 * A user by name, or by number where `name` is NULL. An image without the file has no users: not an
 * error. Returns 0, or -1 with *err.
 */
int passwd_find(int root_fd, const char *name, uid_t uid, struct passwd_entry *entry,
                struct error *err);

/* A group by name. Returns 1 (*gid is set), 0 if there is none, or -1 with *err. */
int group_find(int root_fd, const char *name, gid_t *gid, struct error *err);

/*
 * The groups that list `user` as a member, appended to *groups (realloc'd, the caller's)
 * unless they are in it already.
 * Returns 0, or -1 with *err.
 */
int group_collect(int root_fd, const char *user, gid_t **groups, size_t *count, struct error *err);

/*
 * A decimal id of digits only, at most 2^32-2. Returns 0, or -1: not a number of that form (a sign,
 * spaces and trailing characters make it a name instead).
 */
int id_parse(const char *text, uint32_t *id);

#endif
