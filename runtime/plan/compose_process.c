/* The process of `hybrid run` and of `hybrid exec`: ENTRYPOINT, CMD, user, directory, limits. */
#include "compose_parts.h"
#include "json_read.h"
#include "rlimit.h"

enum { MAX_USER = 256, MAX_PATH = 4096 };

static int append_arguments(json_t *args, const char *const *command, struct error *err)
{
    for (size_t i = 0; command && command[i]; i++) {
        char what[32];
        (void)snprintf(what, sizeof what, "argument %zu", i + 1);
        if (strlen(command[i]) > PROCESS_MAX_STRING)
            return error_set(err, EXIT_OURS, "%s is longer than %d bytes, the kernel's limit", what,
                             PROCESS_MAX_STRING);
        json_t *text = compose_string(command[i], what, err);
        if (!text || compose_append(args, text, err) < 0)
            return -1;
    }
    return 0;
}

/*
 * Docker's rule: arguments replace CMD; --entrypoint replaces ENTRYPOINT and clears CMD, which was
 * written for the other one.
 */
static json_t *compose_args(const struct image_config *image, const struct run_options *options,
                            struct error *err)
{
    json_auto_t *args = json_array();
    bool replaced = options->entrypoint_given || options->entrypoint;
    bool commanded = options->command && options->command[0];
    const char *entrypoint[] = { options->entrypoint, NULL };
    if (replaced) {
        if (options->entrypoint && *options->entrypoint &&
            append_arguments(args, entrypoint, err) < 0)
            return NULL;
    } else if (image->entrypoint) {
        (void)json_array_extend(args, image->entrypoint);
    }
    if (commanded) {
        if (append_arguments(args, options->command, err) < 0)
            return NULL;
    } else if (!replaced && image->command) {
        (void)json_array_extend(args, image->command);
    }
    if (json_array_size(args) == 0) {
        (void)error_set(err, EXIT_OURS,
                        "no command specified: the image has none%s; write one "
                        "after the image's name",
                        replaced ? " once --entrypoint clears its CMD" : "");
        return NULL;
    }
    return json_incref(args);
}

static int check_user(const char *user, const char *source, struct error *err)
{
    size_t length = strlen(user);
    const char *colon = strchr(user, ':');
    bool bad = length == 0 || length > MAX_USER || *user == ':' ||
               (colon && (!colon[1] || strchr(colon + 1, ':')));
    for (size_t i = 0; i < length && !bad; i++)
        bad = (unsigned char)user[i] <= ' ' || user[i] == 0x7f || user[i] == '/';
    if (bad)
        return error_set(err, EXIT_OURS, "%s \"%.80s\": write USER or USER:GROUP, names or numbers",
                         source, user);
    return 0;
}

/* Names and numbers alike are resolved inside the image by the sandbox; "0" is what Docker assumes.
 */
static json_t *compose_user(const char *from_image, const char *from_option, struct error *err)
{
    const char *user = from_option ? from_option : from_image ? from_image : "0";
    const char *source = from_option ? "--user" : "image configuration: config.User";
    if (check_user(user, source, err) < 0)
        return NULL;
    json_auto_t *name = compose_string(user, source, err);
    if (!name)
        return NULL;
    return json_pack("{s:i, s:i, s:O}", "uid", 0, "gid", 0, "username", name);
}

static json_t *compose_workdir(const char *from_image, const char *from_option, struct error *err)
{
    const char *path = from_option ? from_option : from_image ? from_image : "/";
    const char *source = from_option ? "--workdir" : "image configuration: config.WorkingDir";
    if (*path != '/' || strlen(path) > MAX_PATH) {
        (void)error_set(err, EXIT_OURS, "%s \"%.80s\": must be an absolute path%s%.80s", source,
                        path, *path && *path != '/' ? ", such as /" : "",
                        *path && *path != '/' ? path : "");
        return NULL;
    }
    return compose_string(path, source, err);
}

static json_t *compose_rlimits(const struct run_options *options, struct error *err)
{
    json_auto_t *limits = json_object(); /* by name, so that the last of a name wins */
    for (size_t i = 0; i < options->ulimits.count; i++) {
        struct plan_rlimit limit = { 0 };
        if (rlimit_parse(options->ulimits.values[i], &limit, err) < 0)
            return NULL;
        /* Unlimited is written as 2^63-1: jansson has no larger numbers, Go no negative ones
         * here. plan_parse reads it as unlimited. */
        json_int_t soft = limit.soft > INT64_MAX ? INT64_MAX : (json_int_t)limit.soft;
        json_int_t hard = limit.hard > INT64_MAX ? INT64_MAX : (json_int_t)limit.hard;
        json_t *entry =
            json_pack("{s:s, s:I, s:I}", "type", limit.name, "hard", hard, "soft", soft);
        if (compose_set(limits, limit.name, entry, err) < 0)
            return NULL;
    }
    json_t *list = json_array();
    const char *key;
    json_t *value;
    json_object_foreach(limits, key, value)(void) json_array_append(list, value);
    return list;
}

