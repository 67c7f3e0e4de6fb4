/* The floors of a process: written into the configuration, so that the plan, the state and every
 * later exec have them. */
#include "parts.h"
#include "runtime/plan/compose.h"

#define BIT(number) (UINT64_C(1) << (number))

static const char *const sets[] = { "bounding", "effective", "permitted", "inheritable",
                                    "ambient" };

enum { SET_COUNT = sizeof sets / sizeof *sets, MAX_CAPABILITY = 63 };

static int number_of(const json_t *name)
{
    int number = json_is_string(name) ? capability_from_name(json_string_value(name)) : -1;
    return number <= MAX_CAPABILITY ? number : -1;
}

static uint64_t read_set(const json_t *list)
{
    uint64_t set = 0;
    size_t index;
    const json_t *entry;
    json_array_foreach(list, index, entry)
    {
        int number = number_of(entry);
        if (number >= 0)
            set |= BIT(number);
    }
    return set;
}

/* Removes the denied ones from one set, and says which they were. */
static uint64_t drop_from(json_t *list, uint64_t denied)
{
    uint64_t dropped = 0;
    for (size_t i = json_array_size(list); i-- > 0;) {
        int number = number_of(json_array_get(list, i));
        if (number < 0 || !(denied & BIT(number)))
            continue;
        dropped |= BIT(number);
        (void)json_array_remove(list, i);
    }
    return dropped;
}

static int drop_capabilities(uint64_t denied, json_t *process, struct policy_decision *decision)
{
    json_t *capabilities = json_object_get(process, "capabilities");
    uint64_t dropped = 0;
    for (size_t i = 0; i < SET_COUNT; i++) {
        /* compose shares one array among the sets: each is changed in a copy of its own. */
        json_t *list = json_object_get(capabilities, sets[i]);
        json_t *copy = json_is_array(list) ? json_copy(list) : NULL;
        if (!json_is_array(list))
            continue;
        dropped |= drop_from(copy, denied);
        if (json_object_set_new(capabilities, sets[i], copy) < 0)
            return policy_refuse(decision, "out of memory");
    }
    for (int i = 0; i <= MAX_CAPABILITY; i++)
        if ((dropped & BIT(i)) &&
            policy_note(decision, "capability dropped: %s", capability_name(i)) < 0)
            return -1;
    return 0;
}

int policy_apply_process(const struct policy_floors *floors, json_t *process,
                         struct policy_decision *decision)
{
    if (!json_is_object(process))
        return policy_refuse(decision, "the configuration has no process");
    if (drop_capabilities(floors->denied, process, decision) < 0)
        return -1;
    if (!floors->no_new_privileges || json_is_true(json_object_get(process, "noNewPrivileges")))
        return 0;
    if (json_object_set_new(process, "noNewPrivileges", json_true()) < 0)
        return policy_refuse(decision, "out of memory");
    return policy_note(decision, "no_new_privileges: set");
}

uint64_t policy_bounding_set(const json_t *config)
{
    const json_t *process = json_object_get(config, "process");
    return read_set(json_object_get(json_object_get(process, "capabilities"), "bounding"));
}

/* --- together ------------------------------------------------------------------------------------
 */

int policy_check_named(const struct policy_floors *floors, uint64_t capabilities,
                       const char *option, struct policy_decision *decision)
{
    for (int i = 0; i <= MAX_CAPABILITY; i++) {
        const char *name = capability_name(i);
        if (name && (capabilities & floors->denied & BIT(i)))
            return policy_refuse(decision, "the capability %s is denied; leave %s out", name,
                                 option);
    }
    return 0;
}

static int check_asked(const struct policy_floors *floors, const struct policy_asked *asked,
                       struct policy_decision *decision)
{
    if (policy_check_named(floors, asked->capabilities, "--cap-add", decision) < 0)
        return -1;
    if (asked->new_privileges && floors->no_new_privileges)
        return policy_refuse(decision,
                             "no-new-privileges always holds; leave no-new-privileges=false out");
    return 0;
}

/* The member of an object, made if it is absent. NULL: it is something else. */
static json_t *member_object(json_t *object, const char *key)
{
    json_t *member = json_object_get(object, key);
    if (member && !json_is_null(member))
        return json_is_object(member) ? member : NULL;
    member = json_object();
    return json_object_set_new(object, key, member) == 0 ? member : NULL;
}

int policy_apply_floors(const struct policy_floors *floors, const struct policy_identity *identity,
                        const struct policy_asked *asked, json_t *config,
                        struct policy_decision *decision)
{
    json_t *linux_part = member_object(config, "linux");
    bool limited = floors->memory > 0 || floors->cpu_quota > 0 || floors->pids > 0;
    json_t *resources = limited ? member_object(linux_part, "resources") : NULL;
    if (!linux_part || (limited && !resources))
        return policy_refuse(decision,
                             "linux or linux.resources of the configuration is no object");
    bool is_default = policy_has_default_filter(config);
    if (check_asked(floors, asked, decision) < 0 ||
        policy_check_host(floors, identity, config, decision) < 0 ||
        policy_pin_hooks(identity, config, decision) < 0 ||
        policy_apply_exposure(floors, identity, config, decision) < 0 ||
        policy_apply_process(floors, json_object_get(config, "process"), decision) < 0 ||
        policy_check_seccomp(floors->seccomp, config, is_default, decision) < 0)
        return -1;
    /* The default filter depends on the capabilities: with fewer of them it allows less. */
    if (is_default && floors->denied &&
        json_object_set_new(linux_part, "seccomp",
                            seccomp_default_profile(policy_bounding_set(config))) < 0)
        return policy_refuse(decision, "out of memory");
    if (!limited)
        return 0;
    return policy_apply_cgroup_mounts(identity, config, decision) < 0
               ? -1
               : policy_apply_limits(floors, true, resources, decision);
}
