#include "runtime/image/registry/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "runtime/image/document.h"
#include "runtime/image/store.h"
#include "runtime/plan/compose.h"

enum { MAX_STALL_SECONDS = 3600 };

static const char *const top_keys[] = { "registries", "stall_seconds", "parallel", NULL };
static const char *const registry_keys[] = { "mirrors", "plain_http", "skip_verify", "ca_file",
                                             NULL };

static int check_keys(const json_t *object, const char *const *keys, const char *what,
                      struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t i = 0;
        char printable[80];
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (keys[i])
            continue;
        const char *nearest = nearest_name(key, keys);
        return error_set(err, EXIT_OURS, "%s: unknown key \"%s\"%s%s%s", what,
                         document_printable(key, printable, sizeof printable),
                         nearest ? "; did you mean \"" : "", nearest ? nearest : "",
                         nearest ? "\"?" : "");
    }
    return 0;
}

/* A host as it stands in a reference: with a path behind it, it must be that reference's domain. */
static int check_host(const char *host, const char *what, struct error *err)
{
    char text[300];
    char printable[200];
    (void)snprintf(text, sizeof text, "%s/x:y", host);
    char *reference = reference_normalize(text, NULL);
    bool same = reference && strcmp(reference, text) == 0;
    bool docker = strcmp(host, "docker.io") == 0;
    free(reference);
    return same || docker ? 0
                          : error_set(err, EXIT_OURS, "%s: \"%s\" is not HOST[:PORT] of a registry",
                                      what, document_printable(host, printable, sizeof printable));
}

static int check_flag(const json_t *object, const char *key, const char *what, struct error *err)
{
    const json_t *value = json_object_get(object, key);
    if (value && !json_is_boolean(value))
        return error_set(err, EXIT_OURS, "%s: \"%s\" is neither true nor false", what, key);
    return 0;
}

static int check_registry(const json_t *registry, const char *what, struct error *err)
{
    const char *ca_file;
    const json_t *mirrors;
    if (!json_is_object(registry))
        return error_set(err, EXIT_OURS, "%s is not an object", what);
    if (check_keys(registry, registry_keys, what, err) < 0 ||
        check_flag(registry, "plain_http", what, err) < 0 ||
        check_flag(registry, "skip_verify", what, err) < 0 ||
        document_get_string(registry, "ca_file", what, &ca_file, err) < 0 ||
        document_check_strings(registry, "mirrors", what, err) < 0 ||
        document_get_array(registry, "mirrors", what, &mirrors, err) < 0)
        return -1;
    if (ca_file && ca_file[0] != '/')
        return error_set(err, EXIT_OURS, "%s: \"ca_file\" is not an absolute path", what);
    if (json_array_size(mirrors) > SETTINGS_MAX_MIRRORS)
        return error_set(err, EXIT_OURS, "%s: more than %d mirrors", what, SETTINGS_MAX_MIRRORS);
    for (size_t i = 0; i < json_array_size(mirrors); i++)
        if (check_host(json_string_value(json_array_get(mirrors, i)), what, err) < 0)
            return -1;
    return 0;
}

static int check_registries(const json_t *document, const char *path, struct error *err)
{
    const json_t *registries;
    const char *host;
    json_t *registry;
    if (document_get_object(document, "registries", path, &registries, err) < 0)
        return -1;
    json_object_foreach((json_t *)registries, host, registry)
    {
        char what[400];
        (void)snprintf(what, sizeof what, "%s: \"%.200s\"", path, host);
        if (check_host(host, path, err) < 0 || check_registry(registry, what, err) < 0)
            return -1;
    }
    return 0;
}

/* *number keeps its value where the document has none. */
static int take_number(const json_t *document, const char *path, const char *key, int most,
                       int64_t *number, struct error *err)
{
    const json_t *value = json_object_get(document, key);
    if (value)
        *number = json_integer_value(value);
    return *number >= 1 && *number <= most
               ? 0
               : error_set(err, EXIT_OURS, "%s: \"%s\" is not a number from 1 to %d", path, key,
                           most);
}

static int check(const char *path, struct registry_settings *settings, struct error *err)
{
    if (!json_is_object(settings->document))
        return error_set(err, EXIT_OURS, "%s is not a JSON object", path);
    if (check_keys(settings->document, top_keys, path, err) < 0)
        return -1;
    if (take_number(settings->document, path, "stall_seconds", MAX_STALL_SECONDS,
                    &settings->stall_seconds, err) < 0 ||
        take_number(settings->document, path, "parallel", SETTINGS_MAX_PARALLEL,
                    &settings->parallel, err) < 0)
        return -1;
    return check_registries(settings->document, path, err);
}

int registry_settings_read(const char *path, struct registry_settings *settings, struct error *err)
{
    int errnum;
    *settings = (struct registry_settings){ .parallel = SETTINGS_PARALLEL,
                                            .stall_seconds = SETTINGS_STALL_SECONDS };
    settings->document = document_read(AT_FDCWD, path, path, &errnum, err);
    if (!settings->document)
        return errnum == ENOENT ? 0 : -1;
    if (check(path, settings, err) == 0)
        return 0;
    registry_settings_free(settings);
    return -1;
}

void registry_settings_free(struct registry_settings *settings)
{
    json_decref(settings->document);
    settings->document = NULL;
}

struct registry_options registry_settings_of(const struct registry_settings *settings,
                                             const char *host)
{
    const json_t *registry =
        json_object_get(json_object_get(settings->document, "registries"), host);
    const json_t *plain_http = json_object_get(registry, "plain_http");
    return (struct registry_options){
        .plain_http_given = plain_http != NULL,
        .plain_http = json_is_true(plain_http),
        .skip_verify = json_is_true(json_object_get(registry, "skip_verify")),
        .ca_file = json_string_value(json_object_get(registry, "ca_file")),
        .mirrors = json_object_get(registry, "mirrors"),
    };
}
