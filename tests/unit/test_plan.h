/* What the tests of plans share: parsing what must be well, and the order of steps. */
#ifndef HYBRID_TEST_PLAN_H
#define HYBRID_TEST_PLAN_H

#include "test_plan_json.h"

#include "runtime/plan/compose.h"

__attribute__((unused)) static void parse_well(const char *changes, unsigned int flags,
                                               struct plan *plan)
{
    struct error error = { 0 };
    if (plan_parse(changed(changes), flags, plan, &error) < 0)
        fail_msg("%s: %s", changes, error.message);
}

__attribute__((unused)) static const struct plan_step *first_step(const struct plan *plan,
                                                                  enum plan_step_kind kind)
{
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind == kind)
            return &plan->steps[i];
    return NULL;
}

__attribute__((unused)) static void assert_order(const struct plan *plan,
                                                 const enum plan_step_kind *expected, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < plan->step_count; i++) {
        if (i > 0 && plan->steps[i].kind == plan->steps[i - 1].kind)
            continue; /* a run of one kind counts once */
        assert_true(at < count);
        assert_int_equal(plan->steps[i].kind, expected[at++]);
    }
    assert_int_equal(at, count);
}

#endif
