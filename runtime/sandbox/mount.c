/* Mounts of the plan: made detached, then moved onto a target that was resolved inside the root. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"
#include "io.h"
#include "path.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

static const struct {
    unsigned long flag;
    uint64_t attribute;
} attribute_table[] = {
    { MS_RDONLY, MOUNT_ATTR_RDONLY },         { MS_NOSUID, MOUNT_ATTR_NOSUID },
    { MS_NODEV, MOUNT_ATTR_NODEV },           { MS_NOEXEC, MOUNT_ATTR_NOEXEC },
    { MS_NOATIME, MOUNT_ATTR_NOATIME },       { MS_STRICTATIME, MOUNT_ATTR_STRICTATIME },
    { MS_NODIRATIME, MOUNT_ATTR_NODIRATIME }, { MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW },
};

/* Flags that belong to the file system, not to one mount of it. */
static const struct {
    unsigned long flag;
    const char *option;
} option_table[] = {
    { MS_SYNCHRONOUS, "sync" },
    { MS_DIRSYNC, "dirsync" },
    { MS_LAZYTIME, "lazytime" },
    { MS_MANDLOCK, "mand" },
};

uint64_t mount_attributes(unsigned long flags)
{
    uint64_t attributes = 0;
    for (size_t i = 0; i < sizeof attribute_table / sizeof *attribute_table; i++)
        if (flags & attribute_table[i].flag)
            attributes |= attribute_table[i].attribute;
    return attributes;
}

int mount_set_attributes(int fd, uint64_t set, uint64_t clear, bool recursive)
{
    struct mount_attr attributes = { .attr_set = set, .attr_clr = clear };
    if (set & MOUNT_ATTR__ATIME)
        attributes.attr_clr |= MOUNT_ATTR__ATIME; /* one value, not bits: the old must go */
    return mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attributes,
                         sizeof attributes);
}

