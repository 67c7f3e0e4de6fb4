/* The memory of a plan: one list of allocations and one growing array of steps. */
#include "parse_parts.h"

struct allocation {
    struct allocation *next;
    max_align_t data[];
};

static int out_of_memory(struct error *err)
{
    return error_set(err, EXIT_OURS, "cannot make the plan: out of memory");
}

void *plan_allocate(struct plan *plan, size_t count, size_t size, struct error *err)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct allocation), &bytes)) {
        (void)out_of_memory(err);
        return NULL;
    }
    struct allocation *allocation = calloc(1, bytes);
    if (!allocation) {
        (void)out_of_memory(err);
        return NULL;
    }
    allocation->next = plan->storage;
    plan->storage = allocation;
    return allocation->data;
}

const char **plan_string_vector(struct plan *plan, const json_t *strings, struct error *err)
{
    const char **vector = plan_allocate(plan, json_array_size(strings) + 1, sizeof *vector, err);
    size_t index;
    const json_t *entry;
    if (vector)
        json_array_foreach(strings, index, entry) vector[index] = json_string_value(entry);
    return vector;
}

struct plan_step *plan_add_step(struct plan *plan, enum plan_step_kind kind, struct error *err)
{
    enum { STEPS_AT_ONCE = 64 };
    if (plan->step_count % STEPS_AT_ONCE == 0) {
        struct plan_step *steps =
            reallocarray(plan->steps, plan->step_count + STEPS_AT_ONCE, sizeof *steps);
        if (!steps) {
            (void)out_of_memory(err);
            return NULL;
        }
        plan->steps = steps;
    }
    struct plan_step *step = &plan->steps[plan->step_count++];
    *step = (struct plan_step){ .kind = kind };
    return step;
}

void plan_free(struct plan *plan)
{
    for (struct allocation *at = plan->storage; at;) {
        struct allocation *next = at->next;
        free(at);
        at = next;
    }
    free(plan->steps);
    json_decref(plan->document);
    *plan = (struct plan){ 0 };
}
