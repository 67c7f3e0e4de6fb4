/* Policies in tests: from a text with single quotes. */
#ifndef HYBRID_TEST_POLICY_H
#define HYBRID_TEST_POLICY_H

#include "test_plan_compose.h"

#include "runtime/policy/parts.h"

static inline struct policy *policy_of(const char *text)
{
    struct error err = { 0 };
    json_t *document = load(text);
    struct policy *policy = policy_parse(document, "test", &err);
    json_decref(document);
    if (!policy)
        fail_msg("%s: %s", err.message, text);
    return policy;
}

#endif
