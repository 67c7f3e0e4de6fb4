#include "mount_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "compose.h"

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256 /* Linux 5.10 */
#endif

enum option_kind {
    SET,         /* a flag of the mount */
    CLEAR,       /* its opposite */
    PROPAGATION, /* MS_PRIVATE and its kin */
    TREE_SET,    /* an attribute of the whole tree: mount_setattr(2) with AT_RECURSIVE */
    TREE_CLEAR,  /* its opposite */
    TREE_ATIME,  /* one of the exclusive access time modes, of the whole tree */
    COPY_UP,     /* tmpcopyup */
    IDMAP,       /* ids mapped; value: whether recursively */
};

static const struct mount_option {
    const char *name;
    enum option_kind kind;
    unsigned long value;
} options[] = {
    { "defaults", SET, 0 },
    { "ro", SET, MS_RDONLY },
    { "rw", CLEAR, MS_RDONLY },
    { "nosuid", SET, MS_NOSUID },
    { "suid", CLEAR, MS_NOSUID },
    { "nodev", SET, MS_NODEV },
    { "dev", CLEAR, MS_NODEV },
    { "noexec", SET, MS_NOEXEC },
    { "exec", CLEAR, MS_NOEXEC },
    { "sync", SET, MS_SYNCHRONOUS },
    { "async", CLEAR, MS_SYNCHRONOUS },
    { "dirsync", SET, MS_DIRSYNC },
    { "remount", SET, MS_REMOUNT },
    { "mand", SET, MS_MANDLOCK },
    { "nomand", CLEAR, MS_MANDLOCK },
    { "noatime", SET, MS_NOATIME },
    { "atime", CLEAR, MS_NOATIME },
    { "nodiratime", SET, MS_NODIRATIME },
    { "diratime", CLEAR, MS_NODIRATIME },
    { "relatime", SET, MS_RELATIME },
    { "norelatime", CLEAR, MS_RELATIME },
    { "strictatime", SET, MS_STRICTATIME },
    { "nostrictatime", CLEAR, MS_STRICTATIME },
    { "lazytime", SET, MS_LAZYTIME },
    { "nolazytime", CLEAR, MS_LAZYTIME },
    { "iversion", SET, MS_I_VERSION },
    { "noiversion", CLEAR, MS_I_VERSION },
    { "silent", SET, MS_SILENT },
    { "loud", CLEAR, MS_SILENT },
    { "nosymfollow", SET, MS_NOSYMFOLLOW },
    { "symfollow", CLEAR, MS_NOSYMFOLLOW },
    { "bind", SET, MS_BIND },
    { "rbind", SET, MS_BIND | MS_REC },
    { "private", PROPAGATION, MS_PRIVATE },
    { "rprivate", PROPAGATION, MS_PRIVATE | MS_REC },
    { "shared", PROPAGATION, MS_SHARED },
    { "rshared", PROPAGATION, MS_SHARED | MS_REC },
    { "slave", PROPAGATION, MS_SLAVE },
    { "rslave", PROPAGATION, MS_SLAVE | MS_REC },
    { "unbindable", PROPAGATION, MS_UNBINDABLE },
    { "runbindable", PROPAGATION, MS_UNBINDABLE | MS_REC },
    { "rro", TREE_SET, MOUNT_ATTR_RDONLY },
    { "rrw", TREE_CLEAR, MOUNT_ATTR_RDONLY },
    { "rnosuid", TREE_SET, MOUNT_ATTR_NOSUID },
    { "rsuid", TREE_CLEAR, MOUNT_ATTR_NOSUID },
    { "rnodev", TREE_SET, MOUNT_ATTR_NODEV },
    { "rdev", TREE_CLEAR, MOUNT_ATTR_NODEV },
    { "rnoexec", TREE_SET, MOUNT_ATTR_NOEXEC },
    { "rexec", TREE_CLEAR, MOUNT_ATTR_NOEXEC },
    { "rnodiratime", TREE_SET, MOUNT_ATTR_NODIRATIME },
    { "rdiratime", TREE_CLEAR, MOUNT_ATTR_NODIRATIME },
    { "rnosymfollow", TREE_SET, MOUNT_ATTR_NOSYMFOLLOW },
    { "rsymfollow", TREE_CLEAR, MOUNT_ATTR_NOSYMFOLLOW },
    { "rrelatime", TREE_ATIME, MOUNT_ATTR_RELATIME },
    { "rnorelatime", TREE_ATIME, MOUNT_ATTR_STRICTATIME },
    { "rnoatime", TREE_ATIME, MOUNT_ATTR_NOATIME },
    { "ratime", TREE_ATIME, MOUNT_ATTR_RELATIME },
    { "rstrictatime", TREE_ATIME, MOUNT_ATTR_STRICTATIME },
    { "rnostrictatime", TREE_ATIME, MOUNT_ATTR_RELATIME },
    { "tmpcopyup", COPY_UP, 0 },
    { "idmap", IDMAP, 0 },
    { "ridmap", IDMAP, 1 },
};

