/* Capabilities, by the raw system calls: capabilities(7), capset(2), PR_CAPBSET_DROP,
 * PR_CAP_AMBIENT. */
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "context.h"

#define CAPABILITY(n) (1ULL << (n))

static int write_sets(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];
    for (int i = 0; i < 2; i++)
        data[i] = (struct __user_cap_data_struct){
            .effective = (uint32_t)(effective >> (32 * i)),
            .permitted = (uint32_t)(permitted >> (32 * i)),
            .inheritable = (uint32_t)(inheritable >> (32 * i)),
        };
    return (int)syscall(SYS_capset, &header, data);
}

/* The permitted set of this process. */
uint64_t capabilities_held(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { 0 };
    if (syscall(SYS_capget, &header, data) < 0)
        return 0;
    return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static int drop_bounding(uint64_t keep, struct error *err)
{
    for (int capability = 0; capability < 64; capability++) {
        if (keep & CAPABILITY(capability))
            continue;
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            if (errno == EINVAL)
                return 0; /* past the last one of this kernel */
            return sandbox_fail(err, "cannot drop capability %d from the bounding set", capability);
        }
    }
    return 0;
}

static int raise_ambient(uint64_t ambient, struct error *err)
{
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (int capability = 0; capability < 64; capability++)
        if ((ambient & CAPABILITY(capability)) &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
            return sandbox_fail(err, "cannot raise the ambient capability %d", capability);
    return 0;
}

/*
 * Some hosts keep capabilities even from root. Who asks for all of them, or all but a few
 * (--cap-add ALL --cap-drop X), gets those there are; a list of more than half of ours can mean
 * nothing else. Who asks for a particular one that we lack is told so.
 */
static int limit_to_held(struct plan_capabilities *sets, uint64_t held, struct error *err)
{
    uint64_t wanted = sets->bounding | sets->permitted | sets->inheritable | sets->ambient;
    uint64_t missing = wanted & ~held;
    bool asks_for_all =
        2 * __builtin_popcountll(wanted & held) > __builtin_popcountll(held) && held != 0;
    if (missing && !asks_for_all)
        return error_set(err, EXIT_OURS,
                         "cannot give capability %d: hybrid itself was started without it",
                         __builtin_ctzll(missing));
    sets->bounding &= held;
    sets->effective &= held;
    sets->permitted &= held;
    sets->inheritable &= held;
    sets->ambient &= held;
    return 0;
}

static bool has_step(const struct plan *plan, enum plan_step_kind kind)
{
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind == kind)
            return true;
    return false;
}

/*
 * Bounding set first (it needs CAP_SETPCAP), then the ids with the permitted set kept, then the
 * sets.
 *
 * A filter loaded without no_new_privs needs CAP_SYS_ADMIN, yet must be loaded last, or it would
 * have to allow what comes after it. So the capability is kept up to execve, which computes all
 * sets anew from the bounding, inheritable and ambient ones and thereby takes it away.
 */
int capabilities_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    struct plan_capabilities sets = step->capabilities;
    if (limit_to_held(&sets, sandbox->held_capabilities, err) < 0 ||
        drop_bounding(sets.bounding, err) < 0)
        return -1;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return sandbox_fail(err, "cannot keep capabilities over the change of user");
    if (identity_assume(sandbox, err) < 0)
        return -1;
    /*
     * A user other than root has nothing but the ambient set after execve, and must not have more
     * at execve, which checks permissions: the plan could not say so before the name was resolved.
     * (Docker leaves them empty, too.)
     */
    if (sandbox->identity.named && sandbox->identity.uid != 0)
        sets.effective = sets.permitted = sets.ambient;
    /* The kernel knows no others (capabilities(7)), and builders ask for ambient ones by habit. */
    sets.ambient &= sets.inheritable & sets.permitted;
    const struct plan *plan = sandbox->plan;
    uint64_t until_exec = plan->filter && !has_step(plan, PLAN_NO_NEW_PRIVS)
                              ? sandbox->held_capabilities & CAPABILITY(CAP_SYS_ADMIN)
                              : 0;
    if (write_sets(sets.effective | until_exec, sets.permitted | until_exec, sets.inheritable) < 0)
        return sandbox_fail(err, "cannot set the capabilities");
    return raise_ambient(sets.ambient, err);
}

int no_new_privs_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)sandbox;
    (void)step;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return sandbox_fail(err, "cannot set no_new_privs");
    return 0;
}