/* What the kernel says about a failed configuration, if anything: "e <file system>: <text>". */
static void read_log(int context_fd, char *text, size_t size)
{
    ssize_t n = read(context_fd, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

static int configure(int context_fd, const char *type, const char *source, const char *data,
                     unsigned long flags, struct error *err)
{
    if (source && fsconfig(context_fd, FSCONFIG_SET_STRING, "source", source, 0) < 0)
        return sandbox_fail(err, "cannot mount %s: source \"%s\"", type, source);
    for (size_t i = 0; i < sizeof option_table / sizeof *option_table; i++)
        if ((flags & option_table[i].flag) &&
            fsconfig(context_fd, FSCONFIG_SET_FLAG, option_table[i].option, NULL, 0) < 0)
            return sandbox_fail(err, "cannot mount %s: option \"%s\"", type,
                                option_table[i].option);
    _cleanup_free_ char *options = strdup(data ? data : "");
    if (!options)
        return error_set(err, EXIT_OURS, "out of memory");
    char *rest = NULL;
    for (char *option = strtok_r(options, ",", &rest); option;
         option = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(option, '=');
        if (value)
            *value++ = '\0';
        if (fsconfig(context_fd, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, option, value,
                     0) < 0)
            return sandbox_fail(err, "cannot mount %s: option \"%s%s%s\"", type, option,
                                value ? "=" : "", value ? value : "");
    }
    return 0;
}

static int refuse_type(const char *type, struct error *err)
{
    bool sysfs = errno == EPERM && strcmp(type, "sysfs") == 0;
    return sandbox_fail(err, "cannot mount a file system of type \"%s\"%s", type,
                        sysfs ? ", which shows a network namespace that does not belong to the "
                                "user namespace (make one of its own, or bind /sys)"
                              : "");
}

/* Returns a detached mount of a new file system; data: comma-separated options or NULL; label: of
 * all that is in it, or NULL. */
int mount_make(const char *type, const char *source, const char *data, unsigned long flags,
               const char *label, struct error *err)
{
    _cleanup_close_ int context = fsopen(type, FSOPEN_CLOEXEC);
    if (context < 0)
        return refuse_type(type, err);
    if (configure(context, type, source, data, flags, err) < 0)
        return -1;
    if (label && fsconfig(context, FSCONFIG_SET_STRING, "context", label, 0) < 0)
        return sandbox_fail(err, "cannot mount %s with the SELinux label %s (linux.mountLabel)",
                            type, label);
    int mount_fd = -1;
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mount_fd = fsmount(context, FSMOUNT_CLOEXEC, (unsigned int)mount_attributes(flags));
    if (mount_fd < 0) {
        int cause = errno;
        char log[256];
        read_log(context, log, sizeof log);
        return error_set(err, EXIT_OURS, "cannot mount %s%s%s: %s%s%s", type,
                         data && *data ? " with options " : "", data ? data : "", strerror(cause),
                         *log ? "; the kernel says: " : "", log);
    }
    return mount_fd;
}

/* fsconfig(2) takes values of up to 255 bytes: too few for the layers of an overlay of an engine's.
 */
static bool is_too_long(const char *data)
{
    enum { LONGEST_VALUE = 255 };
    for (const char *at = data ? data : ""; *at;) {
        size_t length = strcspn(at, ",");
        if (length > LONGEST_VALUE)
            return true;
        at += length + (at[length] == ',');
    }
    return false;
}

/* The same as mount_make by mount(2), whose options may fill a page: attached in the workshop, and
 * taken off again. */
static int mount_make_long(const struct sandbox *sandbox, const struct plan_mount *wanted,
                           const char *source, unsigned long flags, const char *label,
                           struct error *err)
{
    static const char name[] = "stage";
    char place[64];
    _cleanup_free_ char *data = NULL;
    int length = label ? asprintf(&data, "%s,context=\"%s\"", wanted->data, label)
                       : asprintf(&data, "%s", wanted->data);
    if (length < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    if (mkdirat(sandbox->workshop_fd, name, 0755) < 0 && errno != EEXIST)
        return sandbox_fail(err, "cannot make a directory in a new tmpfs");
    (void)snprintf(place, sizeof place, "/proc/self/fd/%d/%s", sandbox->workshop_fd, name);
    if (mount(source, place, wanted->type, flags, data) < 0)
        return sandbox_fail(err, "cannot mount %s with options %s", wanted->type, wanted->data);
    int tree = open_tree(sandbox->workshop_fd, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        (void)sandbox_fail(err, "cannot detach a new mount of %s", wanted->type);
    (void)umount2(place, MNT_DETACH);
    return tree;
}

/* Sets what is not part of making a mount: propagation and attributes of a whole tree. */
static int finish(int fd, const struct plan_mount *mount, struct error *err)
{
    if (mount->recursive_set | mount->recursive_clear)
        if (mount_set_attributes(fd, mount->recursive_set, mount->recursive_clear, true) < 0)
            return sandbox_fail(err, "cannot set the attributes of the mount on %s", mount->target);
    if (mount->propagation == 0)
        return 0;
    struct mount_attr attributes = { .propagation = mount->propagation & ~(unsigned long)MS_REC };
    int recursive = mount->propagation & MS_REC ? AT_RECURSIVE : 0;
    if (mount_setattr(fd, "", AT_EMPTY_PATH | recursive, &attributes, sizeof attributes) < 0)
        return sandbox_fail(err, "cannot set the propagation of the mount on %s", mount->target);
    return 0;
}

static int attach_and_finish(int mount_fd, int target_fd, const struct plan_mount *mount,
                             struct error *err)
{
    if (path_attach(mount_fd, target_fd) < 0)
        return sandbox_fail(err, "cannot mount on %s in the root file system", mount->target);
    return finish(mount_fd, mount, err);
}

static int clone_opened(int fd, bool recursive)
{
    const unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
    return open_tree(fd, "", flags | (recursive ? AT_RECURSIVE : 0));
}

int sandbox_clone_tree(const char *path, const char *resolved, bool recursive)
{
    const unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
    if (!resolved)
        return open_tree(AT_FDCWD, path, flags);
    _cleanup_close_ int fd = path_open_straight(resolved, O_PATH);
    return fd < 0 ? -1 : clone_opened(fd, recursive);
}

/* Made here and not in the caller's mount namespace: what the host's mounts forbid (read-only,
 * nosuid and the like) is locked in ours, if it is a user namespace's, whose root could allow it
 * otherwise. What that root may not reach the caller opens. */
int mount_clone_source(struct sandbox *sandbox, uint32_t number, uint32_t question)
{
    const struct plan_mount *mount = &sandbox->plan->steps[number].mount;
    const bool recursive = mount->flags & MS_REC;
    int tree = sandbox_clone_tree(mount->source, mount->resolved, recursive);
    if (tree >= 0 || errno != EACCES || !sandbox->user_namespace)
        return tree;
    _cleanup_close_ int source = -1;
    return child_ask(sandbox, question, number, NULL, &source) < 0 || source < 0
               ? -1
               : clone_opened(source, recursive);
}

static int find_source(struct sandbox *sandbox, const struct plan_step *step)
{
    const uint32_t number = (uint32_t)(step - sandbox->plan->steps);
    _cleanup_close_ int tree = mount_clone_source(sandbox, number, SANDBOX_SOURCE);
    propagation_keep(sandbox, number, &tree);
    if (tree < 0 || !step->mount.idmap)
        return take_fd(&tree);
    int mapped;
    return child_ask(sandbox, SANDBOX_MAP, number, &tree, &mapped) < 0 ? -1 : mapped;
}

static int mount_bind(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const struct plan_mount *mount = &step->mount;
    _cleanup_close_ int tree = find_source(sandbox, step);
    struct stat status;
    if (tree < 0 || fstat(tree, &status) < 0)
        return sandbox_fail(err, "cannot bind %s%s%s", mount->source,
                            mount->resolved ? ", judged by the policy as " : "",
                            mount->resolved ? mount->resolved : "");
    uint64_t attributes = mount_attributes(mount->flags);
    if (attributes && mount_set_attributes(tree, attributes, 0, false) < 0)
        return sandbox_fail(err, "cannot set the attributes of the bind of %s", mount->source);
    _cleanup_close_ int target = S_ISDIR(status.st_mode)
                                     ? path_make_directory(sandbox->root_fd, mount->target, err)
                                     : path_make_file(sandbox->root_fd, mount->target, err);
    return target < 0 ? -1 : attach_and_finish(tree, target, mount, err);
}

/*
 * Where the runtime itself works later through the mount, a symbolic link of the image would choose
 * the place (CVE-2019-19921 and its successors): these targets must be real directories.
 */
static bool needs_real_directory(const struct plan_mount *mount)
{
    static const char *const types[] = { "proc", "sysfs", "cgroup", "cgroup2" };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(mount->type, types[i]) == 0)
            return true;
    return strcmp(mount->target, "/dev") == 0 || strncmp(mount->target, "/dev/", 5) == 0;
}

/*
 * A tmpfs that is given no mode has that of the directory it covers, as with other runtimes:
 * `--tmpfs /run` of dockerd's is not to be writable for everybody.
 */
static bool takes_mode(const struct plan_mount *mount)
{
    return strcmp(mount->type, "tmpfs") == 0 &&
           !(mount->data &&
             (strncmp(mount->data, "mode=", 5) == 0 || strstr(mount->data, ",mode=")));
}

/* Of a directory that was not there before (-1) it keeps its own. */
static int take_mode(int mount_fd, int covered)
{
    struct stat status;
    if (covered < 0)
        return 0;
    return fstat(covered, &status) < 0
               ? -1
               : fchmodat(mount_fd, ".", status.st_mode & 07777, 0); /* O_PATH: not by fchmod */
}

/* In those the plan goes on making things: mount points, devices, copies. */
static bool is_filled_later(const struct plan_mount *mount)
{
    return (mount->flags & MS_RDONLY) &&
           (strcmp(mount->type, "tmpfs") == 0 || strcmp(mount->target, "/dev") == 0);
}

static int keep_for_readonly(struct sandbox *sandbox, int mount_fd)
{
    int *grown = reallocarray(sandbox->readonly_fds, sandbox->readonly_count + 1, sizeof *grown);
    if (!grown)
        return -1;
    sandbox->readonly_fds = grown;
    grown[sandbox->readonly_count] = fcntl(mount_fd, F_DUPFD_CLOEXEC, 3);
    return grown[sandbox->readonly_count++] < 0 ? -1 : 0;
}

int mounts_make_readonly(struct sandbox *sandbox, struct error *err)
{
    for (size_t i = 0; i < sandbox->readonly_count; i++) {
        _cleanup_close_ int fd = sandbox->readonly_fds[i];
        if (mount_set_attributes(fd, MOUNT_ATTR_RDONLY, 0, false) < 0)
            return sandbox_fail(err, "cannot make a mount read-only");
    }
    free(sandbox->readonly_fds);
    sandbox->readonly_fds = NULL;
    sandbox->readonly_count = 0;
    return 0;
}

static int mount_new(struct sandbox *sandbox, const struct plan_mount *mount, struct error *err)
{
    const bool later = is_filled_later(mount);
    const unsigned long flags = mount->flags & ~(later ? (unsigned long)MS_RDONLY : 0);
    _cleanup_close_ int source = -1;
    char judged[32];
    const char *from = mount->source;
    if (mount->resolved) { /* such as a block device: the kernel would follow links to it */
        source = path_open_straight(mount->resolved, O_PATH);
        if (source < 0)
            return sandbox_fail(err, "cannot open %s, where %s led when the policy judged it",
                                mount->resolved, mount->source);
        (void)snprintf(judged, sizeof judged, "/proc/self/fd/%d", source);
        from = judged;
    }
    const char *label = label_option(sandbox, mount->type);
    _cleanup_close_ int mount_fd =
        is_too_long(mount->data) ? mount_make_long(sandbox, mount, from, flags, label, err)
                                 : mount_make(mount->type, from, mount->data, flags, label, err);
    if (mount_fd < 0 || label_mount(sandbox, mount->type, mount_fd, err) < 0)
        return -1;
    _cleanup_close_ int covered =
        takes_mode(mount) ? path_open(sandbox->root_fd, mount->target, O_PATH | O_DIRECTORY) : -1;
    _cleanup_close_ int target =
        needs_real_directory(mount) ? path_make_real_directory(sandbox->root_fd, mount->target, err)
                                    : path_make_directory(sandbox->root_fd, mount->target, err);
    if (target < 0)
        return -1;
    if (take_mode(mount_fd, covered) < 0)
        return sandbox_fail(err, "cannot give the tmpfs on %s a mode", mount->target);
    if (mount->copy_up && directory_copy_up(target, mount_fd) < 0)
        return sandbox_fail(err, "cannot copy what is on %s (option tmpcopyup)", mount->target);
    if (attach_and_finish(mount_fd, target, mount, err) < 0)
        return -1;
    if (later && keep_for_readonly(sandbox, mount_fd) < 0)
        return sandbox_fail(err, "cannot keep the mount on %s", mount->target);
    if (strcmp(mount->type, "proc") == 0 && strcmp(mount->target, "/proc") == 0)
        return proc_adopt(sandbox, take_fd(&mount_fd), err);
    if (strcmp(mount->type, "sysfs") == 0 && strcmp(mount->target, "/sys") == 0) {
        cleanup_close(&sandbox->sys_fd);
        sandbox->sys_fd = take_fd(&mount_fd);
    }
    return 0;
}

int mount_apply(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const struct plan_mount *mount = &step->mount;
    cleanup_close(&sandbox->parent_fd); /* it may be covered by this one */
    sandbox->parent_fd = -1;
    if (strcmp(mount->type, "bind") == 0)
        return mount_bind(sandbox, step, err);
    if (strcmp(mount->type, "cgroup") == 0 || strcmp(mount->type, "cgroup2") == 0)
        return cgroupfs_mount(sandbox, mount, err);
    return mount_new(sandbox, mount, err);
}
