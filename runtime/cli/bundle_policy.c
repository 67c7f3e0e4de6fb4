#include "bundle_policy.h"

#include "runtime/policy/policy.h"

/* A policy may ask for more than a bundle can be. */
static int check_isolation(const struct policy_decision *decision, struct error *err)
{
    if (decision->isolation != POLICY_VM)
        return 0;
    return error_set(err, EXIT_OURS,
                     "refused by the policy %s: rule \"%s\" gives vm, and only images can be VMs "
                     "so far (hybrid run IMAGE); nothing weaker is done instead",
                     decision->policy, decision->rule);
}

/* What the host knows of a bundle. The caller frees *sources. */
static struct policy_identity identify(const json_t *config, struct policy_caller *caller,
                                       json_t **sources)
{
    policy_caller_read(caller);
    *sources = policy_resolve_mounts(config);
    return (struct policy_identity){
        .uid = caller->uid,
        .cgroup = caller->cgroup,
        .annotations = json_object_get(config, "annotations"),
        .mount_sources = *sources,
        .host_network = policy_joins_host_network(config),
    };
}

static int decide(const struct cli *cli, const struct policy *policy, const char *id, bool vm,
                  json_t *config, json_t **recorded, struct error *err)
{
    struct policy_caller caller;
    json_t *sources;
    const struct policy_identity identity = identify(config, &caller, &sources);
    const struct policy_asked asked = { .isolation = vm ? POLICY_VM : POLICY_AUTO };
    struct policy_decision decision = { 0 };
    struct error unrecorded = { 0 };
    int result = policy_enforce(policy, &identity, &asked, config, &decision, err);
    if (result == 0)
        result = check_isolation(&decision, err);
    if (policy_audit(cli->data, id, &identity, &decision, &unrecorded) < 0 && result == 0) {
        *err = unrecorded;
        result = -1;
    }
    if (result == 0)
        *recorded = policy_decision_to_json(&decision);
    policy_decision_free(&decision);
    json_decref(sources);
    return result;
}

int bundle_policy_enforce(const struct cli *cli, const char *id, bool vm, json_t *config,
                          json_t **decision, struct error *err)
{
    struct policy *policy = NULL;
    *decision = NULL;
    if (policy_load(cli->policy, &policy, err) < 0)
        return -1;
    int result = policy ? decide(cli, policy, id, vm, config, decision, err) : 0;
    policy_free(policy);
    return result;
}

int bundle_policy_enforce_process(const struct cli *cli, const json_t *config, json_t *process,
                                  struct error *err)
{
    struct policy *policy = NULL;
    if (policy_load(cli->policy, &policy, err) < 0)
        return -1;
    if (!policy)
        return 0;
    struct policy_caller caller;
    json_t *sources;
    const struct policy_identity identity = identify(config, &caller, &sources);
    int result = policy_enforce_process(policy, &identity, config, process, err);
    json_decref(sources);
    policy_free(policy);
    return result;
}

int bundle_policy_check_resources(const struct cli *cli, const json_t *resources, struct error *err)
{
    struct policy *policy = NULL;
    if (policy_load(cli->policy, &policy, err) < 0)
        return -1;
    int result = policy ? policy_check_resources(policy, resources, err) : 0;
    policy_free(policy);
    return result;
}
