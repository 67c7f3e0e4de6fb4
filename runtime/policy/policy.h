/*
 * The policy: which isolation a workload gets, whether it may run at all, and the floor of
 * restrictions that always holds.
 *
 * Rules are read in order. A rule that looks only at what the caller cannot choose - the image's
 * digest, its signer, the registry that it was pulled from, the tenant - decides, and the reading
 * ends. A rule that also looks at what the caller or the image's author chooses (the image's name,
 * which `tag` and `load` give to any content; labels, capabilities, mounts, devices, namespaces,
 * hooks) can only strengthen: when it matches and is stronger than what is decided in the end, it
 * counts instead. Hence no option, name or label ever yields less than the policy gives without it.
 * container < vm < deny.
 *
 * Pure but for load.c (the file, the caller), paths.c (where paths lead) and audit.c (the record).
 * For every way to start a workload:
 *
 *     policy_load(...)                      the policy in force, or NULL: there is none
 *     policy_caller_read(...)               who calls
 *     policy_enforce(policy, identity, asked, config, &decision, err)
 *                                           decides, and writes the floors into the OCI
 *                                           configuration, before plan_parse reads it
 *     policy_audit(...)                     also when it refused
 *
 * For `exec` with a process object of the caller's: policy_enforce_process. For `update` with new
 * limits: policy_check_resources.
 */
#ifndef HYBRID_POLICY_H
#define HYBRID_POLICY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

#define POLICY_DEFAULT_FILE "/etc/hybrid/policy.json"

/* By strength. */
enum policy_isolation { POLICY_AUTO, POLICY_CONTAINER, POLICY_VM, POLICY_DENY };

const char *policy_isolation_name(enum policy_isolation isolation);

/* "auto", "container", "vm", NULL: auto. */
enum policy_isolation policy_isolation_from_name(const char *name);

struct policy;

/*
 * Checks a document and makes it a policy. Takes a reference of its own. Unknown keys and values
 * are refused by their path. name: of the file, for messages. Returns NULL with *err.
 */
struct policy *policy_parse(json_t *document, const char *name, struct error *err);
void policy_free(struct policy *policy);
const char *policy_name(const struct policy *policy);
size_t policy_rule_count(const struct policy *policy);

static inline void cleanup_policy(struct policy **policy)
{
    policy_free(*policy);
}
#define _cleanup_policy_ __attribute__((cleanup(cleanup_policy)))

/* What the host knows of a workload. Everything is borrowed; NULL: not known, which matches no
 * rule that asks for it. */
struct policy_identity {
    const char *reference;      /* of the image, normalised */
    bool pulled;                /* index_entry.pulled: a registry gave this content that name */
    const char *digest;         /* of its manifest: hex of sha256 */
    const json_t *signers;      /* array: paths of keys that signed it (policy_find_signers) */
    uid_t uid;                  /* of the caller */
    const char *cgroup;         /* of the caller */
    const json_t *annotations;  /* given by the caller, never by the image: object of strings */
    const json_t *image_labels; /* object of strings; can only strengthen */
    const json_t
        *mount_sources; /* array: resolved sources of mounts, besides those of the config */
    unsigned int host_namespaces; /* CLONE_NEW*: joined by a path, and the host's */
    const json_t *hooks;          /* array: where the configuration's hooks lead, "" nowhere */
    bool sandbox; /* of a pod: instead of a VM a process of hybrid's own, which runs nothing */
};

/*
 * Which of the key files that rules name ("signature") have signed the image: *found is a new array
 * of their paths, as the rules write them. store: the image store, where `hybrid verify` wrote down
 * the keys; digest: hex, of the manifest. A key file that is missing, or that others than root
 * could have written, is an error: what it would decide is unknown. Returns 0, or -1 with *err.
 */
int policy_find_signers(const struct policy *policy, const char *store, const char *digest,
                        json_t **found, struct error *err);

/* What was asked for in so many words: what cannot be had is then refused, not mended. */
struct policy_asked {
    enum policy_isolation isolation;
    uint64_t capabilities; /* --cap-add: bit n = capability n */
    bool new_privileges;   /* no-new-privileges=false */
};

