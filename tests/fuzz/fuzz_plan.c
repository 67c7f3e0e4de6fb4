/* link: plan */
/* An OCI runtime configuration of somebody else: config.json and process.json. */
#include "input.h"

#include "plan.h"
#include "runtime/plan/compose.h"

#include "error.h"
#include <assert.h>
#include <jansson.h>

static void describe(const struct plan *plan)
{
    char line[512];
    for (size_t i = 0; i < plan->step_count; i++)
        assert(plan_step_describe(&plan->steps[i], line, sizeof line) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan plan;
    struct error err = { 0 };
    if (size == 0)
        return 0;
    json_t *document = json_loadb((const char *)data + 1, size - 1, JSON_REJECT_DUPLICATES, NULL);
    if (!document)
        return 0;
    if (plan_parse(document, data[0] & PLAN_PARSE_OWN, &plan, &err) == 0) {
        describe(&plan);
        plan_free(&plan);
    } else {
        assert(err.exit_code != 0 && err.message[0] != '\0');
    }
    return 0;
}
