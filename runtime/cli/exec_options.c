#include "exec_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/cgroup/cgroup.h"
#include "runtime/plan/compose.h"

/* What an option is refused beside. */
enum {
    WITH_IMAGE = 1,   /* a workload of `hybrid run` */
    WITH_VM = 2,      /* a bundle's VM */
    WITH_PROCESS = 4, /* --process, whose object has a member of it */
};

struct given {
    const char *option;
    bool given;
    int refused; /* of those */
};

static const char *first_refused(const struct given *given, size_t count, int beside)
{
    for (size_t i = 0; i < count; i++)
        if (given[i].given && (given[i].refused & beside))
            return given[i].option;
    return NULL;
}

int exec_changes_check(const struct exec_changes *changes, const struct state *state,
                       bool has_process, struct error *err)
{
    const struct given all[] = {
        { "--cap", changes->capabilities.count > 0, WITH_IMAGE | WITH_PROCESS },
        { "--apparmor", changes->apparmor != NULL, WITH_IMAGE | WITH_VM | WITH_PROCESS },
        { "--process-label", changes->label != NULL, WITH_IMAGE | WITH_VM | WITH_PROCESS },
        { "--cgroup", changes->cgroup != NULL, WITH_IMAGE | WITH_VM },
        { "--additional-gids", changes->groups.count > 0, WITH_PROCESS },
        { "--no-new-privs", changes->no_new_privileges, WITH_PROCESS },
    };
    enum { COUNT = sizeof all / sizeof *all };
    const char *name = state->bundle ? NULL : first_refused(all, COUNT, WITH_IMAGE);
    if (name)
        return error_set(err, EXIT_OURS,
                         "%s is for containers of bundles: a command in a workload of `hybrid run` "
                         "has at most what that was given",
                         name);
    if (strcmp(state->isolation, "vm") == 0)
        name = first_refused(all, COUNT, WITH_VM);
    if (name)
        return error_set(err, EXIT_OURS,
                         "%s: %s is a VM: its kernel has neither AppArmor nor SELinux, and its "
                         "cgroups are its own",
                         name, state->id);
    name = has_process ? first_refused(all, COUNT, WITH_PROCESS) : NULL;
    return name ? error_set(err, EXIT_OURS, "%s: the object of --process has it, give it there",
                            name)
                : 0;
}

static int append(json_t *list, json_t *value, struct error *err)
{
    return json_array_append_new(list, value) == 0 ? 0 : error_set(err, EXIT_OURS, "out of memory");
}

/* The member of an object, made if it is not there; borrowed. */
static json_t *member(json_t *object, const char *key, json_t *(*make)(void))
{
    json_t *value = json_object_get(object, key);
    if (value && !json_is_null(value))
        return value;
    (void)json_object_set_new(object, key, make());
    return json_object_get(object, key);
}

enum { CAPABILITY_SIZE = 64 };

/* With or without CAP_; full: with it. Returns the number, or -1. */
static int find_capability(const char *name, char full[CAPABILITY_SIZE])
{
    (void)snprintf(full, CAPABILITY_SIZE, "%s%.48s",
                   strncasecmp(name, "CAP_", 4) == 0 ? "" : "CAP_", name);
    return capability_from_name(full);
}

/*
 * As runc does: into the sets that matter at once, and into the ambient one where the process has
 * inheritable ones, without which the kernel takes none.
 */
static int add_capability(json_t *process, const char *name, struct error *err)
{
    static const char *const sets[] = { "bounding", "effective", "permitted", "ambient" };
    char full[CAPABILITY_SIZE];
    int number = find_capability(name, full);
    if (number < 0) {
        const char *near = capability_nearest(full);
        return error_set(err, EXIT_OURS, "--cap=%.40s: there is no such capability%s%s", name,
                         near ? "; did you mean " : "", near ? near : "");
    }
    json_t *capabilities = member(process, "capabilities", json_object);
    bool inherits = json_array_size(json_object_get(capabilities, "inheritable")) > 0;
    for (size_t i = 0; i < sizeof sets / sizeof *sets - !inherits; i++)
        if (append(member(capabilities, sets[i], json_array), json_string(capability_name(number)),
                   err) < 0)
            return -1;
    return 0;
}

/* One or more, with commas between them. */
static int add_groups(json_t *process, const char *text, struct error *err)
{
    json_t *groups = member(member(process, "user", json_object), "additionalGids", json_array);
    for (const char *at = text;; at++) {
        char *end = NULL;
        unsigned long long group = strtoull(at, &end, 10);
        if (*at < '0' || *at > '9' || group >= UINT32_MAX || (*end && *end != ','))
            return error_set(err, EXIT_OURS,
                             "--additional-gids=%.60s: write numbers from 0 to 4294967294, such as "
                             "10,20",
                             text);
        if (append(groups, json_integer((json_int_t)group), err) < 0)
            return -1;
        at = end;
        if (!*at)
            return 0;
    }
}

int exec_changes_make(const struct exec_changes *changes, json_t *process, struct error *err)
{
    for (size_t i = 0; i < changes->capabilities.count; i++)
        if (add_capability(process, changes->capabilities.values[i], err) < 0)
            return -1;
    for (size_t i = 0; i < changes->groups.count; i++)
        if (add_groups(process, changes->groups.values[i], err) < 0)
            return -1;
    if ((changes->apparmor &&
         json_object_set_new(process, "apparmorProfile", json_string(changes->apparmor)) < 0) ||
        (changes->label &&
         json_object_set_new(process, "selinuxLabel", json_string(changes->label)) < 0) ||
        (changes->no_new_privileges &&
         json_object_set_new(process, "noNewPrivileges", json_true()) < 0))
        return error_set(err, EXIT_OURS, "out of memory");
    return 0;
}

uint64_t exec_changes_capabilities(const struct exec_changes *changes)
{
    uint64_t set = 0;
    char full[CAPABILITY_SIZE];
    for (size_t i = 0; i < changes->capabilities.count; i++) {
        int number = find_capability(changes->capabilities.values[i], full);
        set |= number >= 0 ? UINT64_C(1) << number : 0;
    }
    return set;
}

int exec_changes_cgroup(const struct exec_changes *changes, const struct state *state,
                        char name[PATH_MAX], struct error *err)
{
    const char *own = state->cgroup ? state->cgroup : "";
    const char *below = changes->cgroup ? changes->cgroup + strspn(changes->cgroup, "/") : "";
    int length = snprintf(name, PATH_MAX, "%s%s%s", own, *below ? "/" : "", below);
    if (!*below)
        return 0;
    if (length >= PATH_MAX || !*own)
        return error_set(err, EXIT_OURS, "--cgroup=%.200s: %s", below,
                         *own ? "it is too long" : "the container has no cgroup of its own");
    if (strchr(below, ':'))
        return error_set(err, EXIT_OURS,
                         "--cgroup=%.200s: a cgroup of one controller alone is not supported; make "
                         "it in all hierarchies of the container, and give its path",
                         below);
    return cgroup_check_below(own, name, err);
}
