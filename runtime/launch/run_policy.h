/* The policy as `hybrid run` and `hybrid start` meet it: who calls, with which image and options.
 */
#ifndef HYBRID_RUN_POLICY_H
#define HYBRID_RUN_POLICY_H

#include "runtime/image/store.h"
#include "runtime/plan/compose.h"
#include "runtime/policy/policy.h"
#include "runtime/runtime.h"
#include "runtime/state/state.h"

/* All zero: no policy was asked. Freed by run_policy_free. */
struct run_policy {
    struct policy *policy;
    struct policy_caller caller;
    struct policy_identity identity;
    struct policy_decision decision;
    json_t *annotations, *mount_sources, *signers, *hooks; /* behind the identity */
};

/*
 * Decides about an image with options, and writes the decision into config: floors, and the
 * annotation hybrid.isolation. The image must outlive *policy. Returns 0, or -1 with *err.
 */
int run_policy_decide(const struct runtime *runtime, const struct run_options *options,
                      const struct store_image *image, json_t *config, struct run_policy *policy,
                      struct error *err);

/*
 * Appends the decision to the audit file. decided: what run_policy_decide returned, with *err if it
 * failed. Returns it, or -1 with *err: what cannot be recorded must not run.
 */
int run_policy_record(const struct runtime *runtime, const char *id,
                      const struct run_policy *policy, int decided, struct error *err);

/* What an engine's bundle is in a pod. */
struct run_policy_part {
    bool sandbox; /* neither container nor VM, where a VM is asked for or decided */
    /* CLONE_NEW*: its paths lead to the host's, which stand for those of the VM that it is refused
     * outside of: they give it nothing of the host. */
    unsigned int guests;
};

/*
 * The same for an engine's bundle, recorded: floors are written into config. All annotations are
 * the caller's. *vm: whether one is asked for; then, whether one it is to be. *decision: for the
 * state, a new reference; NULL: there is no policy. Returns 0, or -1 with *err.
 */
int run_policy_decide_bundle(const struct runtime *runtime, const char *id, json_t *config,
                             const struct run_policy_part *part, bool *vm, json_t **decision,
                             struct error *err);

/*
 * Decides about a further process of an engine's, and writes the floors into it; config: of the
 * container; named: as in policy_enforce_process. Returns 0, or -1 with *err.
 */
int run_policy_enforce_process(const struct runtime *runtime, const json_t *config, uint64_t named,
                               json_t *process, struct error *err);

/* Whether limits that an engine changes keep the policy's. Returns 0, or -1 with *err. */
int run_policy_check_resources(const struct runtime *runtime, const json_t *resources,
                               struct error *err);

/*
 * Whether a stopped workload may start again as it was made, by the policy of today. *config_text,
 * malloc'd, is exchanged for one that opens what was judged, or, without a policy, what its paths
 * lead to now. Returns 0, or -1 with *err.
 */
int run_policy_check_start(const struct runtime *runtime, const struct state *state,
                           char **config_text, struct error *err);

/* The decision and whom it was about, for the state. New reference; NULL: there is no policy. */
json_t *run_policy_to_json(const struct run_policy *policy);

/* Adds the decision to a document, as the member "policy". */
int run_policy_add(const struct run_policy *policy, json_t *document);

/*
 * As run_policy_decide, and tells how each rule fared: *trace, a new reference, or NULL where the
 * policy or the caller could not be read.
 */
int run_policy_explain(const struct runtime *runtime, const struct run_options *options,
                       const struct store_image *image, json_t *config, struct run_policy *policy,
                       json_t **trace, struct error *err);

void run_policy_free(struct run_policy *policy);

#endif