struct policy_decision {
    enum policy_isolation isolation; /* what the workload gets; POLICY_DENY: nothing */
    const char *policy;              /* borrowed from the policy; NULL: no policy is in force */
    const char *rule;                /* that decided, borrowed; NULL: no policy */
    json_t *floors;                  /* array of texts: restrictions that the policy added; owned */
    char refusal[512];               /* why it is refused; "" if it is not */
};

void policy_decision_free(struct policy_decision *decision);

/*
 * Decides, and writes the floors into `config` (an OCI runtime configuration, also one that
 * plan_parse would refuse). policy NULL: what was asked for, or a container. *decision is filled
 * also on failure; the caller frees it. Returns 0, or -1 with *err: refused, by which rule or floor
 * and what to do.
 */
int policy_enforce(const struct policy *policy, const struct policy_identity *identity,
                   const struct policy_asked *asked, json_t *config,
                   struct policy_decision *decision, struct error *err);

/*
 * A further process in a workload that runs already: refused if the rules would have given more
 * than they gave, had `config` asked for this process; and the floors of a process (capabilities,
 * no_new_privileges) written into it. named: capabilities that `exec --cap` asked for in so many
 * words (bit n = capability n), which are refused if they are denied, not dropped. Returns 0, or -1
 * with *err.
 */
int policy_enforce_process(const struct policy *policy, const struct policy_identity *identity,
                           const json_t *config, uint64_t named, json_t *process,
                           struct error *err);

/* Whether new limits (linux.resources, those that change) keep the policy's. 0, or -1 with *err. */
int policy_check_resources(const struct policy *policy, const json_t *resources, struct error *err);

/* The decision for the state and the audit file. New reference; NULL: out of memory. */
json_t *policy_decision_to_json(const struct policy_decision *decision);

/*
 * Why rule `number` (from 0) does not match: the name of the first criterion that fails, or NULL
 * if it matches. *name: of the rule. *strengthens: it looks at what the caller or image chooses.
 */
const char *policy_rule_explain(const struct policy *policy, size_t number,
                                const struct policy_identity *identity, const json_t *config,
                                const char **name, const char **outcome, bool *strengthens);

/* --- load.c, paths.c, audit.c
 * ---------------------------------------------------------------------------*/

/*
 * Reads the policy of a file. path NULL: POLICY_DEFAULT_FILE, which may be absent: *policy is NULL
 * then. A file that others than root could have written is refused. Returns 0, or -1 with *err.
 */
int policy_load(const char *path, struct policy **policy, struct error *err);

struct policy_caller {
    uid_t uid;         /* who logged in, which sudo does not change; else the real user id */
    char cgroup[4096]; /* "" unknown */
};

void policy_caller_read(struct policy_caller *caller);

/* The caller's cgroup in the text of /proc/PID/cgroup: of v2, else of the first hierarchy that is
 * not at its root. Pure. */
void policy_cgroup_parse(const char *text, char *cgroup, size_t size);

/*
 * paths.c. The resolved sources of a configuration's mounts, as far as they are absolute, and of a
 * bundle its root.path, unless that is a directory below the working directory, the bundle: for
 * identity.mount_sources. Each is written beside its path (PLAN_RESOLVED_KEY), and is what is
 * opened later. A path through a link of procfs into another tree of files cannot be judged. New
 * reference, or NULL with *err.
 */
json_t *policy_pin_mounts(json_t *config, bool bundle, struct error *err);

/*
 * For identity.host_namespaces: a path can name the host's own. One that cannot be looked at counts
 * as the host's. Beside the path of one that is not, that is written (PLAN_NOT_HOSTS_KEY): joining
 * it fails if it is by then.
 */
unsigned int policy_pin_namespaces(json_t *config);

/* Removes what the two have written, or whoever wrote a configuration as if they had: it means
 * nothing without a judgement of today. Returns whether there was any. */
bool policy_unpin(json_t *config);

/* For identity.hooks: the programs of the host that the configuration's hooks are, resolved. New
 * reference. */
json_t *policy_resolve_hooks(const json_t *config);

enum { POLICY_AUDIT_BYTES = 4 << 20 }; /* then the file becomes NAME.1, in place of the older one */

/*
 * Appends a line to <data>/audit.jsonl. id: of the workload. No policy: nothing is written.
 * Returns 0, or -1 with *err: what cannot be recorded must not run.
 */
int policy_audit(const char *data, const char *id, const struct policy_identity *identity,
                 const struct policy_decision *decision, struct error *err);

#endif
