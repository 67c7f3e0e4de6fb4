/*
 * Composing in tests: options with Docker's defaults, and what becomes of them with an image's
 * configuration.
 */
#ifndef HYBRID_TEST_PLAN_COMPOSE_H
#define HYBRID_TEST_PLAN_COMPOSE_H

#include "test_plan_json.h"

#include "runtime/plan/compose.h"

#define NONE "{'config':{}}"
#define LIST(...)                                                                                  \
    {                                                                                              \
        (const char *[]){ __VA_ARGS__ }, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)  \
    }

static const char *const sh[] = { "sh", NULL };

static inline struct run_options defaults(void)
{
    return (struct run_options){
        .id = "0123456789abcdef",
        .memory = -1,
        .memory_swap = -1,
        .pids_limit = -1,
        .isolation = "container",
        .image = "test",
        .command = sh,
    };
}

static inline json_t *compose(const char *image, const struct run_options *options,
                              struct error *error)
{
    json_t *document = load(image);
    json_t *config = oci_compose(document, options, error);
    json_decref(document);
    return config;
}

/* Composes and fails the test on an error. */
static inline json_t *compose_well(const char *image, const struct run_options *options)
{
    struct error error = { 0 };
    json_t *config = compose(image, options, &error);
    if (!config)
        fail_msg("%s", error.message);
    return config;
}

static inline void assert_refused(const char *image, const struct run_options *options,
                                  const char *message)
{
    struct error error = { 0 };
    json_t *config = compose(image, options, &error);
    if (config) {
        json_decref(config);
        fail_msg("accepted, but expected: %s", message);
    }
    assert_string_equal(error.message, message);
    assert_int_equal(error.exit_code, EXIT_OURS);
}

#endif
