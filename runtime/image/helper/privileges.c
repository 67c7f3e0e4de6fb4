#include "runtime/image/helper/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    int capability;
    bool packs; /* only for whom packs a directory */
    const char *reason;
} kept[] = {
    { CAP_DAC_OVERRIDE, false, "archives and stores of other owners, directories that are packed" },
    { CAP_FOWNER, false, "hard links to, and removing of, files of other owners" },
    { CAP_SYS_ADMIN, true, "trusted.* attributes of what is packed" },
};

static uint64_t kept_set(bool packs)
{
    uint64_t set = 0;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (packs || !kept[i].packs)
            set |= 1ULL << kept[i].capability;
    return set;
}

/*
 * Nothing mounted here is seen elsewhere. With CLONE_NEWNET there is no network to reach, with
 * CLONE_NEWPID what is forked from now on sees, and can signal, no other process of the host.
 */
static int enter_namespaces(int more, struct error *err)
{
    if (unshare(CLONE_NEWNS | more | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        return errno == EPERM ? 0 : error_set_errno(err, EXIT_OURS, errno, "cannot unshare");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make the mounts private");
    return 0;
}

/* The bounding set too: an execve as root would otherwise bring everything back. */
static int drop_capabilities(bool packs, struct error *err)
{
    const uint64_t set = kept_set(packs);
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];
    for (int i = 0; i < 64; i++)
        if (!(set & (1ULL << i)) && prctl(PR_CAPBSET_DROP, i) < 0 && errno != EINVAL &&
            errno != EPERM)
            return error_set_errno(err, EXIT_OURS, errno, "cannot drop capability %d", i);
    if (syscall(SYS_capget, &header, data) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read capabilities");
    for (int i = 0; i < 2; i++) {
        data[i].permitted &= (uint32_t)(set >> (32 * i));
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    if (syscall(SYS_capset, &header, data) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot drop capabilities");
    return 0;
}

static int forbid_core_dumps(struct error *err)
{
    const struct rlimit no_core = { 0, 0 };
    if (setrlimit(RLIMIT_CORE, &no_core) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot forbid core dumps");
    return 0;
}

int privileges_reduce(bool packs, struct error *err)
{
    if (forbid_core_dumps(err) < 0 || enter_namespaces(CLONE_NEWNET | CLONE_NEWPID, err) < 0)
        return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot set no_new_privs");
    return drop_capabilities(packs, err);
}

/* By user id 0 all capabilities go as well: capabilities(7), "Effect of user ID changes". */
int privileges_drop(struct error *err)
{
    enum { NOBODY = 65534 };
    if (forbid_core_dumps(err) < 0 || enter_namespaces(0, err) < 0)
        return -1;
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                           setresuid(NOBODY, NOBODY, NOBODY) < 0))
        return error_set_errno(err, EXIT_OURS, errno, "cannot become user %d", NOBODY);
    /* No other process of that user looks into this one's memory, which holds secrets. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot set no_new_privs");
    return 0;
}
