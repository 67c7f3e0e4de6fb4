#include "run_policy.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "runtime/plan/compose_parts.h"

#define ISOLATION_KEY "hybrid.isolation"

/* --annotation KEY=VALUE; the last one of a key counts, as in the configuration. */
static json_t *read_annotations(const struct option_list *list)
{
    json_t *annotations = json_object();
    for (size_t i = 0; i < list->count; i++) {
        const char *text = list->values[i], *equals = strchr(text, '=');
        _cleanup_free_ char *key = equals ? strndup(text, (size_t)(equals - text)) : strdup(text);
        if (key)
            (void)json_object_set_new(annotations, key, json_string(equals ? equals + 1 : ""));
    }
    return annotations;
}

/* Capabilities that --cap-add names and that the workload would have. */
static int read_asked(const struct run_options *options, struct policy_asked *asked,
                      struct error *err)
{
    uint64_t added = 0, all;
    struct security_options security;
    if (compose_capabilities(options, &all, err) < 0 ||
        compose_security(options, &security, err) < 0)
        return -1;
    for (size_t i = 0; i < options->cap_add.count; i++) {
        const char *name = options->cap_add.values[i];
        added |=
            strcasecmp(name, "ALL") == 0 ? UINT64_MAX : UINT64_C(1) << capability_from_name(name);
    }
    *asked = (struct policy_asked){
        .isolation = policy_isolation_from_name(options->isolation),
        .capabilities = added & all,
    };
    for (size_t i = 0; i < options->security.count; i++)
        if (strncmp(options->security.values[i], "no-new-privileges", 17) == 0)
            asked->new_privileges = !security.no_new_privileges;
    return 0;
}

static const json_t *labels_of(const struct store_image *image)
{
    return json_object_get(json_object_get(image->config, "config"), "Labels");
}

static int identify(const struct runtime *runtime, const struct run_options *options,
                    const struct store_image *image, json_t *config, struct run_policy *policy,
                    struct error *err)
{
    if (policy_load(runtime->policy, &policy->policy, err) < 0)
        return -1;
    if (!policy->policy)
        return 0;
    if (policy_find_signers(policy->policy, runtime->store, image->manifest, &policy->signers,
                            err) < 0)
        return -1;
    policy_caller_read(&policy->caller);
    policy->annotations = read_annotations(&options->annotations);
    policy->mount_sources = policy_pin_mounts(config, false, err);
    if (!policy->mount_sources)
        return -1;
    policy->hooks = policy_resolve_hooks(config);
    policy->identity = (struct policy_identity){
        .reference = image->reference,
        .pulled = image->pulled,
        .digest = image->manifest,
        .signers = policy->signers,
        .uid = policy->caller.uid,
        .cgroup = policy->caller.cgroup,
        .annotations = policy->annotations,
        .image_labels = labels_of(image),
        .mount_sources = policy->mount_sources,
        .host_namespaces = policy_pin_namespaces(config),
        .hooks = policy->hooks,
    };
    return 0;
}

static int enforce(const struct run_options *options, json_t *config, struct run_policy *policy,
                   struct error *err)
{
    struct policy_asked asked;
    if (read_asked(options, &asked, err) < 0 ||
        policy_enforce(policy->policy, &policy->identity, &asked, config, &policy->decision, err) <
            0)
        return -1;
    json_t *name = json_string(policy_isolation_name(policy->decision.isolation));
    return compose_set(json_object_get(config, "annotations"), ISOLATION_KEY, name, err);
}

int run_policy_decide(const struct runtime *runtime, const struct run_options *options,
                      const struct store_image *image, json_t *config, struct run_policy *policy,
                      struct error *err)
{
    if (identify(runtime, options, image, config, policy, err) < 0)
        return -1;
    return enforce(options, config, policy, err);
}

int run_policy_record(const struct runtime *runtime, const char *id,
                      const struct run_policy *policy, int decided, struct error *err)
{
    struct error unrecorded = { 0 };
    if (policy_audit(runtime->data, id, &policy->identity, &policy->decision, &unrecorded) == 0)
        return decided;
    if (decided == 0)
        *err = unrecorded;
    return -1;
}

/* --- engines -------------------------------------------------------------------------------------
 */

