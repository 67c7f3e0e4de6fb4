/* The OCI runtime configuration of `hybrid run`. Specification: OCI runtime-spec 1.2. */
#include "compose.h"

#include "compose_parts.h"
#include "json_read.h"

#define OCI_VERSION     "1.2.0"
#define STOP_SIGNAL_KEY "org.opencontainers.image.stopSignal"
#define RESERVED_PREFIX "hybrid."
#define RESERVED_LENGTH (sizeof RESERVED_PREFIX - 1)

enum { MAX_HOSTNAME = 64, SHORT_ID = 12, MAX_KEY = 4096 };

int compose_set(json_t *object, const char *key, json_t *value, struct error *err)
{
    if (json_object_set_new(object, key, value) == 0)
        return 0;
    return error_set(err, EXIT_OURS, "cannot make the configuration: out of memory");
}

int compose_append(json_t *array, json_t *value, struct error *err)
{
    if (json_array_append_new(array, value) == 0)
        return 0;
    return error_set(err, EXIT_OURS, "cannot make the configuration: out of memory");
}

json_t *compose_string(const char *text, const char *what, struct error *err)
{
    json_t *string = json_string(text);
    if (!string)
        (void)error_set(err, EXIT_OURS,
                        "%s is not valid UTF-8, which an OCI configuration cannot carry", what);
    return string;
}

int compose_hostname(const struct run_options *options, char *hostname, size_t size,
                     struct error *err)
{
    static const char *const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789.-_";
    const char *given = options->hostname;
    if (!given) {
        (void)snprintf(hostname, size, "%.*s", SHORT_ID, options->id ? options->id : "hybrid");
        return 0;
    }
    size_t length = strlen(given);
    if (length == 0 || length > MAX_HOSTNAME || length >= size || strspn(given, allowed) != length)
        return error_set(err, EXIT_OURS,
                         "--hostname \"%.80s\": not a host name; use 1 to %d letters, digits, "
                         "dots and hyphens",
                         given, MAX_HOSTNAME);
    memcpy(hostname, given, length + 1);
    return 0;
}

/* KEY[=VALUE] of --label or --annotation into the annotations. */
static int add_pair(json_t *annotations, const char *option, const char *text, struct error *err)
{
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    if (length == 0 || length > MAX_KEY)
        return error_set(err, EXIT_OURS, "%s \"%.80s\": no key; write KEY=VALUE", option, text);
    if (strncmp(text, RESERVED_PREFIX, RESERVED_LENGTH) == 0)
        return error_set(err, EXIT_OURS,
                         "%s %.80s: keys that begin with \"" RESERVED_PREFIX
                         "\" are hybrid's own; choose another name",
                         option, text);
    json_auto_t *whole = compose_string(text, option, err);
    if (!whole)
        return -1;
    json_auto_t *key = json_stringn(text, length);
    return compose_set(annotations, json_string_value(key), json_string(equals ? equals + 1 : ""),
                       err);
}

static int add_image_labels(json_t *annotations, const struct image_config *image,
                            struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(image->labels, key, value)
    {
        /* An image must not be able to speak in hybrid's name. */
        if (strncmp(key, RESERVED_PREFIX, RESERVED_LENGTH) == 0)
            continue;
        if (compose_set(annotations, key, json_incref(value), err) < 0)
            return -1;
    }
    return 0;
}

static int add_stop_signal(json_t *annotations, const struct image_config *image,
                           const struct run_options *options, struct error *err)
{
    const char *signal = options->stop_signal ? options->stop_signal : image->stop_signal;
    if (!signal)
        return 0;
    if (signal_from_name(signal) < 0) {
        const char *near = signal_nearest(signal);
        return error_set(err, EXIT_OURS, "%s %.40s: unknown signal; %s %s",
                         options->stop_signal ? "--stop-signal"
                                              : "image configuration: config.StopSignal",
                         signal, near ? "did you mean" : "one of them is", near ? near : "TERM");
    }
    return compose_set(annotations, STOP_SIGNAL_KEY, json_string(signal), err);
}

static json_t *compose_annotations(const struct image_config *image,
                                   const struct run_options *options, struct error *err)
{
    json_auto_t *annotations = json_object();
    if (add_image_labels(annotations, image, err) < 0)
        return NULL;
    for (size_t i = 0; i < options->labels.count; i++)
        if (add_pair(annotations, "--label", options->labels.values[i], err) < 0)
            return NULL;
    for (size_t i = 0; i < options->annotations.count; i++)
        if (add_pair(annotations, "--annotation", options->annotations.values[i], err) < 0)
            return NULL;
    if (add_stop_signal(annotations, image, options, err) < 0)
        return NULL;
    const char *isolation = options->isolation ? options->isolation : "container";
    if (compose_set(annotations, "hybrid.isolation", json_string(isolation), err) < 0)
        return NULL;
    if (options->image && compose_set(annotations, "hybrid.image",
                                      compose_string(options->image, "IMAGE", err), err) < 0)
        return NULL;
    if (options->init && compose_set(annotations, "hybrid.init", json_string("true"), err) < 0)
        return NULL;
    if (compose_rates(annotations, options, err) < 0)
        return NULL;
    return json_incref(annotations);
}

static int add_seccomp(json_t *linux_part, const struct run_options *options, struct error *err)
{
    struct security_options security;
    uint64_t capabilities;
    if (compose_security(options, &security, err) < 0 ||
        compose_capabilities(options, &capabilities, err) < 0)
        return -1;
    if (security.seccomp_unconfined)
        return 0;
    json_t *seccomp = security.seccomp_given
                          ? seccomp_profile_resolve(options->seccomp_profile, capabilities, err)
                          : seccomp_default_profile(capabilities);
    if (!seccomp && security.seccomp_given)
        return -1;
    return compose_set(linux_part, "seccomp", seccomp, err);
}

json_t *oci_compose(const json_t *image_config, const struct run_options *options,
                    struct error *err)
{
    struct image_config image;
    char hostname[MAX_HOSTNAME + 1];
    if (image_config_read(image_config, &image, err) < 0 ||
        compose_hostname(options, hostname, sizeof hostname, err) < 0)
        return NULL;
    json_auto_t *process = compose_process(&image, options, hostname, err);
    json_auto_t *mounts = process ? compose_mounts(options, hostname, err) : NULL;
    json_auto_t *annotations = mounts ? compose_annotations(&image, options, err) : NULL;
    json_auto_t *linux_part = annotations ? compose_linux(options, err) : NULL;
    if (!linux_part || add_seccomp(linux_part, options, err) < 0)
        return NULL;
    json_t *config = json_pack("{s:s, s:O, s:{s:s, s:b}, s:s, s:O, s:O, s:O}", "ociVersion",
                               OCI_VERSION, "process", process, "root", "path", "rootfs",
                               "readonly", (int)options->readonly, "hostname", hostname, "mounts",
                               mounts, "annotations", annotations, "linux", linux_part);
    if (!config)
        (void)error_set(err, EXIT_OURS, "cannot make the configuration: out of memory");
    return config;
}
