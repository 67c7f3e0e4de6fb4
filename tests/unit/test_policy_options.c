/* No combination of what a caller chooses gives less than the policy gives without it. */
/* link: policy plan */
#include "test_policy.h"

#include <sched.h>

#define ALL_FLOORS                                                                                 \
    "'floors':{'isolation':'vm','no_new_privileges':true,'seccomp':'default',"                     \
    "'denied_capabilities':['ALL'],'denied_host_namespaces':['pid','ipc'],'allowed_hooks':[],"     \
    "'masked_paths':['/proc/kcore'],'readonly_paths':['/proc/sys','/sys'],'allowed_sysctls':[],"   \
    "'denied_propagation':['shared','slave'],"                                                     \
    "'limits':{'memory':'64m','cpus':0.5,'pids':10}}"
#define SOME_FLOORS                                                                                \
    "'floors':{'seccomp':'required','denied_capabilities':['NET_RAW','SYS_ADMIN'],"                \
    "'denied_host_namespaces':['ipc'],'allowed_hooks':['/usr/bin/env'],"                           \
    "'masked_paths':['/proc/kcore','/proc/keys'],'allowed_sysctls':['net.ipv4.'],"                 \
    "'denied_propagation':['shared'],"                                                             \
    "'limits':{'memory':'1g','pids':100}}"

static const char *const policies[] = {
    RULES("container", LABEL_VM "," CAP_VM "," MOUNT_DENY "," BY_LIBRARY),
    RULES("vm", LABEL_WEAK "," BY_LIBRARY),
    RULES("vm", NAME_WEAK "," LABEL_WEAK "," CAP_DEFAULT),
    RULES("container", NAME_VM "," HOST_SPACES "," HOOK_DENY),
    RULES("vm", BY_NAME "," RULE("own", "'host_namespaces':['uts']", "container")),
    RULES("vm", RULE("hooked", "'hooks':['/']", "container") "," RULE(
                    "pod", "'joined_namespaces':['pid','ipc','uts']", "container")),
    RULES("vm", RULE("admins", "'capabilities':['SYS_ADMIN']", "container")),
    RULES("vm", RULE("mounted", "'mounts':['/etc']", "container")),
    RULES("vm", RULE("disks", "'devices':['b *:*']", "container")),
    RULES("vm", RULE("net", "'networks':['host','joined']", "container")),
    RULES("container", MOUNT_DENY "," DEVICE_DISK "," NETWORK_VM),
    RULES("container", CAP_DEFAULT "," LABEL_WEAK "," JOINED_SPACES),
    RULES("deny", RULE("w", "'labels':{'k':'*'},'capabilities':['ALL']", "container")),
    "{'version':1," ALL_FLOORS ",'rules':[],'default':'container'}",
    "{'version':1," SOME_FLOORS ",'rules':[" LABEL_VM "],'default':'container'}",
};

/* --- what a caller chooses -----------------------------------------------------------------------
 */

/* The first of each is what is there without choosing. */
static const char *const names[] = { NULL, LIBRARY, "evil.example/x:1" };
static const char *const adds[] = { NULL, "SYS_ADMIN", "ALL", "NET_RAW", "CHOWN" };
static const char *const drops[] = { NULL, "ALL", "CHOWN", "NET_RAW" };
static const char *const labels[] = { NULL, "trust=yes", "risk=high", "risk=low", "k=v" };
static const char *const security[] = { NULL, "seccomp=unconfined", "no-new-privileges",
                                        "no-new-privileges=false", "seccomp=file" };