static int identify_bundle(struct run_policy *policy, json_t *config,
                           const struct run_policy_part *part, struct error *err)
{
    policy_caller_read(&policy->caller);
    policy->annotations = json_deep_copy(json_object_get(config, "annotations"));
    policy->mount_sources = policy_pin_mounts(config, true, err);
    if (!policy->mount_sources)
        return -1;
    policy->hooks = policy_resolve_hooks(config);
    policy->identity = (struct policy_identity){
        .uid = policy->caller.uid,
        .cgroup = policy->caller.cgroup,
        .annotations = policy->annotations,
        .mount_sources = policy->mount_sources,
        .host_namespaces = policy_pin_namespaces(config) & ~part->guests,
        .hooks = policy->hooks,
        .sandbox = part->sandbox,
    };
    return 0;
}

/* A bundle that asks for nothing, or for a container, gets what the policy says. */
static int enforce_bundle(struct run_policy *policy, json_t *config,
                          const struct run_policy_part *part, bool *vm, struct error *err)
{
    const struct policy_asked asked = { .isolation = *vm ? POLICY_VM : POLICY_AUTO };
    if (identify_bundle(policy, config, part, err) < 0 ||
        policy_enforce(policy->policy, &policy->identity, &asked, config, &policy->decision, err) <
            0)
        return -1;
    *vm = policy->decision.isolation == POLICY_VM;
    return 0;
}

int run_policy_decide_bundle(const struct runtime *runtime, const char *id, json_t *config,
                             const struct run_policy_part *part, bool *vm, json_t **decision,
                             struct error *err)
{
    struct run_policy policy = { 0 };
    *decision = NULL;
    if (policy_load(runtime->policy, &policy.policy, err) < 0)
        return -1;
    if (!policy.policy)
        return 0;
    int result = enforce_bundle(&policy, config, part, vm, err);
    result = run_policy_record(runtime, id, &policy, result, err);
    if (result == 0)
        *decision = run_policy_to_json(&policy);
    run_policy_free(&policy);
    return result;
}

int run_policy_enforce_process(const struct runtime *runtime, const json_t *config, uint64_t named,
                               json_t *process, struct error *err)
{
    struct run_policy policy = { 0 };
    const struct run_policy_part none = { 0 };
    if (policy_load(runtime->policy, &policy.policy, err) < 0)
        return -1;
    if (!policy.policy)
        return 0;
    json_t *copy = json_deep_copy(config); /* what is open already is not pinned anew */
    int result = identify_bundle(&policy, copy, &none, err);
    if (result == 0)
        result =
            policy_enforce_process(policy.policy, &policy.identity, config, named, process, err);
    json_decref(copy);
    run_policy_free(&policy);
    return result;
}

int run_policy_check_resources(const struct runtime *runtime, const json_t *resources,
                               struct error *err)
{
    _cleanup_policy_ struct policy *policy = NULL;
    if (policy_load(runtime->policy, &policy, err) < 0)
        return -1;
    return policy_check_resources(policy, resources, err);
}

/* --- start ---------------------------------------------------------------------------------------
 */

/* What was decided then must be what is decided now, or less. */
static int compare_decision(const struct state *state, const json_t *then, const json_t *now,
                            const struct run_policy *policy, struct error *err)
{
    if (policy->decision.isolation == policy_isolation_from_name(state->isolation) &&
        json_equal(then, now))
        return 0;
    return error_set(err, EXIT_OURS,
                     "the policy %s asks for more today than %s was made with; remove the workload "
                     "and run it anew",
                     policy_name(policy->policy), state->id);
}

static int keep_text(const json_t *config, char **config_text, struct error *err)
{
    char *text = json_dumps(config, JSON_COMPACT);
    if (!text)
        return error_set(err, EXIT_OURS, "out of memory");
    free(*config_text);
    *config_text = text;
    return 0;
}

/* Made under a policy that is gone: what it judged then is not what is opened now. */
static int drop_pins(char **config_text, struct error *err)
{
    json_t *config = json_loads(*config_text, 0, NULL);
    int result = config && policy_unpin(config) ? keep_text(config, config_text, err) : 0;
    json_decref(config);
    return result;
}

