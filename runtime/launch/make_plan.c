#include "make_plan.h"

#include <stdlib.h>

#include "cleanup.h"
#include "runtime/plan/compose.h"
#include "seccomp_cache.h"

int make_plan(const struct runtime *runtime, json_t *document, unsigned int parse_flags,
              struct plan *plan, uint8_t **filter, struct error *err)
{
    *plan = (struct plan){ 0 };
    _cleanup_free_ char *directory = NULL;
    if (asprintf(&directory, "%s/seccomp", runtime->data) < 0)
        directory = NULL;
    const json_t *profile = json_object_get(json_object_get(document, "linux"), "seccomp");
    size_t length = 0;
    unsigned int flags = 0;
    int result = directory ? seccomp_cache_get(directory, profile, filter, &length, &flags, err)
                           : error_set(err, EXIT_OURS, "out of memory");
    if (result < 0) {
        json_decref(document);
        return -1;
    }
    if (plan_parse(document, parse_flags, plan, err) < 0)
        return -1;
    plan->filter = *filter;
    plan->filter_length = length;
    plan->filter_flags = flags;
    return 0;
}

int make_plan_from_text(const struct runtime *runtime, const char *config_text,
                        unsigned int parse_flags, struct plan *plan, uint8_t **filter,
                        struct error *err)
{
    *plan = (struct plan){ 0 };
    json_error_t where;
    json_t *document = plan_load_json(config_text, &where);
    if (!document)
        return error_set(err, EXIT_OURS, "configuration: %s", where.text);
    return make_plan(runtime, document, parse_flags, plan, filter, err);
}