static const char *const profiles[] = {
    "{'defaultAction':'SCMP_ACT_ALLOW'}",
    "{'defaultAction':'SCMP_ACT_NOTIFY','listenerPath':'/agent'}",
    "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['userfaultfd'],'action':"
    "'SCMP_ACT_LOG'}]}",
    "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['read'],'action':'SCMP_ACT_ALLOW'}]}",
};
static const int64_t memory[] = { -1, 8 << 20, 64 << 20, (int64_t)4 << 30, INT64_MAX };
static const double cpus[] = { 0, 0.1, 0.5, 8 };
static const int64_t pids[] = { -1, 0, 5, 10, 100000 };
static const char *const isolations[] = { "auto", "container", "vm" };
/* What only a bundle can say. */
static const char *const namespaces[] = {
    NULL,
    "[]",
    "[{'type':'pid'},{'type':'ipc'},{'type':'network'},{'type':'uts'}]",
    "[{'type':'pid','path':'/p'},{'type':'ipc','path':'/i'},{'type':'mount'}]",
};
static const char *const hooks[] = {
    NULL,
    "{'prestart':[{'path':'/opt/tool'}]}",
    "{'poststop':[{'path':'/usr/bin/env'}]}",
    "{'createContainer':[{'path':'relative'}],'poststart':[{'path':'/usr/bin/env'}]}",
};
static const char *const mounts[] = {
    NULL,
    "[{'destination':'/x','type':'bind','source':'/etc','options':['rbind']}]",
    "[{'destination':'/x','type':'bind','source':'/proc','options':['rbind']}]",
    "[{'destination':'/x','type':'proc','source':'proc'}]",
    "[{'destination':'/x','type':'bind','source':'/home','options':['rbind','rshared']}]",
};
static const char *const exposures[] = {
    NULL,
    "{'maskedPaths':[],'readonlyPaths':null}",
    "{'sysctl':{'kernel.msgmax':'1','net.ipv4.ip_forward':'1'}}",
    "{'rootfsPropagation':'rshared'}",
};
static const char *const devices[] = {
    NULL,
    "[{'path':'/dev/x','type':'b','major':8,'minor':0}]",
};
static const unsigned int joined[] = { 0, CLONE_NEWPID | CLONE_NEWIPC };

static const unsigned int choices[] = {
    ROWS(names),  ROWS(adds),   ROWS(drops),   ROWS(labels),     ROWS(security),   ROWS(profiles),
    ROWS(memory), ROWS(cpus),   ROWS(pids),    ROWS(isolations), ROWS(namespaces), ROWS(hooks),
    ROWS(joined), ROWS(mounts), ROWS(devices), ROWS(exposures),
};
enum choice {
    NAME,
    ADD,
    DROP,
    LABEL,
    SECURITY,
    PROFILE,
    MEMORY,
    CPUS,
    PIDS,
    ISOLATION,
    SPACE,
    HOOKED,
    JOINED,
    MOUNTED,
    DEVICE,
    EXPOSURE
};
enum { CHOICES = sizeof choices / sizeof *choices, TRIED = 500 };

/* All zero: nothing is chosen. */
struct combination {
    unsigned int at[CHOICES];
};

/* The same for the same number; spread evenly (the finalizer of SplitMix64). */
static struct combination combination_of(uint64_t number)
{
    struct combination result;
    uint64_t rest = (number + 1) * 0x9e3779b97f4a7c15;
    rest = (rest ^ rest >> 30) * 0xbf58476d1ce4e5b9;
    rest = (rest ^ rest >> 27) * 0x94d049bb133111eb;
    rest ^= rest >> 31;
    for (size_t i = 0; i < CHOICES; rest /= choices[i], i++)
        result.at[i] = (unsigned int)(rest % choices[i]);
    return result;
}

static json_t *configure(const struct combination *chosen, struct policy_asked *asked)
{
    const unsigned int *at = chosen->at;
    const char *lists[] = { adds[at[ADD]], drops[at[DROP]], labels[at[LABEL]],
                            security[at[SECURITY]] };
    json_t *profile = load(profiles[at[PROFILE]]);
    struct run_options options = defaults();
    options.cap_add = (struct option_list){ &lists[0], lists[0] != NULL };
    options.cap_drop = (struct option_list){ &lists[1], lists[1] != NULL };
    options.labels = (struct option_list){ &lists[2], lists[2] != NULL };
    options.security = (struct option_list){ &lists[3], lists[3] != NULL };
    options.seccomp_profile = at[SECURITY] == 4 ? profile : NULL;
    options.memory = memory[at[MEMORY]];
    options.cpus = cpus[at[CPUS]];
    options.pids_limit = pids[at[PIDS]];
    options.isolation = isolations[at[ISOLATION]];
    asked->isolation = policy_isolation_from_name(options.isolation);
    json_t *config = compose("{'config':{'Labels':{'risk':'high'}}}", &options, NULL);
    json_decref(profile);
    if (config && namespaces[at[SPACE]])
        json_object_set_new(json_object_get(config, "linux"), "namespaces",
                            load(namespaces[at[SPACE]]));
    if (config && mounts[at[MOUNTED]])
        json_object_set_new(config, "mounts", load(mounts[at[MOUNTED]]));
    if (config && devices[at[DEVICE]])
        json_object_set_new(json_object_get(config, "linux"), "devices", load(devices[at[DEVICE]]));
    if (config && exposures[at[EXPOSURE]]) {
        json_t *members = load(exposures[at[EXPOSURE]]);
        (void)json_object_update(json_object_get(config, "linux"), members);
        json_decref(members);
    }
    if (config && hooks[at[HOOKED]])
        json_object_set_new(config, "hooks", load(hooks[at[HOOKED]]));
    return config;
}

