/*
 * The floor of seccomp. "default": the built-in filter and no other. "required": any that is a
 * filter in more than name: it refuses what it does not list, and lets no call of `closed` through,
 * which the default profiles of Docker and Podman and our own refuse alike. Logged calls are made;
 * an agent (SCMP_ACT_NOTIFY) or tracer is the caller's and may allow everything: both count as let
 * through.
 */
#include <string.h>

#include "parts.h"
#include "runtime/plan/compose.h"

#define BIT(number) (UINT64_C(1) << (number))

/* Calls of which many kernel bugs are known, and who may make them nevertheless. */
static const struct closed_call {
    const char *name;
    const char *capabilities[2]; /* one of these in the bounding set; none: nobody */
} closed[] = {
    { "acct", { "CAP_SYS_PACCT" } },
    { "add_key", { NULL } },
    { "bpf", { "CAP_SYS_ADMIN", "CAP_BPF" } },
    { "clock_settime", { "CAP_SYS_TIME" } },
    { "delete_module", { "CAP_SYS_MODULE" } },
    { "finit_module", { "CAP_SYS_MODULE" } },
    { "init_module", { "CAP_SYS_MODULE" } },
    { "ioperm", { "CAP_SYS_RAWIO" } },
    { "iopl", { "CAP_SYS_RAWIO" } },
    { "kexec_file_load", { "CAP_SYS_BOOT" } },
    { "kexec_load", { "CAP_SYS_BOOT" } },
    { "open_by_handle_at", { "CAP_DAC_READ_SEARCH" } },
    { "perf_event_open", { "CAP_SYS_ADMIN", "CAP_PERFMON" } },
    { "quotactl", { "CAP_SYS_ADMIN" } },
    { "quotactl_fd", { "CAP_SYS_ADMIN" } },
    { "request_key", { NULL } },
    { "settimeofday", { "CAP_SYS_TIME" } },
    { "swapoff", { "CAP_SYS_ADMIN" } },
    { "swapon", { "CAP_SYS_ADMIN" } },
    { "userfaultfd", { NULL } },
};

static const json_t *filter_of(const json_t *config)
{
    return json_object_get(json_object_get(config, "linux"), "seccomp");
}

bool policy_has_default_filter(const json_t *config)
{
    const json_t *filter = filter_of(config);
    if (!json_is_object(filter))
        return false;
    json_t *expected = seccomp_default_profile(policy_bounding_set(config));
    bool equal = json_equal(expected, filter);
    json_decref(expected);
    return equal;
}

/* An action that is none, or is not known here, refuses nothing. */
static bool refuses(const json_t *action)
{
    static const char *const actions[] = { "SCMP_ACT_ERRNO",       "SCMP_ACT_KILL",
                                           "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS",
                                           "SCMP_ACT_TRAP",        NULL };
    const char *name = json_string_value(action);
    for (size_t i = 0; name && actions[i]; i++)
        if (strcmp(name, actions[i]) == 0)
            return true;
    return false;
}

static bool is_closed(const struct closed_call *call, uint64_t capabilities)
{
    for (size_t i = 0; i < 2 && call->capabilities[i]; i++)
        if (capabilities & BIT(capability_from_name(call->capabilities[i])))
            return false;
    return true;
}

/* The first of a rule's names that must be closed; NULL: none. */
static const char *opened_by(const json_t *rule, uint64_t capabilities)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(json_object_get(rule, "names"), index, entry)
    {
        const char *name = json_string_value(entry);
        for (size_t i = 0; name && i < sizeof closed / sizeof *closed; i++)
            if (strcmp(name, closed[i].name) == 0 && is_closed(&closed[i], capabilities))
                return closed[i].name;
    }
    return NULL;
}

static int check_required(const json_t *config, struct policy_decision *decision)
{
    const json_t *filter = filter_of(config);
    if (!json_is_object(filter))
        return policy_refuse(decision,
                             "a seccomp filter is required; leave seccomp=unconfined out");
    if (!refuses(json_object_get(filter, "defaultAction")))
        return policy_refuse(decision, "the required seccomp filter must refuse what it does not "
                                       "list: its defaultAction lets calls through, or leaves them "
                                       "to an agent or tracer");
    size_t index;
    const json_t *rule;
    json_array_foreach(json_object_get(filter, "syscalls"), index, rule)
    {
        const char *name = refuses(json_object_get(rule, "action"))
                               ? NULL
                               : opened_by(rule, policy_bounding_set(config));
        if (name)
            return policy_refuse(
                decision,
                "the required seccomp filter must not let %s through (syscalls[%zu]"
                ") to a workload with these capabilities",
                name, index);
    }
    return 0;
}

int policy_check_seccomp(enum policy_seccomp floor, const json_t *config, bool is_default,
                         struct policy_decision *decision)
{
    if (floor == POLICY_SECCOMP_ANY || is_default)
        return 0;
    if (floor == POLICY_SECCOMP_DEFAULT)
        return policy_refuse(decision, "no other seccomp filter than the default one is allowed; "
                                       "leave --security-opt seccomp out");
    return check_required(config, decision);
}