enum { OPTION_COUNT = sizeof options / sizeof *options };

static const struct mount_option *find(const char *name)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (strcmp(name, options[i].name) == 0)
            return &options[i];
    return NULL;
}

bool mount_option_apply(const char *option, struct plan_mount *mount)
{
    const struct mount_option *known = find(option);
    if (!known)
        return false;
    switch (known->kind) {
    case SET:
        mount->flags |= known->value;
        break;
    case CLEAR:
        mount->flags &= ~known->value;
        break;
    case PROPAGATION:
        mount->propagation = known->value;
        break;
    case TREE_SET:
        mount->recursive_set |= known->value;
        mount->recursive_clear &= ~known->value;
        break;
    case TREE_CLEAR:
        mount->recursive_clear |= known->value;
        mount->recursive_set &= ~known->value;
        break;
    case TREE_ATIME:
        /* mount_setattr(2): a change of the mode must clear the whole field. */
        mount->recursive_clear |= MOUNT_ATTR__ATIME;
        mount->recursive_set = (mount->recursive_set & ~(uint64_t)MOUNT_ATTR__ATIME) | known->value;
        break;
    case COPY_UP:
        mount->copy_up = true;
        break;
    case IDMAP:
        mount->idmap = true;
        mount->idmap_recursive = known->value != 0;
        break;
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

json_t *mount_option_names(void)
{
    const char *names[OPTION_COUNT];
    size_t count = 0;
    for (int i = 0; i < OPTION_COUNT; i++)
        names[count++] = options[i].name;
    qsort(names, count, sizeof *names, by_name);
    json_t *result = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(result, json_string(names[i]));
    return result;
}

const char *mount_option_nearest(const char *option)
{
    const char *names[OPTION_COUNT + 1] = { NULL };
    for (int i = 0; i < OPTION_COUNT; i++)
        names[i] = options[i].name;
    return nearest_name(option, names);
}

/* Whether the option is one of those that made the mount. */
static bool describes(const struct mount_option *option, const struct plan_mount *mount)
{
    bool tree_atime = (mount->recursive_clear & MOUNT_ATTR__ATIME) != 0;
    switch (option->kind) {
    case SET:
        if (option->value == MS_BIND && (mount->flags & MS_REC))
            return false; /* said by rbind */
        return option->value && (mount->flags & option->value) == option->value;
    case PROPAGATION:
        return mount->propagation == option->value;
    case TREE_SET:
        return (mount->recursive_set & option->value) != 0;
    case TREE_CLEAR:
        return (mount->recursive_clear & option->value) != 0;
    case TREE_ATIME:
        return tree_atime && strstr(option->name, "norel") == NULL &&
               strcmp(option->name, "ratime") != 0 && strcmp(option->name, "rnostrictatime") != 0 &&
               (mount->recursive_set & MOUNT_ATTR__ATIME) == option->value;
    case COPY_UP:
        return mount->copy_up;
    case IDMAP:
        return mount->idmap && mount->idmap_recursive == (option->value != 0);
    default:
        return false;
    }
}

int mount_options_describe(const struct plan_mount *mount, char *text, size_t size)
{
    int used = 0;
    if (size > 0)
        text[0] = '\0';
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (!describes(&options[i], mount))
            continue;
        size_t at = (size_t)used < size ? (size_t)used : size;
        used += snprintf(text + at, size - at, "%s%s", used ? "," : "", options[i].name);
    }
    if (mount->data) {
        size_t at = (size_t)used < size ? (size_t)used : size;
        used += snprintf(text + at, size - at, "%s%s", used ? "," : "", mount->data);
    }
    return used;
}
