/*
 * Binds that stay in touch with the host's mounts: what is mounted below a "slave" there appears in
 * the container too, and below a "shared" one also the other way round (mount_namespaces(7),
 * "Shared subtrees"). All else of the new mount namespace leaves its peer groups before anything is
 * mounted; the sources of these binds are cloned before that.
 *
 * A source in the container's own root lies on another mount when its turn has come, with what is
 * mounted there by then: that one has no peers on the host.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"
#include "path.h"

struct peer {
    int tree_fd;    /* -1: none */
    uint64_t mount; /* that its source was on; 0: not known */
};

static bool keeps_peers(const struct plan_step *step)
{
    return step->kind == PLAN_MOUNT && strcmp(step->mount.type, "bind") == 0 &&
           (step->mount.propagation & (MS_SHARED | MS_SLAVE));
}

static uint64_t mount_of(int fd, const char *path)
{
    struct statx status;
    return statx(fd, path, AT_EMPTY_PATH, STATX_MNT_ID, &status) == 0 &&
                   (status.stx_mask & STATX_MNT_ID)
               ? status.stx_mnt_id
               : 0;
}

static uint64_t mount_of_source(const struct plan_mount *mount)
{
    return mount_of(AT_FDCWD, mount->resolved ? mount->resolved : mount->source);
}

static FILE *open_mounts(int proc_fd)
{
    int fd = proc_fd >= 0 ? openat(proc_fd, "self/mountinfo", O_RDONLY | O_CLOEXEC)
                          : open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    if (!file)
        cleanup_close(&fd);
    return file;
}

/* The peer group that a line of mountinfo tells (proc(5)); 0: none. */
static unsigned int group_of(const char *line)
{
    const char *end = strstr(line, " - "), *group = strstr(line, " shared:");
    return group && end && group < end ? (unsigned int)strtoul(group + 8, NULL, 10) : 0;
}

/* While our mounts are in them yet. Returns NULL with errno. */
static unsigned int *read_groups(void)
{
    char line[8192];
    size_t count = 0, most = 1; /* with the 0 at the end */
    _cleanup_fclose_ FILE *file = open_mounts(-1);
    while (file && fgets(line, sizeof line, file))
        most += group_of(line) > 0;
    unsigned int *groups = file ? calloc(most, sizeof *groups) : NULL;
    if (groups)
        rewind(file);
    while (groups && count + 1 < most && fgets(line, sizeof line, file)) {
        groups[count] = group_of(line);
        count += groups[count] > 0;
    }
    return groups;
}

int propagation_prepare(struct sandbox *sandbox, struct error *err)
{
    const struct plan *plan = sandbox->plan;
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct plan_mount *mount = &plan->steps[i].mount;
        if (!keeps_peers(&plan->steps[i]))
            continue;
        if (!sandbox->peers) {
            sandbox->peers = calloc(plan->step_count, sizeof *sandbox->peers);
            if (!sandbox->peers)
                return error_set(err, EXIT_OURS, "out of memory");
            for (size_t n = 0; n < plan->step_count; n++)
                sandbox->peers[n].tree_fd = -1;
        }
        sandbox->peers[i].mount = mount_of_source(mount);
        sandbox->peers[i].tree_fd = mount_clone_source(sandbox, (uint32_t)i, SANDBOX_PEER);
        /* In a user namespace all are slaves of the host's. */
        if ((mount->propagation & MS_SHARED) && !sandbox->user_namespace && !sandbox->host_groups)
            sandbox->host_groups = read_groups();
        if ((mount->propagation & MS_SHARED) && !sandbox->user_namespace && !sandbox->host_groups)
            return sandbox_fail(err, "cannot look at the host's mounts");
    }
    return 0;
}

void propagation_keep(struct sandbox *sandbox, uint32_t number, int *tree_fd)
{
    if (!sandbox->peers || *tree_fd < 0)
        return;
    const struct plan_mount *mount = &sandbox->plan->steps[number].mount;
    struct peer *peer = &sandbox->peers[number];
    _cleanup_close_ int tree = take_fd(&peer->tree_fd);
    if (tree < 0 || mount_of_source(mount) != peer->mount)
        return;
    /* Mounts are listed in the order in which they were made: anew, which Linux 6.15 and later can.
     */
    const unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
    int again = open_tree(tree, "", flags | (mount->flags & MS_REC ? AT_RECURSIVE : 0));
    (void)close(*tree_fd);
    *tree_fd = again >= 0 ? again : take_fd(&tree);
}

/* Where the step mounts something; NULL: nowhere. */
static const char *target_of(const struct plan_step *step)
{
    switch (step->kind) {
    case PLAN_MOUNT:
        return step->mount.target;
    case PLAN_FILE:
        return step->file.target;
    case PLAN_DEVICE:
        return step->device.path;
    case PLAN_CONSOLE:
        return "/dev/console";
    case PLAN_MASK:
    case PLAN_READONLY_PATH:
        return step->path;
    default:
        return NULL;
    }
}

/* The mount that a path is on, or what is there of it already. */
static uint64_t mount_below(int root_fd, const char *path)
{
    _cleanup_free_ char *part = strdup(path);
    while (part) {
        _cleanup_close_ int fd = path_open(root_fd, *part ? part : "/", O_PATH);
        if (fd >= 0)
            return mount_of(fd, "");
        char *slash = strrchr(part, '/');
        if (!slash)
            return 0;
        *slash = '\0';
    }
    return 0;
}

/* Whether the mount is in a peer group of the host's. -1: it cannot be told, with errno. */
static int is_of_host(const struct sandbox *sandbox, uint64_t mount)
{
    char line[8192];
    /* When the root is entered, the host's /proc is out of sight. */
    _cleanup_fclose_ FILE *file = open_mounts(sandbox->workshop_fd < 0 ? sandbox->proc_fd : -1);
    if (!file)
        return -1;
    while (fgets(line, sizeof line, file))
        if (strtoull(line, NULL, 10) == mount) {
            unsigned int group = group_of(line);
            for (const unsigned int *at = sandbox->host_groups; group > 0 && *at > 0; at++)
                if (*at == group)
                    return 1;
            return 0;
        }
    return 0;
}

int propagation_check(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    const char *target = sandbox->host_groups ? target_of(step) : NULL;
    uint64_t mount = target ? mount_below(sandbox->root_fd, target) : 0;
    if (mount == 0)
        return 0;
    if (sandbox->workshop_fd < 0 && proc_open(sandbox, err) < 0)
        return -1;
    int of_host = is_of_host(sandbox, mount);
    if (of_host < 0)
        return sandbox_fail(err, "cannot look at the mounts of the container");
    return of_host == 0
               ? 0
               : error_set(err, EXIT_OURS,
                           "cannot mount on %s: it lies in a bind that is shared with the host, "
                           "where the mount would appear and stay; make that bind rslave, or "
                           "leave one of the two out",
                           target);
}
