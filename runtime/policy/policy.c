/* A policy from its document, and the decision of its rules. */
#include "policy.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"
#include "runtime/plan/compose.h"

#define BIT(number) (UINT64_C(1) << (number))

static const char *const isolation_names[] = {
    [POLICY_AUTO] = "auto",
    [POLICY_CONTAINER] = "container",
    [POLICY_VM] = "vm",
    [POLICY_DENY] = "deny",
};

static const char default_rule[] = "default";

const char *policy_isolation_name(enum policy_isolation isolation)
{
    return isolation_names[isolation];
}

enum policy_isolation policy_isolation_from_name(const char *name)
{
    for (int i = POLICY_DENY; i > POLICY_AUTO; i--)
        if (name && strcmp(name, isolation_names[i]) == 0)
            return (enum policy_isolation)i;
    return POLICY_AUTO;
}

static enum policy_isolation stronger(enum policy_isolation a, enum policy_isolation b)
{
    return a > b ? a : b;
}

/* --- from the document ---------------------------------------------------------------------------
 */

static enum policy_isolation read_isolation(const json_t *object, const char *key)
{
    return policy_isolation_from_name(json_string_value(json_object_get(object, key)));
}

static uint64_t read_capabilities(const json_t *list)
{
    uint64_t set = 0;
    size_t index;
    const json_t *entry;
    json_array_foreach(list, index, entry)
    {
        int number = capability_from_name(json_string_value(entry));
        set |= number < 0 ? UINT64_MAX : BIT(number); /* -1: ALL */
    }
    return set;
}

static void read_floors(const json_t *floors, struct policy_floors *result)
{
    const char *seccomp = json_string_value(json_object_get(floors, "seccomp"));
    const json_t *limits = json_object_get(floors, "limits");
    const char *memory = json_string_value(json_object_get(limits, "memory"));
    double cpus = json_number_value(json_object_get(limits, "cpus"));
    *result = (struct policy_floors){
        .isolation = read_isolation(floors, "isolation"),
        .no_new_privileges = json_is_true(json_object_get(floors, "no_new_privileges")),
        .denied = read_capabilities(json_object_get(floors, "denied_capabilities")),
        .denied_namespaces =
            policy_namespace_flags(json_object_get(floors, "denied_host_namespaces")),
        .allowed_hooks = json_object_get(floors, "allowed_hooks"),
        .masked_paths = json_object_get(floors, "masked_paths"),
        .readonly_paths = json_object_get(floors, "readonly_paths"),
        .allowed_sysctls = json_object_get(floors, "allowed_sysctls"),
        .denied_propagation = json_object_get(floors, "denied_propagation"),
        .denied_sandboxes = json_is_true(json_object_get(floors, "denied_sandboxes")),
        .memory = memory ? size_parse(memory, "memory", NULL) : 0,
        .cpu_quota = (int64_t)(cpus * POLICY_CPU_PERIOD + 0.5),
        .pids = json_integer_value(json_object_get(limits, "pids")),
    };
    if (seccomp)
        result->seccomp =
            strcmp(seccomp, "default") == 0 ? POLICY_SECCOMP_DEFAULT : POLICY_SECCOMP_REQUIRED;
}

struct policy *policy_parse(json_t *document, const char *name, struct error *err)
{
    struct error why = { 0 };
    if (policy_check(document, &why) < 0) {
        (void)error_set(err, EXIT_OURS, "the policy %s: %s", name, why.message);
        return NULL;
    }
    struct policy *policy = calloc(1, sizeof *policy);
    char *copy = strdup(name);
    if (!policy || !copy) {
        free(policy);
        free(copy);
        (void)error_set(err, EXIT_OURS, "cannot read the policy: out of memory");
        return NULL;
    }
    policy->document = json_incref(document);
    policy->name = copy;
    policy->rules = json_object_get(document, "rules");
    policy->fallback = read_isolation(document, "default");
    read_floors(json_object_get(document, "floors"), &policy->floors);
    return policy;
}

void policy_free(struct policy *policy)
{
    if (!policy)
        return;
    json_decref(policy->document);
    free(policy->name);
    free(policy);
}

const char *policy_name(const struct policy *policy)
{
    return policy->name;
}

size_t policy_rule_count(const struct policy *policy)
{
    return json_array_size(policy->rules);
}

/* --- the decision --------------------------------------------------------------------------------
 */

int policy_refuse(struct policy_decision *decision, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(decision->refusal, sizeof decision->refusal, format, arguments);
    va_end(arguments);
    return -1;
}

int policy_note(struct policy_decision *decision, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (json_array_append_new(decision->floors, json_string(text)) == 0)
        return 0;
    return policy_refuse(decision, "out of memory");
}

/*
 * The first rule that matches on identity alone ends the reading; the others before it, whatever
 * they match, can only strengthen what it says.
 */
static void decide(const struct policy *policy, const struct policy_identity *identity,
                   const json_t *config, struct policy_decision *decision)
{
    size_t index;
    const json_t *rule;
    json_array_foreach(policy->rules, index, rule)
    {
        const json_t *match = json_object_get(rule, "match");
        if (policy_match(match, identity, config) != NULL)
            continue;
        enum policy_isolation outcome = read_isolation(rule, "isolation");
        if (outcome > decision->isolation) {
            decision->isolation = outcome;
            decision->rule = json_string_value(json_object_get(rule, "name"));
        }
        if (!policy_match_can_be_chosen(match))
            return;
    }
    if (policy->fallback > decision->isolation) {
        decision->isolation = policy->fallback;
        decision->rule = default_rule;
    }
}