/* pulled: the image was pulled under its name, and is run by it; else it is called as chosen. */
static enum policy_isolation decide(const struct policy *policy, bool pulled,
                                    const struct combination *chosen, json_t **config)
{
    struct policy_asked asked = { 0 };
    struct policy_decision decision;
    *config = configure(chosen, &asked);
    if (!*config) /* the options contradict each other: refused, policy or not */
        return POLICY_DENY;
    json_t *image_labels = load("{'risk':'high'}"), *leads = policy_resolve_hooks(*config);
    const struct policy_identity identity = {
        .reference = pulled ? LIBRARY : names[chosen->at[NAME]],
        .pulled = pulled,
        .digest = DIGEST,
        .image_labels = image_labels,
        .host_namespaces = joined[chosen->at[JOINED]],
        .hooks = leads,
    };
    (void)policy_enforce(policy, &identity, &asked, *config, &decision, NULL);
    policy_decision_free(&decision);
    json_decref(image_labels);
    json_decref(leads);
    return decision.isolation;
}

/* --- what "less" means ---------------------------------------------------------------------------
 */

static bool has_larger_limit(const json_t *base, const json_t *with)
{
    static const char *const limits[] = { "memory/limit", "memory/swap", "pids/limit",
                                          "cpu/quota" };
    for (size_t i = 0; i < ROWS(limits); i++) {
        const json_t *limit = get(get(base, "linux/resources"), limits[i]);
        const json_t *other = get(get(with, "linux/resources"), limits[i]);
        if (limit && (!other || json_integer_value(other) > json_integer_value(limit)))
            return true;
    }
    return false;
}

static bool has_denied_capability(const struct policy_floors *floors, const json_t *config)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(get(config, "process/capabilities/bounding"), index, entry)
    {
        if (floors->denied & (UINT64_C(1) << capability_from_name(json_string_value(entry))))
            return true;
    }
    return !json_equal(get(config, "process/capabilities/bounding"),
                       get(config, "process/capabilities/effective"));
}

static bool has_weak_filter(const struct policy_floors *floors, const json_t *config)
{
    const json_t *filter = get(config, "linux/seccomp"), *rule, *name;
    const char *fallback = json_string_value(json_object_get(filter, "defaultAction"));
    size_t i, n;
    if (floors->seccomp == POLICY_SECCOMP_ANY)
        return false;
    if (!fallback || strcmp(fallback, "SCMP_ACT_ERRNO") != 0)
        return true;
    json_array_foreach(json_object_get(filter, "syscalls"), i, rule)
    {
        json_array_foreach(json_object_get(rule, "names"), n, name)
        {
            if (strcmp(json_string_value(name), "userfaultfd") == 0)
                return true;
        }
    }
    return floors->seccomp == POLICY_SECCOMP_DEFAULT &&
           json_array_size(get(filter, "syscalls")) < 20;
}

static bool has_hook(const json_t *config, const char *kind, const char *allowed)
{
    const json_t *hook = json_array_get(json_object_get(get(config, "hooks"), kind), 0);
    const char *path = json_string_value(json_object_get(hook, "path"));
    return path && (!allowed || strcmp(path, allowed) != 0);
}

static bool lacks_namespace(const json_t *config, const char *wanted)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(get(config, "linux/namespaces"), index, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "type")), wanted) == 0)
            return false;
    }
    return true;
}

static bool lacks_entry(const json_t *wanted, const json_t *list)
{
    size_t index, number;
    const json_t *entry, *other;
    json_array_foreach(wanted, index, entry)
    {
        bool found = false;
        json_array_foreach(list, number, other) found |= json_equal(entry, other);
        if (!found)
            return true;
    }
    return false;
}