int run_policy_check_start(const struct runtime *runtime, const struct state *state,
                           char **config_text, struct error *err)
{
    struct run_policy policy = { 0 };
    if (policy_load(runtime->policy, &policy.policy, err) < 0)
        return -1;
    if (!policy.policy)
        return drop_pins(config_text, err);
    json_t *then = json_loads(*config_text, 0, NULL);
    policy.mount_sources = policy_pin_mounts(then, false, err);
    policy.hooks = policy_resolve_hooks(then);
    const unsigned int host_namespaces = policy_pin_namespaces(then);
    json_t *now = json_deep_copy(then);
    const json_t *whom = json_object_get(state->policy, "identity");
    struct policy_asked asked = { .isolation = policy_isolation_from_name(state->isolation) };
    const char *digest = json_string_value(json_object_get(whom, "digest"));
    int result = policy.mount_sources ? 0 : -1;
    if (result == 0 && digest)
        result = policy_find_signers(policy.policy, runtime->store, digest, &policy.signers, err);
    policy_caller_read(&policy.caller);
    policy.identity = (struct policy_identity){
        .reference = state->image,
        .pulled = json_is_true(json_object_get(whom, "pulled")),
        .digest = digest,
        .signers = policy.signers,
        .uid = policy.caller.uid,
        .cgroup = policy.caller.cgroup,
        .annotations = json_object_get(whom, "annotations"),
        .image_labels = json_object_get(whom, "labels"),
        .mount_sources = policy.mount_sources,
        .host_namespaces = host_namespaces,
        .hooks = policy.hooks,
    };
    if (result == 0)
        result =
            policy_enforce(policy.policy, &policy.identity, &asked, now, &policy.decision, err);
    if (result == 0)
        result = compare_decision(state, then, now, &policy, err);
    if (result == 0)
        result = keep_text(then, config_text, err);
    result = run_policy_record(runtime, state->id, &policy, result, err);
    json_decref(then);
    json_decref(now);
    run_policy_free(&policy);
    return result;
}

json_t *run_policy_to_json(const struct run_policy *policy)
{
    if (!policy->policy)
        return NULL;
    json_t *value = policy_decision_to_json(&policy->decision);
    json_t *whom =
        json_pack("{s:s?, s:b, s:I, s:O?, s:O?}", "digest", policy->identity.digest, "pulled",
                  (int)policy->identity.pulled, "uid", (json_int_t)policy->identity.uid,
                  "annotations", policy->annotations, "labels", policy->identity.image_labels);
    if (json_object_set_new(value, "identity", whom) == 0)
        return value;
    json_decref(value);
    return NULL;
}

int run_policy_add(const struct run_policy *policy, json_t *document)
{
    if (!policy->policy)
        return 0;
    return json_object_set_new(document, "policy", policy_decision_to_json(&policy->decision));
}

/* How every rule fares with the configuration as it was asked for. */
static json_t *trace_rules(const struct run_policy *policy, const json_t *config)
{
    json_t *trace = json_array();
    bool read = true;
    size_t count = policy->policy ? policy_rule_count(policy->policy) : 0;
    for (size_t i = 0; i < count; i++) {
        const char *name, *outcome;
        bool strengthens;
        const char *fails = policy_rule_explain(policy->policy, i, &policy->identity, config, &name,
                                                &outcome, &strengthens);
        (void)json_array_append_new(trace, json_pack("{s:s, s:s, s:b, s:b, s:b, s:s?}", "name",
                                                     name, "isolation", outcome, "read", (int)read,
                                                     "matches", (int)!fails, "strengthens",
                                                     (int)strengthens, "differs", fails));
        read = read && (fails || strengthens);
    }
    return trace;
}

int run_policy_explain(const struct runtime *runtime, const struct run_options *options,
                       const struct store_image *image, json_t *config, struct run_policy *policy,
                       json_t **trace, struct error *err)
{
    *trace = NULL;
    if (identify(runtime, options, image, config, policy, err) < 0)
        return -1;
    *trace = trace_rules(policy, config);
    return enforce(options, config, policy, err);
}

void run_policy_free(struct run_policy *policy)
{
    policy_free(policy->policy);
    policy_decision_free(&policy->decision);
    json_decref(policy->annotations);
    json_decref(policy->mount_sources);
    json_decref(policy->signers);
    json_decref(policy->hooks);
    *policy = (struct run_policy){ 0 };
}
