/* --cap-add, --cap-drop and --security-opt. */
#include "compose_parts.h"

#include <strings.h>

#define BIT(number) (UINT64_C(1) << (number))

enum { CAPABILITY_COUNT = 41 }; /* CAP_CHECKPOINT_RESTORE is the last one up to Linux 6.18 */

static const char *const default_capabilities[] = {
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
    "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
    "CAP_KILL",    "CAP_AUDIT_WRITE",
};

/* The named capabilities as a set; "ALL" sets *all. */
static int read_list(const struct option_list *list, const char *option, uint64_t *set, bool *all,
                     struct error *err)
{
    *set = 0;
    *all = false;
    for (size_t i = 0; i < list->count; i++) {
        const char *name = list->values[i];
        int number = capability_from_name(name);
        if (strcasecmp(name, "ALL") == 0) {
            *all = true;
        } else if (number >= 0) {
            *set |= BIT(number);
        } else {
            const char *near = capability_nearest(name);
            return error_set(err, EXIT_OURS, "%s %.40s: unknown capability; %s %s", option, name,
                             near ? "did you mean" : "one of them is", near ? near : "NET_ADMIN");
        }
    }
    return 0;
}

/*
 * Docker's rules: --cap-add=ALL grants everything but what is dropped; --cap-drop=ALL leaves only
 * what is added; otherwise the default without the dropped and with the added.
 */
int compose_capabilities(const struct run_options *options, uint64_t *set, struct error *err)
{
    uint64_t added, dropped;
    bool add_all, drop_all;
    if (read_list(&options->cap_add, "--cap-add", &added, &add_all, err) < 0 ||
        read_list(&options->cap_drop, "--cap-drop", &dropped, &drop_all, err) < 0)
        return -1;
    if (add_all && drop_all)
        return error_set(err, EXIT_OURS,
                         "--cap-add ALL and --cap-drop ALL contradict each other; leave one out");
    uint64_t defaults = 0;
    for (size_t i = 0; i < sizeof default_capabilities / sizeof *default_capabilities; i++)
        defaults |= BIT(capability_from_name(default_capabilities[i]));
    if (add_all)
        *set = (BIT(CAPABILITY_COUNT) - 1) & ~dropped;
    else if (drop_all)
        *set = added;
    else
        *set = (defaults & ~dropped) | added;
    return 0;
}

json_t *compose_capability_names(uint64_t set, struct error *err)
{
    json_auto_t *names = json_array();
    for (int i = 0; i < CAPABILITY_COUNT; i++)
        if ((set & BIT(i)) && compose_append(names, json_string(capability_name(i)), err) < 0)
            return NULL;
    return json_incref(names);
}

static int no_new_privileges(const char *text, const char *value, bool *result, struct error *err)
{
    *result = *value == '\0' || strcmp(value + 1, "true") == 0;
    if (*result || strcmp(value + 1, "false") == 0)
        return 0;
    return error_set(err, EXIT_OURS, "--security-opt %.80s: the value must be true or false", text);
}

static int security_option(const char *text, const struct run_options *options,
                           struct security_options *security, struct error *err)
{
    static const char *const names[] = { "no-new-privileges", "seccomp", NULL };
    size_t length = strcspn(text, "=:"); /* Docker once wrote a colon, and still takes it */
    const char *value = text + length;
    if (length == strlen(names[0]) && strncmp(text, names[0], length) == 0)
        return no_new_privileges(text, value, &security->no_new_privileges, err);
    if (length == strlen(names[1]) && strncmp(text, names[1], length) == 0) {
        if (!*value || !value[1])
            return error_set(err, EXIT_OURS,
                             "--security-opt %.80s: no value; write "
                             "seccomp=FILE or seccomp=unconfined",
                             text);
        security->seccomp_unconfined = strcmp(value + 1, "unconfined") == 0;
        security->seccomp_given =
            !security->seccomp_unconfined && strcmp(value + 1, "builtin") != 0;
        if (security->seccomp_given && !options->seccomp_profile)
            return error_set(err, EXIT_OURS, "--security-opt %.80s: the profile was not read",
                             text);
        return 0;
    }
    char name[64];
    (void)snprintf(name, sizeof name, "%.*s", (int)(length < 60 ? length : 60), text);
    const char *near = nearest_name(name, names);
    return error_set(err, EXIT_OURS, "--security-opt %.80s: not supported; %s %s", text,
                     near ? "did you mean" : "possible are seccomp=FILE, seccomp=unconfined and",
                     near ? near : "no-new-privileges[=true|false]");
}

int compose_security(const struct run_options *options, struct security_options *security,
                     struct error *err)
{
    *security = (struct security_options){
        .seccomp_unconfined = options->seccomp_unconfined,
        .seccomp_given = options->seccomp_profile && !options->seccomp_unconfined,
    };
    for (size_t i = 0; i < options->security.count; i++)
        if (security_option(options->security.values[i], options, security, err) < 0)
            return -1;
    return 0;
}
