/* The environment: Docker's defaults, what the image says, what -e says, the last one deciding. */
#include "compose_parts.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/*
 * Puts NAME=VALUE under NAME, in the place of an earlier one. jansson keeps the order of insertion.
 * A NAME alone is kept as null: it takes the variable away. Returns 0, or -1 with *err.
 */
static int put(json_t *variables, const char *text, const char *source, struct error *err)
{
    const char *equals = strchr(text, '=');
    if (!*text || equals == text)
        return error_set(err, EXIT_OURS, "%s \"%.80s\": no name; write NAME=VALUE", source, text);
    if (strlen(text) > PROCESS_MAX_STRING)
        return error_set(err, EXIT_OURS, "%s %.80s...: longer than %d bytes, the kernel's limit",
                         source, text, PROCESS_MAX_STRING);
    json_auto_t *value = compose_string(text, source, err);
    if (!value)
        return -1;
    json_auto_t *name = json_stringn(text, equals ? (size_t)(equals - text) : strlen(text));
    return compose_set(variables, json_string_value(name),
                       equals ? json_incref(value) : json_null(), err);
}

static json_t *chosen_by_options(const struct run_options *options, struct error *err)
{
    json_auto_t *chosen = json_object();
    for (size_t i = 0; i < options->env.count; i++)
        if (put(chosen, options->env.values[i], "--env", err) < 0)
            return NULL;
    return json_incref(chosen);
}

/* hostname NULL: exec, whose base is the workload's whole environment. */
static int put_defaults(json_t *variables, const struct run_options *options, const char *hostname,
                        struct error *err)
{
    char text[128];
    (void)snprintf(text, sizeof text, "HOSTNAME=%s", hostname ? hostname : "");
    if (hostname && (put(variables, "PATH=" DEFAULT_PATH, "default", err) < 0 ||
                     put(variables, text, "default", err) < 0))
        return -1;
    return options->terminal ? put(variables, "TERM=xterm", "default", err) : 0;
}

json_t *compose_env(const json_t *base, const struct run_options *options, const char *hostname,
                    struct error *err)
{
    json_auto_t *variables = json_object();
    json_auto_t *chosen = chosen_by_options(options, err);
    if (!chosen || put_defaults(variables, options, hostname, err) < 0)
        return NULL;
    size_t index;
    json_t *entry;
    json_array_foreach(base, index,
                       entry) if (put(variables, json_string_value(entry),
                                      "image configuration: config.Env", err) < 0) return NULL;
    if (json_object_update(variables, chosen) < 0)
        return NULL;
    json_t *env = json_array();
    const char *name;
    json_object_foreach(variables, name, entry) if (!json_is_null(entry))(void)
        json_array_append(env, entry);
    return env;
}
