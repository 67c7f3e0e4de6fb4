#include <strings.h>

#include "compose.h"

/* linux/capability.h, by number. */
static const char *const names[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    NULL,
};

enum { NAME_COUNT = sizeof names / sizeof *names - 1, PREFIX = sizeof "CAP_" - 1 };

int capability_from_name(const char *name)
{
    if (strncasecmp(name, "CAP_", PREFIX) == 0)
        name += PREFIX;
    for (int i = 0; i < NAME_COUNT; i++)
        if (strcasecmp(name, names[i] + PREFIX) == 0)
            return i;
    return -1;
}

const char *capability_name(int number)
{
    return number >= 0 && number < NAME_COUNT ? names[number] : NULL;
}

const char *capability_nearest(const char *name)
{
    bool prefixed = strncasecmp(name, "CAP_", PREFIX) == 0;
    if (prefixed)
        return nearest_name(name, names);
    const char *bare[NAME_COUNT + 2] = { "ALL" };
    for (int i = 0; i < NAME_COUNT; i++)
        bare[i + 1] = names[i] + PREFIX;
    return nearest_name(name, bare);
}