/* A mount of the configuration that has this member, or this option. */
static bool has_mount(const json_t *config, const char *member, const char *value)
{
    json_t *wanted = json_string(value);
    size_t index, number;
    const json_t *mount, *option;
    bool found = false;
    json_array_foreach(get(config, "mounts"), index, mount)
    {
        bool usual = strcmp(json_string_value(json_object_get(mount, "destination")), "/x") != 0;
        if (usual)
            continue;
        found |= json_equal(json_object_get(mount, member), wanted);
        json_array_foreach(json_object_get(mount, member), number, option) found |=
            json_equal(option, wanted);
    }
    json_decref(wanted);
    return found;
}

/* Of what it sees and changes of its kernel. */
static const char *find_exposure(const struct policy_floors *floors, const json_t *config)
{
    const json_t *lin = get(config, "linux");
    const char *propagation = json_string_value(json_object_get(lin, "rootfsPropagation"));
    if (lacks_entry(floors->masked_paths, json_object_get(lin, "maskedPaths")) ||
        lacks_entry(floors->readonly_paths, json_object_get(lin, "readonlyPaths")))
        return "a path";
    if (floors->masked_paths &&
        (has_mount(config, "type", "proc") || has_mount(config, "source", "/proc")))
        return "a path elsewhere";
    if (floors->allowed_sysctls && get(config, "linux/sysctl") &&
        json_object_get(get(config, "linux/sysctl"), "kernel.msgmax"))
        return "a sysctl";
    if (floors->denied_propagation && (has_mount(config, "options", "rshared") ||
                                       (propagation && strcmp(propagation, "rshared") == 0)))
        return "the propagation";
    return NULL;
}

/* What of the floors `config` lacks, or has less of than `base`; NULL: nothing. */
static const char *find_weakness(const struct policy_floors *floors, const json_t *base,
                                 const json_t *config, const struct combination *chosen)
{
    const json_t *allowed = json_array_get(floors->allowed_hooks, 0);
    static const char *const kinds[] = { "prestart", "createContainer", "poststart", "poststop" };
    bool unprivileged = json_is_true(get(base, "process/noNewPrivileges"));
    if (has_larger_limit(base, config))
        return "a limit";
    if (unprivileged && !json_is_true(get(config, "process/noNewPrivileges")))
        return "no_new_privileges";
    if (has_denied_capability(floors, config))
        return "a capability";
    if (has_weak_filter(floors, config))
        return "the filter";
    for (size_t i = 0; floors->allowed_hooks && i < ROWS(kinds); i++)
        if (has_hook(config, kinds[i], json_string_value(allowed)))
            return "a hook";
    bool shares_ipc = lacks_namespace(config, "ipc") || (joined[chosen->at[JOINED]] & CLONE_NEWIPC);
    if ((floors->denied_namespaces & CLONE_NEWIPC) && shares_ipc)
        return "a namespace";
    return find_exposure(floors, config);
}

/* --- the tests -----------------------------------------------------------------------------------
 */

/* Returns how many of the combinations were not refused. */
static size_t try_combinations(const struct policy *policy, bool pulled, size_t number)
{
    static const struct combination nothing;
    json_t *base, *config;
    size_t run = 0;
    enum policy_isolation given = decide(policy, pulled, &nothing, &base);
    for (uint64_t i = 0; i < TRIED; i++) {
        const struct combination chosen = combination_of(number * TRIED + i);
        enum policy_isolation with = decide(policy, pulled, &chosen, &config);
        if (with < given)
            fail_msg("policy %zu, combination %zu: %s, and %s without", number, (size_t)i,
                     policy_isolation_name(with), policy_isolation_name(given));
        const char *weakness =
            with == POLICY_DENY ? NULL : find_weakness(&policy->floors, base, config, &chosen);
        if (weakness)
            fail_msg("policy %zu, combination %zu: %s is weaker", number, (size_t)i, weakness);
        run += with != POLICY_DENY;
        json_decref(config);
    }
    json_decref(base);
    assert_int_equal(run == 0, given == POLICY_DENY);
    return run;
}

static void test_no_option_weakens(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(policies); i++) {
        struct policy *policy = policy_of(policies[i]);
        (void)try_combinations(policy, false, i);
        (void)try_combinations(policy, true, i);
        policy_free(policy);
    }
}