static int check_asked(const struct policy *policy, const struct policy_asked *asked,
                       struct policy_decision *decision)
{
    if (decision->isolation == POLICY_DENY)
        return policy_refuse(decision, "rule \"%.80s\" denies this workload", decision->rule);
    enum policy_isolation floor = policy->floors.isolation;
    if (floor > decision->isolation) {
        decision->isolation = floor;
        if (policy_note(decision, "isolation: at least %s", policy_isolation_name(floor)) < 0)
            return -1;
        if (asked->isolation != POLICY_AUTO && asked->isolation < floor)
            return policy_refuse(
                decision, "--isolation=%s is weaker than the floor, %s; leave the option out",
                policy_isolation_name(asked->isolation), policy_isolation_name(floor));
    }
    if (asked->isolation != POLICY_AUTO && asked->isolation < decision->isolation)
        return policy_refuse(decision,
                             "--isolation=%s is weaker than %s, which rule \"%.80s\" gives; leave "
                             "the option out",
                             policy_isolation_name(asked->isolation),
                             policy_isolation_name(decision->isolation), decision->rule);
    decision->isolation = stronger(decision->isolation, asked->isolation);
    return 0;
}

/* A pod's sandbox in place of a VM is told in every decision about one. */
static int check_sandbox(const struct policy *policy, const struct policy_identity *identity,
                         struct policy_decision *decision)
{
    if (!identity->sandbox || decision->isolation != POLICY_VM)
        return 0;
    if (policy->floors.denied_sandboxes)
        return policy_refuse(decision,
                             "a pod's sandbox would be a process on this host's kernel, not a VM, "
                             "though it runs no program of an image; denied_sandboxes forbids that "
                             "and with it pods of VMs");
    return policy_note(decision, "sandbox of a pod: it runs no program of its image");
}

int policy_enforce(const struct policy *policy, const struct policy_identity *identity,
                   const struct policy_asked *asked, json_t *config,
                   struct policy_decision *decision, struct error *err)
{
    *decision = (struct policy_decision){ .isolation = POLICY_AUTO, .floors = json_array() };
    if (!decision->floors)
        return error_set(err, EXIT_OURS, "out of memory");
    if (!policy) {
        decision->isolation = stronger(POLICY_CONTAINER, asked->isolation);
        return 0;
    }
    decision->policy = policy->name;
    decide(policy, identity, config, decision);
    if (check_asked(policy, asked, decision) == 0 &&
        check_sandbox(policy, identity, decision) == 0 &&
        policy_apply_floors(&policy->floors, identity, asked, config, decision) == 0)
        return 0;
    decision->isolation = POLICY_DENY;
    return error_set(err, EXIT_OURS, "refused by the policy %s: %s", policy->name,
                     decision->refusal);
}

/* What the rules say of the workload as it is, against what they say with this process in it. */
static int check_process(const struct policy *policy, const struct policy_identity *identity,
                         const json_t *config, json_t *process, struct policy_decision *decision)
{
    struct policy_decision without = { 0 }, with = { 0 };
    json_t *changed = json_copy((json_t *)config);
    if (!changed || json_object_set(changed, "process", process) < 0) {
        json_decref(changed);
        return policy_refuse(decision, "out of memory");
    }
    decide(policy, identity, config, &without);
    decide(policy, identity, changed, &with);
    json_decref(changed);
    if (with.isolation <= without.isolation)
        return 0;
    return policy_refuse(decision,
                         "rule \"%.80s\" gives %s to a workload with such a process, more than "
                         "this one was made with",
                         with.rule, policy_isolation_name(with.isolation));
}

int policy_enforce_process(const struct policy *policy, const struct policy_identity *identity,
                           const json_t *config, uint64_t named, json_t *process, struct error *err)
{
    struct policy_decision decision = { .floors = json_array() };
    int result = policy ? check_process(policy, identity, config, process, &decision) : 0;
    if (policy && result == 0)
        result = policy_check_named(&policy->floors, named, "--cap", &decision);
    if (policy && result == 0)
        result = policy_apply_process(&policy->floors, process, &decision);
    policy_decision_free(&decision);
    if (result == 0)
        return 0;
    return error_set(err, EXIT_OURS, "refused by the policy %s: %s", policy->name,
                     decision.refusal);
}

int policy_check_resources(const struct policy *policy, const json_t *resources, struct error *err)
{
    struct policy_decision decision = { .floors = json_array() };
    int result =
        policy ? policy_apply_limits(&policy->floors, false, (json_t *)resources, &decision) : 0;
    policy_decision_free(&decision);
    if (result == 0)
        return 0;
    return error_set(err, EXIT_OURS, "refused by the policy %s: %s", policy->name,
                     decision.refusal);
}

void policy_decision_free(struct policy_decision *decision)
{
    json_decref(decision->floors);
    decision->floors = NULL;
}

json_t *policy_decision_to_json(const struct policy_decision *decision)
{
    return json_pack("{s:s?, s:s?, s:s, s:O, s:s*}", "policy", decision->policy, "rule",
                     decision->rule, "isolation", policy_isolation_name(decision->isolation),
                     "floors", decision->floors, "refusal",
                     *decision->refusal ? decision->refusal : NULL);
}

const char *policy_rule_explain(const struct policy *policy, size_t number,
                                const struct policy_identity *identity, const json_t *config,
                                const char **name, const char **outcome, bool *strengthens)
{
    const json_t *rule = json_array_get(policy->rules, number);
    const json_t *match = json_object_get(rule, "match");
    *name = json_string_value(json_object_get(rule, "name"));
    *outcome = json_string_value(json_object_get(rule, "isolation"));
    *strengthens = policy_match_can_be_chosen(match);
    return policy_match(match, identity, config);
}
