/* Inside of the room. */
#ifndef HYBRID_POLICY_PARTS_H
#define HYBRID_POLICY_PARTS_H

#include "policy.h"

enum policy_seccomp { POLICY_SECCOMP_ANY, POLICY_SECCOMP_REQUIRED, POLICY_SECCOMP_DEFAULT };

enum { POLICY_CPU_PERIOD = 100000 }; /* microseconds */

struct policy_floors {
    enum policy_isolation isolation;
    bool no_new_privileges;
    enum policy_seccomp seccomp;
    uint64_t denied;                             /* capabilities */
    unsigned int denied_namespaces;              /* the host's: CLONE_NEW* */
    const json_t *allowed_hooks;                 /* paths; NULL: all; borrowed from the document */
    const json_t *masked_paths, *readonly_paths; /* borrowed likewise; NULL: none */
    const json_t *allowed_sysctls;               /* NULL: all */
    const json_t *denied_propagation;            /* "shared", "slave"; NULL: none */
    bool denied_sandboxes;                       /* of pods, in place of VMs */
    int64_t memory;                              /* bytes; 0: no limit is required */
    int64_t cpu_quota;                           /* microseconds a POLICY_CPU_PERIOD; 0 */
    int64_t pids;                                /* 0 */
};

struct policy {
    json_t *document; /* checked by check.c: every member has its type */
    char *name;
    const json_t *rules; /* of the document */
    enum policy_isolation fallback;
    struct policy_floors floors;
};

/* check.c: whether the document is a policy: keys, types, values. Returns 0, or -1 with *err. */
int policy_check(const json_t *document, struct error *err);

/*
 * load.c: opens a file that decides what is trusted: regular, root's, in a directory of root's, and
 * neither can be written by others. what: "policy", "key", for messages. Returns a descriptor,
 * POLICY_NO_FILE, or -1 with *err.
 */
enum { POLICY_NO_FILE = -2 };
int policy_open_file(const char *path, const char *what, struct error *err);

/* match.c: the name of the first criterion of `match` that fails, or NULL. */
const char *policy_match(const json_t *match, const struct policy_identity *identity,
                         const json_t *config);

/* Whether text is `prefix`, or goes on behind it at one of the boundaries. */
bool policy_begins_with(const char *text, const char *prefix, const char *boundaries);

/* Whether a path of the host lies at, below or above one of the places, or could. */
bool policy_exposes(const char *path, const json_t *places);
/* Whether a mount shows one of them, by what the configuration says of it. */
bool policy_mount_exposes(const json_t *mount, const json_t *places);

bool policy_mount_is_bind(const json_t *mount);

/* Whether the source of a mount is a path of the host that is opened for it. */
bool policy_mount_opens_source(const json_t *mount);

/* Whether it looks at anything that the caller or the image's author chooses. */
bool policy_match_can_be_chosen(const json_t *match);

/* "b 8:0", "c *:*", "a *:*"; -1 for "*". */
struct policy_device {
    char type;
    int64_t major, minor;
};
bool policy_device_parse(const char *text, struct policy_device *device);

/*
 * floors.c: writes the floors into the configuration; every change is a text in decision->floors.
 * Returns 0, or -1 with decision->refusal.
 */
int policy_apply_floors(const struct policy_floors *floors, const struct policy_identity *identity,
                        const struct policy_asked *asked, json_t *config,
                        struct policy_decision *decision);
/* Refuses those that `option` names and the policy denies. */
int policy_check_named(const struct policy_floors *floors, uint64_t capabilities,
                       const char *option, struct policy_decision *decision);
int policy_apply_process(const struct policy_floors *floors, json_t *process,
                         struct policy_decision *decision);

uint64_t policy_bounding_set(const json_t *config); /* capabilities of its process */

/* seccomp.c. is_default: policy_has_default_filter, before capabilities were dropped. Both checks
 * return 0, or -1 with decision->refusal. */
bool policy_has_default_filter(const json_t *config);
int policy_check_seccomp(enum policy_seccomp floor, const json_t *config, bool is_default,
                         struct policy_decision *decision);

/* host.c: the floors of namespaces and hooks. */
int policy_check_host(const struct policy_floors *floors, const struct policy_identity *identity,
                      const json_t *config, struct policy_decision *decision);
/* What was judged is what is executed, wherever a link in its path leads by then. */
int policy_pin_hooks(const struct policy_identity *identity, json_t *config,
                     struct policy_decision *decision);

/* exposure.c: the floors of masked and read-only paths, sysctls and propagation. config has the
 * object "linux". Returns 0, or -1 with decision->refusal. */
int policy_apply_exposure(const struct policy_floors *floors,
                          const struct policy_identity *identity, json_t *config,
                          struct policy_decision *decision);

/* Limits that a floor sets cannot be lifted from inside: mounts of cgroups become read-only, binds
 * of the host's are refused. Returns 0, or -1 with decision->refusal. */
int policy_apply_cgroup_mounts(const struct policy_identity *identity, json_t *config,
                               struct policy_decision *decision);

/* CLONE_NEW* of a name of the runtime-spec, or of a list of them; 0: there is none so called. */
unsigned int policy_namespace_flag(const char *name);
unsigned int policy_namespace_flags(const json_t *names);

/* Namespaces that are not the workload's own, as CLONE_NEW*. One may be both. */
struct policy_namespaces {
    unsigned int host, joined; /* joined: by a path */
};
struct policy_namespaces policy_namespaces_of(const json_t *config,
                                              const struct policy_identity *identity);

/* Hook `number` (from 0, of all kinds that run programs of the host), borrowed, or NULL. */
const json_t *policy_hook_at(const json_t *config, size_t number);

/* limits.c: the same as policy_apply_floors for linux.resources. missing: absent limits are set,
 * not only compared. */
int policy_apply_limits(const struct policy_floors *floors, bool missing, json_t *resources,
                        struct policy_decision *decision);

__attribute__((format(printf, 2, 3))) int policy_refuse(struct policy_decision *decision,
                                                        const char *format, ...);
__attribute__((format(printf, 2, 3))) int policy_note(struct policy_decision *decision,
                                                      const char *format, ...);

#endif
