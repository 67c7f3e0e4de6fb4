/*
 * A cgroup that systemd makes: the one of a transient scope, a unit that holds processes which
 * systemd has not started itself. Where systemd runs, it takes the tree of cgroups for its own;
 * a delegated scope is the part of it that it leaves to others (systemd's CGROUP_DELEGATION.md).
 *
 * It is asked by its own programs, systemd-run and systemctl, not over its bus by ours: libdbus has
 * no use in a static program, since Debian's needs libsystemd, of which there is no static one;
 * busctl would have us write values as the bus does, and does not wait for a job. Those two are
 * there wherever systemd is, wait for what they asked for, refuse what it does not know by its
 * name, know every property in the form of systemd.resource-control(5), and as root need no
 * message bus.
 */
#ifndef HYBRID_CGROUP_SCOPE_H
#define HYBRID_CGROUP_SCOPE_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "plan.h"

enum { SCOPE_UNIT_SIZE = 256 /* what systemd bears, with the NUL */ };

struct cgroup_scope {
    char slice[SCOPE_UNIT_SIZE]; /* "machine.slice" */
    char unit[SCOPE_UNIT_SIZE];  /* "libpod-1f2e.scope" */
    char path[PATH_MAX];         /* of its cgroup: "machine.slice/libpod-1f2e.scope" */
    char description[160];
    char **properties; /* "NAME=VALUE" of the configuration, NULL-terminated; owned */
};

/*
 * The scope of a container. cgroups_path: linux.cgroupsPath as engines write it for systemd,
 * "SLICE:PREFIX:NAME", for the unit PREFIX-NAME.scope in SLICE (system.slice if that is empty);
 * NULL: hybrid-ID.scope in system.slice. annotations: the configuration's, of which
 * "org.systemd.property.NAME" are properties of the unit, of which only those are taken that change
 * nothing but this container; NULL: none. Pure. Returns 0, or -1 with *err; cgroup_scope_free is
 * safe either way.
 */
int cgroup_scope_make(const char *cgroups_path, const char *id, const json_t *annotations,
                      struct cgroup_scope *scope, struct error *err);
void cgroup_scope_free(struct cgroup_scope *scope);

/*
 * Refuses a host that systemd does not run, or that lacks the programs by which it is asked.
 * Returns 0, or -1 with *err.
 */
int cgroup_scope_check_host(struct error *err);

/* Whether systemd runs this host (sd_booted(3)). */
bool cgroup_scope_host_has_systemd(void);

/* Whether those programs are where they are called. */
bool cgroup_scope_has_tools(void);

/* --- inside of the room ------------------------------------------------------------------------
 */

struct cgroup;

/* Words of a command line; the strings are its own. */
struct scope_words {
    char **words; /* NULL-terminated */
    size_t count;
    bool failed; /* there was no memory for one */
};

__attribute__((format(printf, 2, 3))) void scope_words_add(struct scope_words *words,
                                                           const char *format, ...);
void scope_words_free(struct scope_words *words);

/*
 * Adds the limits as assignments of a unit file, those that systemd has words for: so that it
 * writes nothing else into the control files, whenever it writes into them. v1: whether the host's
 * controllers are those of version 1. Pure.
 */
void scope_words_add_limits(struct scope_words *words, const struct plan_resources *resources,
                            bool v1);

/* The same of devices, where the kernel's control files are the rules (v1). Pure. */
void scope_words_add_devices(struct scope_words *words, const struct plan_resources *resources);

/*
 * Has systemd make the scope, and keeps a process in it, without which there would be none. Returns
 * 0, or -1 with *err and no scope.
 */
int scope_start(struct cgroup *cgroup, const struct cgroup_scope *scope,
                const struct plan_resources *resources, struct error *err);

/* Ends that process, if there is one. */
void scope_leave(struct cgroup *cgroup);

/* Tells systemd of other limits. Returns 0, or -1 with *err. */
int scope_set_limits(const char *unit, const struct plan_resources *resources, struct error *err);

/* The last component of a cgroup's path. */
const char *scope_unit_of(const char *path);

/*
 * Whether it is the name of a unit of that type (".scope"), by what systemd.unit(5) allows: from
 * anything else systemd would make another name, or take it for a pattern of several. Pure.
 */
bool scope_is_unit_name(const char *name, const char *type);

/*
 * Where a slice is in the tree: "a-b.slice" is "a.slice/a-b.slice/" (systemd.slice(5)), "-.slice"
 * the root, "". Returns the length, or -1 if it is no slice's name. Pure.
 */
int scope_expand_slice(const char *slice, char path[PATH_MAX]);

/*
 * Whether `path`, all of it, is where systemd puts the scope of its last component, which is in
 * that slice: a path that only ends like it is somebody's own. Pure.
 */
bool scope_path_is(const char *path, const char *slice);

/* Whether systemd has the scope whose cgroup is at `path`, or is about to make it. */
bool scope_is_at(const char *path);

/* Has systemd forget the unit, whose processes have been killed. Returns 0, or -1 with *err. */
int scope_stop(const char *unit, struct error *err);

#endif