static int set_capabilities(json_t *process, const struct run_options *options, struct error *err)
{
    uint64_t set;
    if (compose_capabilities(options, &set, err) < 0)
        return -1;
    json_auto_t *names = compose_capability_names(set, err);
    if (!names)
        return -1;
    /* Nothing inheritable (CVE-2022-24769, CVE-2022-29162). */
    return compose_set(
        process, "capabilities",
        json_pack("{s:O, s:O, s:O}", "bounding", names, "effective", names, "permitted", names),
        err);
}

/* The kernel's own bounds on execve(2), told before anything is started. */
static int check_total(const json_t *args, const json_t *env, struct error *err)
{
    const json_t *const lists[] = { args, env };
    size_t bytes = 0, count = 0;
    for (size_t i = 0; i < 2; i++) {
        size_t index;
        const json_t *entry;
        json_array_foreach(lists[i], index, entry) bytes += json_string_length(entry) + 1;
        count += json_array_size(lists[i]);
    }
    if (bytes <= PROCESS_MAX_BYTES && count <= PROCESS_MAX_STRINGS)
        return 0;
    return error_set(err, EXIT_OURS,
                     "arguments and environment are %zu bytes in %zu strings; at most %d bytes in "
                     "%d strings are possible: pass the rest in a file",
                     bytes, count, PROCESS_MAX_BYTES, PROCESS_MAX_STRINGS);
}

/* Members that take one call each; the rest of the process is constant. */
static int fill_process(json_t *process, const struct image_config *image,
                        const struct run_options *options, const char *hostname, struct error *err)
{
    struct security_options security;
    if (compose_security(options, &security, err) < 0)
        return -1;
    json_auto_t *args = compose_args(image, options, err);
    json_auto_t *env = args ? compose_env(image->env, options, hostname, err) : NULL;
    json_auto_t *user = env ? compose_user(image->user, options->user, err) : NULL;
    json_auto_t *cwd = user ? compose_workdir(image->workdir, options->workdir, err) : NULL;
    json_auto_t *limits = cwd ? compose_rlimits(options, err) : NULL;
    if (!limits || check_total(args, env, err) < 0)
        return -1;
    if (compose_set(process, "terminal", json_boolean(options->terminal), err) < 0 ||
        compose_set(process, "user", json_incref(user), err) < 0 ||
        compose_set(process, "args", json_incref(args), err) < 0 ||
        compose_set(process, "env", json_incref(env), err) < 0 ||
        compose_set(process, "cwd", json_incref(cwd), err) < 0 ||
        set_capabilities(process, options, err) < 0 ||
        (json_array_size(limits) > 0 &&
         compose_set(process, "rlimits", json_incref(limits), err) < 0) ||
        compose_set(process, "noNewPrivileges", json_boolean(security.no_new_privileges), err) <
            0 ||
        compose_set(process, "oomScoreAdj", json_integer(0), err) < 0)
        return -1;
    return 0;
}

json_t *compose_process(const struct image_config *image, const struct run_options *options,
                        const char *hostname, struct error *err)
{
    json_auto_t *process = json_object();
    return fill_process(process, image, options, hostname, err) < 0 ? NULL : json_incref(process);
}

/* What exec changes of the workload's own process. */
static int override_process(json_t *process, const struct run_options *options, struct error *err)
{
    json_t *own_env = NULL;
    if (json_read_strings(process, "process", "env", &own_env, err) < 0)
        return -1;
    json_auto_t *args = json_array();
    if (append_arguments(args, options->command, err) < 0)
        return -1;
    if (json_array_size(args) == 0)
        return error_set(err, EXIT_OURS,
                         "no command specified: write one after the workload's name");
    json_auto_t *env = compose_env(own_env, options, NULL, err);
    if (!env || check_total(args, env, err) < 0)
        return -1;
    if (compose_set(process, "args", json_incref(args), err) < 0 ||
        compose_set(process, "env", json_incref(env), err) < 0 ||
        compose_set(process, "terminal", json_boolean(options->terminal), err) < 0)
        return -1;
    if (options->user) {
        json_t *user = compose_user(NULL, options->user, err);
        if (!user || compose_set(process, "user", user, err) < 0)
            return -1;
    }
    if (options->workdir) {
        json_t *cwd = compose_workdir(NULL, options->workdir, err);
        if (!cwd || compose_set(process, "cwd", cwd, err) < 0)
            return -1;
    }
    (void)json_object_del(process, "consoleSize");
    return 0;
}

json_t *oci_compose_process(const json_t *config, const struct run_options *options,
                            struct error *err)
{
    json_t *own = NULL;
    int present = json_read_object(config, "", "process", &own, err);
    if (present < 0)
        return NULL;
    if (!present) {
        (void)error_set(err, EXIT_OURS, "the workload's configuration has no process");
        return NULL;
    }
    json_auto_t *process = json_deep_copy(own);
    return override_process(process, options, err) < 0 ? NULL : json_incref(process);
}
