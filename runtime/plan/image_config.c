#include "image_config.h"

#include "json_read.h"

#define PATH "image configuration: config"

enum { MAX_LABELS = 4096, MAX_TEXT = 4096 };

/* Bounds on an array of strings; json_read_strings has checked their type. */
static int check_bounds(const json_t *strings, const char *key, struct error *err)
{
    size_t index;
    const json_t *entry;
    size_t bytes = 0;
    json_array_foreach(strings, index, entry)
    {
        size_t length = json_string_length(entry);
        bytes += length + 1;
        if (length > PROCESS_MAX_STRING || bytes > PROCESS_MAX_BYTES || index > PROCESS_MAX_STRINGS)
            return error_set(err, EXIT_OURS, PATH ".%s is absurdly large (at entry %zu)", key,
                             index);
    }
    return 0;
}

static int read_strings(const json_t *config, const char *key, json_t **strings, struct error *err)
{
    if (json_read_strings(config, PATH, key, strings, err) < 0)
        return -1;
    return *strings ? check_bounds(*strings, key, err) : 0;
}

static int read_env(const json_t *config, json_t **env, struct error *err)
{
    if (read_strings(config, "Env", env, err) < 0)
        return -1;
    size_t index;
    const json_t *entry;
    json_array_foreach(*env, index, entry)
    {
        const char *text = json_string_value(entry);
        if (*text == '=' || !strchr(text, '='))
            return error_set(err, EXIT_OURS, PATH ".Env[%zu] is \"%.80s\", not NAME=VALUE", index,
                             text);
    }
    return 0;
}

static int read_text(const json_t *config, const char *key, const char **text, struct error *err)
{
    if (json_read_string(config, PATH, key, text, err) < 0)
        return -1;
    if (*text && strlen(*text) > MAX_TEXT)
        return error_set(err, EXIT_OURS, PATH ".%s is absurdly long", key);
    if (*text && !**text)
        *text = NULL; /* builders write "" for what was not set */
    return 0;
}

static int read_labels(const json_t *config, json_t **labels, struct error *err)
{
    if (json_read_object(config, PATH, "Labels", labels, err) < 0)
        return -1;
    if (json_object_size(*labels) > MAX_LABELS)
        return error_set(err, EXIT_OURS, PATH ".Labels has more than %d entries", MAX_LABELS);
    const char *key;
    json_t *value;
    json_object_foreach(*labels, key, value)
    {
        const char *text = NULL;
        if (!json_is_string(value))
            return error_set(err, EXIT_OURS, PATH ".Labels[\"%.80s\"] must be a string", key);
        if (read_text(*labels, key, &text, err) < 0)
            return -1;
    }
    return 0;
}

int image_config_read(const json_t *document, struct image_config *config, struct error *err)
{
    *config = (struct image_config){ 0 };
    if (!json_is_object(document))
        return error_set(err, EXIT_OURS, "image configuration: must be a JSON object");
    const char *os = NULL;
    if (json_read_string(document, "image configuration:", "os", &os, err) < 0)
        return -1;
    if (os && *os && strcmp(os, "linux") != 0)
        return error_set(err, EXIT_OURS,
                         "image configuration: the image is made for %.40s, "
                         "not for linux",
                         os);
    json_t *process = NULL;
    if (json_read_object(document, "image configuration:", "config", &process, err) < 0)
        return -1;
    if (read_text(process, "User", &config->user, err) < 0 ||
        read_text(process, "WorkingDir", &config->workdir, err) < 0 ||
        read_text(process, "StopSignal", &config->stop_signal, err) < 0 ||
        read_env(process, &config->env, err) < 0 ||
        read_strings(process, "Entrypoint", &config->entrypoint, err) < 0 ||
        read_strings(process, "Cmd", &config->command, err) < 0 ||
        read_labels(process, &config->labels, err) < 0)
        return -1;
    return 0;
}
