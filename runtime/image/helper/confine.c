#include "runtime/image/helper/confine.h"

#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "cleanup.h"

enum { MAX_PLACES = 16 };
#define MEBI (1ULL << 20)

/* The places that all processes of a kind need. */
static const struct {
    uint32_t kinds;
    struct landlock_place place;
    const char *reason;
} common_places[] = {
    { CONFINE_STORE | CONFINE_TOOL,
      { .access = LANDLOCK_EXECUTE, .path = "/usr" },
      "fsck.erofs and its libraries" },
    { CONFINE_STORE | CONFINE_TOOL,
      { .access = LANDLOCK_EXECUTE, .path = "/lib" },
      "the dynamic loader and libraries, where /usr does not have them" },
    { CONFINE_STORE | CONFINE_TOOL,
      { .access = LANDLOCK_EXECUTE, .path = "/lib64" },
      "the dynamic loader, where /usr does not have it" },
    { CONFINE_STORE | CONFINE_TOOL,
      { .access = LANDLOCK_READ, .path = "/etc/ld.so.cache" },
      "where libraries are" },
    { CONFINE_NETWORK,
      { .access = LANDLOCK_READ, .path = "/usr" },
      "libraries of the name service, certificates" },
    { CONFINE_NETWORK,
      { .access = LANDLOCK_READ, .path = "/lib" },
      "libraries of the name service, where /usr does not have them" },
    { CONFINE_NETWORK,
      { .access = LANDLOCK_READ, .path = "/etc" },
      "hosts, resolv.conf, nsswitch.conf, certificates" },
    { CONFINE_NETWORK,
      { .access = LANDLOCK_READ, .path = "/run" },
      "resolv.conf of systemd-resolved" },
    /* Links to wherever a network manager, or a distribution, keeps them. */
    { CONFINE_NETWORK,
      { .access = LANDLOCK_READ, .path = "/etc/resolv.conf" },
      "name servers, where /etc and /run do not have them" },
    { CONFINE_NETWORK,
      { .access = LANDLOCK_READ, .path = "/etc/hosts" },
      "names, where /etc does not have them" },
    { CONFINE_NETWORK,
      { .access = LANDLOCK_READ, .path = "/etc/nsswitch.conf" },
      "how names are found, where /etc does not have it" },
    { CONFINE_NETWORK,
      { .access = LANDLOCK_READ, .path = "/etc/ssl/certs" },
      "certificates, where /usr and /etc do not have them" },
};

static const struct {
    uint32_t kinds;
    int resource;
    rlim_t most;
    const char *reason;
} limits[] = {
    { CONFINE_NETWORK, RLIMIT_DATA, 512 * MEBI, "buffers, and stacks of resolving threads" },
    { CONFINE_STORE, RLIMIT_DATA, 8192 * MEBI, "what those that it starts may have" },
    { CONFINE_LAYER, RLIMIT_DATA, 4096 * MEBI, "the names of two million entries" },
    { CONFINE_NETWORK, RLIMIT_NOFILE, 512, "connections, and a blob a layer when pushing" },
    { CONFINE_STORE | CONFINE_LAYER, RLIMIT_NOFILE, 4096, "a descriptor a level of a tree" },
};

static int limit_resources(enum confine_kind kind, struct error *err)
{
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit limit;
        if (!(limits[i].kinds & kind))
            continue;
        if (getrlimit(limits[i].resource, &limit) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot read a resource limit");
        limit.rlim_max = limit.rlim_max < limits[i].most ? limit.rlim_max : limits[i].most;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(limits[i].resource, &limit) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot set a resource limit");
    }
    return 0;
}

static int enter_places(enum confine_kind kind, const struct landlock_place *places, size_t count,
                        struct error *err)
{
    struct landlock_place all[MAX_PLACES];
    size_t used = 0;
    for (size_t i = 0; i < sizeof common_places / sizeof *common_places; i++)
        if (common_places[i].kinds & kind)
            all[used++] = common_places[i].place;
    for (size_t i = 0; i < count && used < MAX_PLACES; i++)
        all[used++] = places[i];
    return landlock_enter(all, used, kind == CONFINE_NETWORK, err);
}

static int add_call(scmp_filter_ctx filter, const struct confine_call *call)
{
    const struct scmp_arg_cmp conditions[] = {
        [CONFINE_ALWAYS] = { 0 },
        [CONFINE_EQUALS] = { .arg = call->argument,
                             .op = SCMP_CMP_MASKED_EQ,
                             .datum_a = 0xffffffff,
                             .datum_b = call->value },
        [CONFINE_CLEAR] = { .arg = call->argument,
                            .op = SCMP_CMP_MASKED_EQ,
                            .datum_a = call->value,
                            .datum_b = 0 },
    };
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call->call,
                                  call->condition != CONFINE_ALWAYS, &conditions[call->condition]);
}

static int fill_filter(scmp_filter_ctx filter, enum confine_kind kind)
{
    int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0); /* it is set */
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    /* Its flags are out of a filter's sight. The C library does with clone what it cannot with it.
     */
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (size_t i = 0; i < confine_call_count && result == 0; i++)
        if (confine_calls[i].kinds & kind)
            result = add_call(filter, &confine_calls[i]);
    return result;
}

static int enter_filter(enum confine_kind kind, struct error *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return error_set(err, EXIT_OURS, "libseccomp cannot make a filter");
    int result = fill_filter(filter, kind);
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result == 0
               ? 0
               : error_set_errno(err, EXIT_OURS, -result, "the kernel refuses the seccomp filter");
}

static const char *name_of(enum confine_kind kind)
{
    switch (kind) {
    case CONFINE_NETWORK:
        return "image-network";
    case CONFINE_STORE:
        return "image-store";
    case CONFINE_LAYER:
        return "image-layer";
    case CONFINE_TOOL:
        return "image-tool";
    }
    return "image";
}

int confine_enter(enum confine_kind kind, const struct landlock_place *places, size_t count,
                  struct error *err)
{
    if (prctl(PR_SET_NAME, name_of(kind)) < 0) /* for those who look at processes */
        return error_set_errno(err, EXIT_OURS, errno, "cannot set the process's name");
    return limit_resources(kind, err) < 0 || enter_places(kind, places, count, err) < 0
               ? -1
               : enter_filter(kind, err);
}

int confine_explain(const char *what, int status, struct error *err)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        return error_set(err, EXIT_OURS,
                         "%s was ended (SIGSYS): it made a system call that its confinement does "
                         "not allow; the kernel's log may say which",
                         what);
    if (WIFSIGNALED(status))
        return error_set(err, EXIT_OURS, "%s was ended by signal %d", what, WTERMSIG(status));
    return error_set(err, EXIT_OURS, "%s ended unexpectedly", what);
}
