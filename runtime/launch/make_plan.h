/* The plan of a configuration, with its seccomp filter from the cache. */
#ifndef HYBRID_MAKE_PLAN_H
#define HYBRID_MAKE_PLAN_H

#include <jansson.h>
#include <stdint.h>

#include "error.h"
#include "plan.h"
#include "runtime/runtime.h"

/*
 * Makes the plan of a configuration, with the seccomp filter it needs: *filter is malloc'd, the
 * caller's, and borrowed by the plan. parse_flags: as plan_parse. Takes document over, also on
 * failure. 0, or -1 with *err.
 */
int make_plan(const struct runtime *runtime, json_t *document, unsigned int parse_flags,
              struct plan *plan, uint8_t **filter, struct error *err);

/* The same from the text of a configuration. */
int make_plan_from_text(const struct runtime *runtime, const char *config_text,
                        unsigned int parse_flags, struct plan *plan, uint8_t **filter,
                        struct error *err);

#endif
