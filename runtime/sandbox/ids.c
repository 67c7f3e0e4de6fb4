/*
 * Who the command will be: PLAN_USER resolves names inside the root and remembers; the change
 * itself comes with the capabilities, when nothing needs the privileges any more.
 */
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "context.h"
#include "passwd.h"

static int add_group(struct identity *identity, gid_t gid, struct error *err)
{
    gid_t *grown =
        reallocarray(identity->groups, identity->group_count + 1, sizeof *identity->groups);
    if (!grown)
        return error_set(err, EXIT_OURS, "out of memory");
    identity->groups = grown;
    grown[identity->group_count++] = gid;
    return 0;
}

static int resolve_group(int root_fd, const char *text, gid_t *gid, struct error *err)
{
    int found = *text ? group_find(root_fd, text, gid, err) : 0;
    if (found != 0)
        return found < 0 ? -1 : 0;
    if (id_parse(text, gid) < 0)
        return error_set(
            err, EXIT_OURS,
            "no group \"%s\": the image's /etc/group does not have it, and it is not a "
            "number from 0 to 4294967294",
            text);
    return 0;
}

/*
 * "user[:group]" with Docker's rules: names before numbers; an explicit group replaces the user's
 * own and its supplementary groups; a number without an entry has group 0 and home "/".
 */
static int resolve_names(struct sandbox *sandbox, const char *spec, struct passwd_entry *entry,
                         struct error *err)
{
    struct identity *identity = &sandbox->identity;
    _cleanup_free_ char *user = strdup(spec);
    if (!user)
        return error_set(err, EXIT_OURS, "out of memory");
    char *group = strchr(user, ':');
    if (group)
        *group++ = '\0';
    if (passwd_find(sandbox->root_fd, user, 0, entry, err) < 0)
        return -1;
    if (entry->found) {
        identity->uid = entry->uid;
    } else if (id_parse(user, &identity->uid) < 0) {
        return error_set(
            err, EXIT_OURS,
            "no user \"%s\": the image's /etc/passwd does not have it, and it is not a "
            "number from 0 to 4294967294",
            user);
    } else if (passwd_find(sandbox->root_fd, NULL, identity->uid, entry, err) < 0) {
        return -1;
    }
    identity->gid = entry->found ? entry->gid : 0;
    if (group && resolve_group(sandbox->root_fd, group, &identity->gid, err) < 0)
        return -1;
    /* The own group among the supplementary ones too: a set-group-id program cannot shed it
     * (CVE-2022-36109). */
    if (add_group(identity, identity->gid, err) < 0 || group || !entry->found)
        return identity->groups ? 0 : -1;
    return group_collect(sandbox->root_fd, entry->name, &identity->groups, &identity->group_count,
                         err);
}

static bool environment_has_home(const struct plan *plan)
{
    const struct plan_step *last = plan->step_count ? &plan->steps[plan->step_count - 1] : NULL;
    if (!last || last->kind != PLAN_EXEC || !last->exec.env)
        return false;
    for (const char *const *entry = last->exec.env; *entry; entry++)
        if (strncmp(*entry, "HOME=", 5) == 0)
            return true;
    return false;
}

/* The workload may open /dev/stdout again: pipes and terminals become its user's, shared devices do
 * not. */
static int give_stdio(uid_t uid, struct error *err)
{
    for (int fd = 0; fd < 3; fd++) {
        struct stat status;
        if (fstat(fd, &status) < 0 || status.st_uid == uid)
            continue;
        bool terminal = S_ISCHR(status.st_mode) && isatty(fd);
        if ((S_ISFIFO(status.st_mode) || terminal) && fchown(fd, uid, (gid_t)-1) < 0 &&
            errno != EPERM && errno != EINVAL)
            return sandbox_fail(err, "cannot give descriptor %d to user %u", fd, uid);
    }
    return 0;
}

static int compare_groups(const void *first, const void *second)
{
    const gid_t *a = first, *b = second;
    return (*a > *b) - (*a < *b);
}

/* The kernel keeps each group as often as it is given it, and id(1) prints it so; dockerd gives
 * that of the user twice where the image lists him in it. */
static void make_groups_distinct(struct identity *identity)
{
    if (identity->group_count == 0)
        return;
    qsort(identity->groups, identity->group_count, sizeof *identity->groups, compare_groups);
    size_t kept = 1;
    for (size_t i = 1; i < identity->group_count; i++)
        if (identity->groups[i] != identity->groups[kept - 1])
            identity->groups[kept++] = identity->groups[i];
    identity->group_count = kept;
}

int user_resolve(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const struct plan_user *user = &step->user;
    struct identity *identity = &sandbox->identity;
    struct passwd_entry entry = { 0 };
    if (user->name) {
        if (resolve_names(sandbox, user->name, &entry, err) < 0)
            return -1;
    } else {
        identity->uid = user->uid;
        identity->gid = user->gid;
        if (!environment_has_home(sandbox->plan) &&
            passwd_find(sandbox->root_fd, NULL, user->uid, &entry, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < user->additional_group_count; i++)
        if (add_group(identity, user->additional_groups[i], err) < 0)
            return -1;
    make_groups_distinct(identity);
    identity->home = strdup(entry.found && *entry.home ? entry.home : "/");
    if (!identity->home)
        return error_set(err, EXIT_OURS, "out of memory");
    identity->known = true;
    identity->named = user->name != NULL;
    return give_stdio(identity->uid, err);
}

int identity_protect(int death_signal, struct error *err)
{
    if (prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return sandbox_fail(err, "cannot protect the process");
    return 0;
}

/* Becomes the user; capabilities that the kernel takes on the way must have been kept by the
 * caller. */
int identity_assume(struct sandbox *sandbox, struct error *err)
{
    const struct identity *identity = &sandbox->identity;
    if (!identity->known)
        return 0;
    const char *hint = sandbox->user_namespace ? " (is it mapped in the user namespace?)" : "";
    if (setgroups(identity->group_count, identity->groups) < 0 ||
        setresgid(identity->gid, identity->gid, identity->gid) < 0 ||
        setresuid(identity->uid, identity->uid, identity->uid) < 0) {
        int cause = errno;
        return error_set(err, EXIT_OURS, "cannot become user %u, group %u: %s%s", identity->uid,
                         identity->gid, strerror(cause), hint);
    }
    return identity_protect(sandbox->request->death_signal, err);
}

/* In a new user namespace the process is nobody until it takes the namespace's root. */
int identity_enter_user_namespace(const struct sandbox *sandbox, struct error *err)
{
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return sandbox_fail(err, "cannot become root of the user namespace");
    return identity_protect(sandbox->request->death_signal, err);
}
