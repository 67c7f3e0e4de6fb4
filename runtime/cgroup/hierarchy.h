/* Inside of the room: the hierarchies of a host, and small files in their directories. */
#ifndef HYBRID_CGROUP_HIERARCHY_H
#define HYBRID_CGROUP_HIERARCHY_H

#include <stdbool.h>
#include <stddef.h>

#include "cgroup.h"
#include "scope.h"

/* An extended attribute of the first of a cgroup's directories. */
#define CGROUP_OWNER "trusted.hybrid.owner"
/* Another: of the unit that it is the cgroup of. So whoever has its name knows that systemd is to
 * be told of changes, also after a crash. */
#define CGROUP_UNIT "trusted.hybrid.unit"

enum { CGROUP_MAX_V1 = 20, CGROUP_OPTIONS_SIZE = 64, HIERARCHY_V1_COUNT = 15 };

/* A cgroup directory of one v1 hierarchy. */
struct v1_directory {
    char options[CGROUP_OPTIONS_SIZE]; /* "memory", "cpu,cpuacct", "name=systemd" */
    int fd;
};

struct cgroup {
    char *name;
    int v2_fd; /* -1: none */
    struct v1_directory v1[CGROUP_MAX_V1];
    int task_fds[CGROUP_MAX_V1];
    const char *task_hierarchies[CGROUP_MAX_V1];
    size_t v1_count;
    bool crowded; /* one above it has processes, and so hands it no controllers of v2 */
    bool claimed; /* the name is ours alone: who makes it holds the first directory's lock */
    char unit[SCOPE_UNIT_SIZE]; /* the scope of systemd's; "": none */
    pid_t seat_pid;             /* holds the scope until the workload is in it; 0: none */
    int seat_fd;                /* it ends when this is closed */
    uint64_t exact_pids;        /* the limit of processes, without room for it; 0: none */
};

/*
 * The root of the v2 hierarchy, O_PATH, if the host has one and the cgroup's v1 directories (opened
 * before) lack a controller that it needs; -1 otherwise.
 */
int hierarchy_open_v2(const struct cgroup *cgroup);

/* The same, needed or not. */
int hierarchy_open_any_v2(void);

/*
 * Opens the root of the n-th v1 hierarchy we use (n from 0) and says how it is called. Returns the
 * descriptor, -1 if this host does not have it, or -2 past the last.
 */
int hierarchy_open_v1(size_t n, char options[CGROUP_OPTIONS_SIZE]);

/* The root of the hierarchy by which cgroups are frozen: v1's, else that of v2; -1: none. */
int hierarchy_open_freezer(void);

/* Whether the workload gets a cgroup in the v1 hierarchy: some are joined only if a limit asks. */
bool hierarchy_is_wanted(const char *options, const struct plan_resources *resources);

/* Whether a limit asks for a controller that only v2 has. */
bool hierarchy_needs_v2(const struct cgroup *cgroup, const struct plan_resources *resources);

/* Whether one of the comma-separated names in options is `controller`. */
bool hierarchy_has(const char *options, const char *controller);

/* The directory of the v1 controller, or -1. */
int cgroup_v1_fd(const struct cgroup *cgroup, const char *controller);

/* Writes a value to a file of the directory, in one write. Returns 0, or -1 with errno. */
int cgroup_write_file(int directory_fd, const char *file, const char *value);

/* Reads a file as text with a terminating NUL. Returns the length, or -1 with errno. */
ssize_t cgroup_read_file(int directory_fd, const char *file, char *text, size_t size);

/* The number after `key` and a space in a flat keyed file; 0 if it is not there. */
uint64_t cgroup_read_key(int directory_fd, const char *file, const char *key);

/* Refuses names that are absolute or have empty, `.` or `..` components. Returns 0, or -1 with
 * *err. */
int cgroup_check_name(const char *name, struct error *err);

/*
 * Whether somebody's cgroup of that name is frozen. fd: of the first directory of ours. If we made
 * it, that one is asked when it is complete; but the name may be somebody's in the hierarchy that
 * freezes, if that is another one.
 */
bool cgroup_name_is_frozen(const char *name, int fd, bool made);

/* Whether a process is in the directory's cgroup or in one below it. */
bool cgroup_tree_is_populated(int directory_fd);

/* The same in any of the host's hierarchies, for a cgroup of that name. */
bool cgroup_name_is_populated(const char *name);

/* Whether it, or one above it, is frozen: what comes in stops there. */
bool cgroup_is_frozen(const struct cgroup *cgroup);

/* Removes the cgroup of that name as far as no process is in it; ends none. */
void cgroup_remove_empty(const char *name);

/* Sends a signal to every process that is in the directory's cgroup or below it at the moment. */
void cgroup_signal_tree(int directory_fd, int signal);

/*
 * Moves the processes of the first hierarchy into all others where they are not. Returns 0, or -1
 * with *err.
 */
int cgroup_gather(const struct cgroup *cgroup, struct error *err);

/* controllers.c: whether the v2 directory has the files of what a workload with these limits needs.
 */
bool controllers_are_there(int directory_fd, const struct plan_resources *resources);

/*
 * Passes the controllers on to the children of every ancestor, from the root down. An ancestor with
 * processes is refused that (EBUSY), as the root of a container that has not made room. It would
 * take three of them, by becoming a threaded domain: then no process could be in its children
 * (cgroup-v2.rst, "Threads"). So it is given none. Returns whether that was so.
 */
bool controllers_enable(int root_fd, const char *name);

/* The value of a control file. */
enum { CONTROL_VALUE_SIZE = 256 };
struct control_value {
    const char *file;
    char text[CONTROL_VALUE_SIZE];
};

/* The n-th limit (from 0) on v1 or v2. Returns 1, 0 if it is not given there, -1 past the last. */
int resources_value(const struct plan_resources *resources, size_t n, bool v2,
                    struct control_value *value);

/* Quota and period as v2 has them. Returns whether they are given. */
bool resources_quota(const struct plan_resources *resources, struct control_value *value);

/* Adds what a limit that is given needs beside it, from what is in force. 0, or -1 with *err. */
int resources_complete(const struct cgroup *cgroup, struct plan_resources *resources,
                       struct error *err);

/* resources.c, devices.c */
int resources_apply(struct cgroup *cgroup, const struct plan_resources *given, struct error *err);
int resources_settle(struct cgroup *cgroup, struct error *err); /* without the seat's process */
int devices_apply_v1(int directory_fd, const struct plan_device_rule *rules, size_t count,
                     struct error *err);
int devices_apply_v2(int directory_fd, const struct plan_device_rule *rules, size_t count,
                     struct error *err);

#endif
