/*
 * What security modules of the kernel know the workload by. process.apparmorProfile and
 * process.selinuxLabel confine the command from its execve on; linux.mountLabel is that of files in
 * file systems of the container's own. Specification: runtime-spec 1.2, config.md, "Linux Process",
 * and config-linux.md, "Mount Label"; the kernel's Documentation/admin-guide/LSM.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "context.h"
#include "io.h"

/* There since SELinux is enabled and its file system mounted, which whoever loads a policy does. */
#define SELINUX_PRESENCE "/sys/fs/selinux/enforce"

/* SELinux's has no directory of its own: it is the file of the module that was there first. */
static const struct confinement {
    enum plan_step_kind kind;
    const char *what;      /* for messages */
    const char *format;    /* of what is written */
    const char *attribute; /* the process's next confinement */
    const char *presence;  /* what a kernel with the module has; NULL: the attribute itself */
    const char *absent;    /* the kernel has it, but it is not in use */
    const char *unknown;   /* for messages, of a name that it does not know */
    int unknown_errno;
} confinements[CONFINEMENTS] = {
    { PLAN_APPARMOR, "AppArmor profile", "exec %s", "/proc/self/attr/apparmor/exec", NULL,
      "this kernel has no AppArmor (/proc/self/attr/apparmor/exec)", " (is it loaded?)", ENOENT },
    { PLAN_SELINUX, "SELinux label", "%s", "/proc/self/attr/exec", SELINUX_PRESENCE,
      "process.selinuxLabel needs SELinux, which is not there (" SELINUX_PRESENCE
      "); remove it from the configuration (podman: --security-opt label=disable)",
      " (the loaded policy knows no such label)", EINVAL },
};

static const struct plan_step *find_step(const struct plan *plan, enum plan_step_kind kind)
{
    for (size_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind == kind)
            return &plan->steps[i];
    return NULL;
}

static int open_attribute(const struct confinement *confinement, const struct plan_step *step,
                          int *fd, struct error *err)
{
    if (confinement->presence && access(confinement->presence, F_OK) < 0)
        return error_set(err, EXIT_OURS, "cannot confine the command by the %s %s: %s",
                         confinement->what, step->name, confinement->absent);
    *fd = open(confinement->attribute, O_WRONLY | O_CLOEXEC);
    if (*fd >= 0)
        return 0;
    return sandbox_fail(err, "cannot confine the command by the %s %s: %s", confinement->what,
                        step->name, confinement->absent);
}

const char *label_in_use(const struct plan *plan)
{
    const char *label = plan->mount_label;
    return label && *label && access(SELINUX_PRESENCE, F_OK) == 0 ? label : NULL;
}

int label_open(struct sandbox *sandbox, struct error *err)
{
    for (size_t i = 0; i < CONFINEMENTS; i++) {
        const struct plan_step *step = find_step(sandbox->plan, confinements[i].kind);
        if (step && open_attribute(&confinements[i], step, &sandbox->confinement_fds[i], err) < 0)
            return -1;
    }
    sandbox->mount_label = label_in_use(sandbox->plan);
    return 0;
}

int label_set(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    size_t i = 0;
    _cleanup_free_ char *text = NULL;
    while (confinements[i].kind != step->kind)
        i++;
    const struct confinement *confinement = &confinements[i];
    if (asprintf(&text, confinement->format, step->name) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    int written = io_write_all(sandbox->confinement_fds[i], text, strlen(text));
    int cause = errno;
    cleanup_close(&sandbox->confinement_fds[i]);
    sandbox->confinement_fds[i] = -1;
    if (written == 0)
        return 0;
    return error_set_errno(err, EXIT_OURS, cause, "cannot confine the command by the %s %s%s",
                           confinement->what, step->name,
                           cause == confinement->unknown_errno ? confinement->unknown
                           : cause == EINVAL                   ? " (AppArmor is not enabled)"
                                                               : "");
}

enum label_way { LABEL_OPTION, LABEL_ATTRIBUTE, LABEL_NONE };

/* Some show what is the kernel's, whose labels its policy has; one takes no option for it. */
static enum label_way way_of(const char *type)
{
    static const struct {
        const char *type;
        enum label_way way;
    } ways[] = {
        { "proc", LABEL_NONE },    { "sysfs", LABEL_NONE },       { "cgroup", LABEL_NONE },
        { "cgroup2", LABEL_NONE }, { "mqueue", LABEL_ATTRIBUTE },
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (strcmp(ways[i].type, type) == 0)
            return ways[i].way;
    return LABEL_OPTION;
}

const char *label_option(const struct sandbox *sandbox, const char *type)
{
    return way_of(type) == LABEL_OPTION ? sandbox->mount_label : NULL;
}

int label_mount(const struct sandbox *sandbox, const char *type, int mount_fd, struct error *err)
{
    const char *label = sandbox->mount_label;
    if (!label || way_of(type) != LABEL_ATTRIBUTE)
        return 0;
    _cleanup_close_ int fd = openat(mount_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fsetxattr(fd, "security.selinux", label, strlen(label) + 1, 0) == 0)
        return 0;
    return sandbox_fail(err, "cannot give the mount of %s the SELinux label %s (linux.mountLabel)",
                        type, label);
}
