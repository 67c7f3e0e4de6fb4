#include "policy_print.h"

#include <string.h>

static void print_floors(const struct policy_decision *decision, FILE *out)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(decision->floors, index, entry)
    {
        (void)fprintf(out, "floor      %s\n", json_string_value(entry));
    }
}

void policy_print_decision(const struct run_policy *policy, FILE *out)
{
    if (!policy->policy)
        return;
    (void)fprintf(out, "policy     %s: rule \"%s\"\n", policy->decision.policy,
                  policy->decision.rule);
    print_floors(&policy->decision, out);
}

static void print_rule(const json_t *rule, FILE *out)
{
    const char *name = json_string_value(json_object_get(rule, "name"));
    const char *differs = json_string_value(json_object_get(rule, "differs"));
    (void)fprintf(out, "rule       \"%s\" (%s%s): ", name,
                  json_string_value(json_object_get(rule, "isolation")),
                  json_is_true(json_object_get(rule, "strengthens")) ? ", can only strengthen"
                                                                     : "");
    if (!json_is_true(json_object_get(rule, "read")))
        (void)fprintf(out, "not read: a rule before it decides\n");
    else if (differs)
        (void)fprintf(out, "does not match: %s\n", differs);
    else
        (void)fprintf(out, "matches\n");
}

static void print_lines(const struct run_policy *policy, const struct run_options *options,
                        const json_t *trace, FILE *out)
{
    const struct policy_decision *decision = &policy->decision;
    (void)fprintf(out, "image      %s\n", options->image ? options->image : "(no reference)");
    if (!policy->policy) {
        (void)fprintf(out,
                      "policy     none: there is no %s\n"
                      "decision   %s\n",
                      POLICY_DEFAULT_FILE, policy_isolation_name(decision->isolation));
        return;
    }
    (void)fprintf(out, "digest     sha256:%s\ntenant     uid %u, cgroup %s\npolicy     %s\n",
                  policy->identity.digest, (unsigned int)policy->identity.uid,
                  policy->identity.cgroup, policy_name(policy->policy));
    size_t index;
    const json_t *rule;
    json_array_foreach(trace, index, rule) print_rule(rule, out);
    (void)fprintf(out, "decided by \"%s\"\n", decision->rule ? decision->rule : "");
    print_floors(decision, out);
    (void)fprintf(out, "decision   %s\n", policy_isolation_name(decision->isolation));
}

static void print_as_json(const struct run_policy *policy, const json_t *trace, FILE *out)
{
    json_t *value = policy_decision_to_json(&policy->decision);
    (void)json_object_set_new(value, "rules", json_deep_copy(trace));
    cli_print_json(out, value);
    json_decref(value);
}

void policy_print_explanation(const struct run_policy *policy, const struct run_options *options,
                              const json_t *trace, const char *format, FILE *out)
{
    if (strcmp(format, "json") == 0)
        print_as_json(policy, trace, out);
    else
        print_lines(policy, options, trace, out);
}
