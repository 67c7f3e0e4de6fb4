#include "vmm/landlock.h"

#include "cleanup.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The numbers are the same on all architectures; C libraries have no functions for them. */
enum { CALL_CREATE_RULESET = 444, CALL_ADD_RULE = 445, CALL_RESTRICT_SELF = 446 };

enum { CREATE_RULESET_VERSION = 1 };

/* struct landlock_ruleset_attr of the newest version below; older kernels take zeros behind. */
struct landlock_attributes {
    uint64_t files, network, scopes;
};

/*
 * Which rights each version of the interface made known, as one mask a member. What is handled and
 * allowed by no rule is denied. A newer kernel is used as the last of these.
 */
static const struct landlock_attributes VERSIONS[] = {
    [1] = { (1ULL << 13) - 1, 0, 0 },
    [2] = { (1ULL << 14) - 1, 0, 0 },     /* REFER: links and renames between directories */
    [3] = { (1ULL << 15) - 1, 0, 0 },     /* TRUNCATE */
    [4] = { (1ULL << 15) - 1, 3, 0 },     /* bind and connect of TCP */
    [5] = { (1ULL << 16) - 1, 3, 0 },     /* IOCTL_DEV, on what is opened from now on */
    [6] = { (1ULL << 16) - 1, 3, 1 | 2 }, /* abstract sockets, signals to others */
};

enum { NEWEST = sizeof VERSIONS / sizeof VERSIONS[0] - 1 };

/* struct landlock_net_port_attr, and its kind of rule. */
struct landlock_port {
    uint64_t allowed, port;
};

enum { RULE_PORT = 2, CONNECT_TCP = 2, FIRST_WITH_PORTS = 4 };

/* struct landlock_path_beneath_attr, which is packed. */
struct landlock_beneath {
    uint64_t allowed;
    int32_t directory;
} __attribute__((packed));

enum { RULE_BENEATH = 1, READING = 1 << 0 | 1 << 2 | 1 << 3, FIRST_WITH_REFER = 2 };

/* Returns the newest version that the kernel and we know; 0: it is not built in, not switched on at
 * boot, or withheld by who runs us. */
static long usable_version(void)
{
    long version = syscall(CALL_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);
    return version < 1 ? 0 : version > NEWEST ? NEWEST : version;
}

static int allow_port(int rules, long version, uint16_t port)
{
    const struct landlock_port rule = { .allowed = CONNECT_TCP, .port = port };
    if (port == 0 || version < FIRST_WITH_PORTS)
        return 0;
    return (int)syscall(CALL_ADD_RULE, rules, RULE_PORT, &rule, 0);
}

static int allow_tree(int rules, long version, const struct landlock_tree *tree)
{
    const struct landlock_beneath rule = {
        .allowed = tree->read_only ? READING : VERSIONS[version].files,
        .directory = tree->fd,
    };
    return (int)syscall(CALL_ADD_RULE, rules, RULE_BENEATH, &rule, 0);
}

static int confine(long version, uint16_t port, const struct landlock_tree *trees, size_t count,
                   int *abi, struct error *err)
{
    bool done = false;
    if (version < 1 || version > NEWEST)
        return 0;
    _cleanup_close_ int rules =
        (int)syscall(CALL_CREATE_RULESET, &VERSIONS[version], sizeof VERSIONS[version], 0);
    if (rules >= 0 && allow_port(rules, version, port) == 0) {
        size_t i = 0;
        while (i < count && allow_tree(rules, version, &trees[i]) == 0)
            i++;
        done = i == count && syscall(CALL_RESTRICT_SELF, rules, 0) == 0;
    }
    if (!done)
        return error_set_errno(err, EXIT_OURS, errno,
                               "Landlock (version %ld) refuses to confine us", version);
    *abi = (int)version;
    return 0;
}

int landlock_confine(uint16_t connect_port, int *abi, struct error *err)
{
    *abi = 0;
    return confine(usable_version(), connect_port, NULL, 0, abi, err);
}

int landlock_confine_to(const struct landlock_tree *trees, size_t count, int *abi,
                        struct error *err)
{
    long version = usable_version();
    *abi = 0;
    return version < FIRST_WITH_REFER ? 0 : confine(version, 0, trees, count, abi, err);
}