/* Every choice is tried with every other: else the property would not be what is tested. */
static void test_all_pairs_are_tried(void **state)
{
    (void)state;
    static bool seen[CHOICES][8][CHOICES][8];
    for (uint64_t i = 0; i < TRIED; i++) {
        const struct combination chosen = combination_of(i);
        for (size_t a = 0; a < CHOICES; a++)
            for (size_t b = 0; b < CHOICES; b++)
                seen[a][chosen.at[a]][b][chosen.at[b]] = true;
    }
    for (size_t a = 0; a < CHOICES; a++)
        for (size_t b = a + 1; b < CHOICES; b++)
            for (unsigned int n = 0; n < choices[a] * choices[b]; n++)
                if (!seen[a][n / choices[b]][b][n % choices[b]])
                    fail_msg("choice %zu=%u with %zu=%u", a, n / choices[b], b, n % choices[b]);
}

/* A configuration with all floors, but for one member that is as somebody chose it: seen to be
 * less.
 */
static void test_weakness_is_seen(void **state)
{
    (void)state;
    static const struct {
        struct combination chosen;
        const char *object, *member, *expected;
    } table[] = {
        { { { [MEMORY] = 3 } }, "linux/resources", "memory", "a limit" },
        { { { [PIDS] = 4 } }, "linux/resources", "pids", "a limit" },
        { { { [CPUS] = 3 } }, "linux/resources", "cpu", "a limit" },
        { { { [SECURITY] = 3 } }, "process", "noNewPrivileges", "no_new_privileges" },
        { { { [ADD] = 1 } }, "process", "capabilities", "a capability" },
        { { { [SECURITY] = 1 } }, "linux", "seccomp", "the filter" },
        { { { [SECURITY] = 4, [PROFILE] = 1 } }, "linux", "seccomp", "the filter" },
        { { { [SECURITY] = 4, [PROFILE] = 2 } }, "linux", "seccomp", "the filter" },
        { { { [HOOKED] = 1 } }, NULL, "hooks", "a hook" },
        { { { [HOOKED] = 3 } }, NULL, "hooks", "a hook" },
        { { { [SPACE] = 1 } }, "linux", "namespaces", "a namespace" },
        { { { [JOINED] = 1 } }, "linux", "namespaces", "a namespace" },
        { { { [EXPOSURE] = 1 } }, "linux", "maskedPaths", "a path" },
        { { { [EXPOSURE] = 1 } }, "linux", "readonlyPaths", "a path" },
        { { { [EXPOSURE] = 2 } }, "linux", "sysctl", "a sysctl" },
        { { { [EXPOSURE] = 3 } }, "linux", "rootfsPropagation", "the propagation" },
        { { { [MOUNTED] = 2 } }, NULL, "mounts", "a path elsewhere" },
        { { { [MOUNTED] = 3 } }, NULL, "mounts", "a path elsewhere" },
        { { { [MOUNTED] = 4 } }, NULL, "mounts", "the propagation" },
    };
    static const struct combination nothing;
    struct policy *policy = policy_of("{'version':1," ALL_FLOORS ",'rules':[],'default':'vm'}");
    json_t *base;
    assert_int_equal(decide(policy, false, &nothing, &base), POLICY_VM);
    assert_null(find_weakness(&policy->floors, base, base, &nothing));
    for (size_t i = 0; i < ROWS(table); i++) {
        struct policy_asked asked;
        const char *object = table[i].object;
        json_t *changed = json_deep_copy(base), *config = configure(&table[i].chosen, &asked);
        json_t *from = object ? get(config, object) : config;
        json_t *to = object ? get(changed, object) : changed;
        json_t *value = json_object_get(from, table[i].member);
        if (value)
            json_object_set(to, table[i].member, value);
        else
            json_object_del(to, table[i].member);
        const char *seen = find_weakness(&policy->floors, base, changed, &table[i].chosen);
        assert_string_equal(seen ? seen : "nothing", table[i].expected);
        json_decref(changed);
        json_decref(config);
    }
    json_decref(base);
    policy_free(policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_option_weakens),
        cmocka_unit_test(test_all_pairs_are_tried),
        cmocka_unit_test(test_weakness_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
