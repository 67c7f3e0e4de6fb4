/* What `hybrid exec` changes of a process, in the words of runc's and crun's exec. */
#ifndef HYBRID_CLI_EXEC_OPTIONS_H
#define HYBRID_CLI_EXEC_OPTIONS_H

#include <jansson.h>
#include <limits.h>
#include <stdint.h>

#include "cli.h"
#include "runtime/state/state.h"

struct exec_changes {
    struct option_list capabilities, groups;
    const char *apparmor, *label; /* NULL: the workload's */
    const char *cgroup;           /* below the container's; NULL: that one */
    bool no_new_privileges;
};

/*
 * What a workload, or the process object of --process, leaves no room for. Returns 0, or -1 with
 * *err.
 */
int exec_changes_check(const struct exec_changes *changes, const struct state *state,
                       bool has_process, struct error *err);

/* Makes them in an OCI process object. Returns 0, or -1 with *err. */
int exec_changes_make(const struct exec_changes *changes, json_t *process, struct error *err);

/*
 * Those that --cap names, bit n = capability n, without what is no name of one: more than the
 * workload has, so that a policy is to be asked. AppArmor profiles and SELinux labels no policy
 * judges, neither these nor a bundle's.
 */
uint64_t exec_changes_capabilities(const struct exec_changes *changes);

/* The cgroup that the process is to join: "" if the workload has none. Returns 0, or -1 with *err.
 */
int exec_changes_cgroup(const struct exec_changes *changes, const struct state *state,
                        char name[PATH_MAX], struct error *err);

#endif
