/*
 * The root file system: an overlay of layers, or a directory of a bundle, brought to a mount of its
 * own and entered.
 *
 * The overlay is mounted by mount(2) from within /proc/self/fd, so that its layers are named by
 * descriptor numbers: nothing depends on the length or the characters of host paths, none shows up
 * in the workload's /proc/mounts, and 500 layers fit into the one page of options. (fsconfig(2)
 * would do too, but before 6.8 only up to 255 bytes of layers.)
 */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "context.h"
#include "layer_marks.h"
#include "path.h"

/* An existing directory in which neither the set-up nor a plan's sources have business. */
#define WORKSHOP_PLACE "/proc/driver"

enum { OPTIONS_SIZE = 4096, HELPER_STACK = 256 * 1024 };

/*
 * A small tmpfs in the child's own mount namespace. It carries the mount point of the root, the
 * contents of PLAN_FILE and the empty directory that masks; it disappears from sight with the old
 * root.
 */
static int make_workshop(const struct sandbox_root *root, const char *label, struct error *err)
{
    /* Of the kernel's default size (half of the memory) if the writable layer lives in it. */
    const char *options = root->upper_in_memory ? "mode=0755" : "mode=0755,size=1m";
    _cleanup_close_ int mount_fd =
        mount_make("tmpfs", "tmpfs", options, MS_NOSUID | MS_NODEV | MS_NOEXEC, label, err);
    if (mount_fd < 0)
        return -1;
    _cleanup_close_ int place = open(WORKSHOP_PLACE, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (place < 0 || path_attach(mount_fd, place) < 0)
        return sandbox_fail(err, "cannot mount a tmpfs on %s", WORKSHOP_PLACE);
    if (mkdirat(mount_fd, "root", 0755) < 0 || mkdirat(mount_fd, "empty", 0755) < 0)
        return sandbox_fail(err, "cannot make a directory in a new tmpfs");
    return take_fd(&mount_fd);
}

/*
 * Opens a layer. With a user namespace, the layer's ids are shifted into it: a clone of the layer's
 * mount with an id mapping, attached (in this private namespace) since before 6.15 overlayfs
 * accepts no detached layer.
 */
static int open_layer(const char *path, int user_namespace_fd, struct error *err)
{
    _cleanup_close_ int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return sandbox_fail(err, "cannot open the layer %s", path);
    if (user_namespace_fd < 0)
        return take_fd(&fd);
    _cleanup_close_ int mapped =
        open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    struct mount_attr attributes = { .attr_set = MOUNT_ATTR_IDMAP,
                                     .userns_fd = (uint64_t)user_namespace_fd };
    if (mapped < 0 ||
        mount_setattr(mapped, "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0 ||
        path_attach(mapped, fd) < 0)
        return sandbox_fail(err, "cannot map the ids of the layer %s", path);
    return take_fd(&mapped);
}

struct overlay {
    int *fds; /* of the layers opened, for closing */
    size_t fd_count;
    int upper_fd, work_fd;
    char options[OPTIONS_SIZE];
    size_t length;
};

/* Appends text and a number; a negative number is left out. Returns 0, or -1 when there is no room.
 */
static int append(struct overlay *overlay, const char *text, int number)
{
    size_t room = sizeof overlay->options - overlay->length;
    char *at = overlay->options + overlay->length;
    int n = number < 0 ? snprintf(at, room, "%s", text) : snprintf(at, room, "%s%d", text, number);
    if (n < 0 || (size_t)n >= room)
        return -1;
    overlay->length += (size_t)n;
    return 0;
}

static void overlay_close(struct overlay *overlay)
{
    for (size_t i = 0; i < overlay->fd_count; i++)
        (void)close(overlay->fds[i]);
    free(overlay->fds);
    cleanup_close(&overlay->upper_fd);
    cleanup_close(&overlay->work_fd);
}

/* Opens the directories of the writable layer, if there is one. Returns 1 if so, 0, or -1 with
 * *err. */
static int open_upper(struct overlay *overlay, const struct sandbox_root *root, int workshop_fd,
                      struct error *err)
{
    const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    if (!root->upper && !root->upper_in_memory)
        return 0;
    if (root->upper_in_memory &&
        (mkdirat(workshop_fd, "work", 0700) < 0 || mkdirat(workshop_fd, "upper", 0755) < 0))
        return sandbox_fail(err, "cannot make the writable layer in memory");
    /* An absolute path ignores the descriptor it would be relative to. */
    overlay->upper_fd = openat(workshop_fd, root->upper ? root->upper : "upper", flags);
    overlay->work_fd = openat(workshop_fd, root->upper ? root->work : "work", flags);
    if (overlay->upper_fd < 0 || overlay->work_fd < 0)
        return sandbox_fail(err, "cannot open the writable layer %s",
                            root->upper ? root->upper : "in memory");
    return 1;
}

/* What sandbox_imitate_root promises; the path is relative to at_fd, the ids are the host's. */
static int imitate_root(int at_fd, const char *upper, const struct stat *top, uid_t uid, gid_t gid,
                        struct error *err)
{
    const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, top->st_mtim };
    if (fchownat(at_fd, upper, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(at_fd, upper, top->st_mode & 07777, 0) < 0 ||
        utimensat(at_fd, upper, times, 0) < 0)
        return sandbox_fail(err,
                            "cannot make the writable layer %s look like the root directory "
                            "of the image",
                            upper);
    return 0;
}

/* The host's id for an id of the workload; ids outside of every map stay as they are. */
static uint32_t map_id(const struct plan_id_map *maps, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (id >= maps[i].container && id - maps[i].container < maps[i].size)
            return maps[i].host + (id - maps[i].container);
    return id;
}

/* at_fd, path: the root directory of a layer. */
static bool says_nothing_of_root(int at_fd, const char *path)
{
    _cleanup_close_ int fd = openat(at_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fgetxattr(fd, LAYER_ROOT_LEFT_OUT, NULL, 0) >= 0;
}

int sandbox_imitate_root(const char *upper, const char *const *layers, size_t count,
                         const struct plan *plan, struct error *err)
{
    struct stat status;
    size_t at = count - 1;
    while (at > 0 && says_nothing_of_root(AT_FDCWD, layers[at]))
        at--;
    if (stat(layers[at], &status) < 0)
        return sandbox_fail(err, "cannot look at the layer %s", layers[at]);
    uid_t uid = status.st_uid;
    gid_t gid = status.st_gid;
    if (plan->namespaces.create & CLONE_NEWUSER) {
        uid = map_id(plan->uid_maps, plan->uid_map_count, uid);
        gid = map_id(plan->gid_maps, plan->gid_map_count, gid);
    }
    return imitate_root(AT_FDCWD, upper, &status, uid, gid, err);
}

/* The same for a writable layer in memory. A layer that was opened with an id map shows the host's
 * ids. */
static int imitate_root_in_memory(const struct overlay *overlay, int workshop_fd, struct error *err)
{
    struct stat status;
    size_t at = 0; /* the topmost layer was opened first */
    while (at + 1 < overlay->fd_count && says_nothing_of_root(overlay->fds[at], "."))
        at++;
    if (fstat(overlay->fds[at], &status) < 0)
        return sandbox_fail(err, "cannot look at the root of the layers");
    return imitate_root(workshop_fd, "upper", &status, status.st_uid, status.st_gid, err);
}

/* Opens everything and writes the options; the topmost layer comes first in lowerdir. */
static int overlay_describe(struct overlay *overlay, const struct sandbox_root *root,
                            int workshop_fd, int user_namespace_fd, struct error *err)
{
    overlay->fds = calloc(root->layer_count, sizeof *overlay->fds);
    if (!overlay->fds)
        return error_set(err, EXIT_OURS, "out of memory");
    int full = 0;
    for (size_t i = root->layer_count; i-- > 0;) {
        int fd = open_layer(root->layers[i], user_namespace_fd, err);
        if (fd < 0)
            return -1;
        overlay->fds[overlay->fd_count++] = fd;
        full |= append(overlay, overlay->fd_count == 1 ? "lowerdir=" : ":", fd);
    }
    int writable = open_upper(overlay, root, workshop_fd, err);
    if (writable < 0 ||
        (root->upper_in_memory && imitate_root_in_memory(overlay, workshop_fd, err) < 0))
        return -1;
    if (writable) {
        full |= append(overlay, ",upperdir=", overlay->upper_fd);
        full |= append(overlay, ",workdir=", overlay->work_fd);
        full |= append(overlay, root->volatile_upper ? ",volatile" : "", -1);
    }
    if (full)
        return error_set(err, EXIT_OURS,
                         "the image has %zu layers, more than one overlay mount can name",
                         root->layer_count);
    return 0;
}

static int overlay_mount(const struct sandbox_root *root, int workshop_fd, int user_namespace_fd,
                         struct error *err)
{
    struct overlay overlay = { .upper_fd = -1, .work_fd = -1 };
    int result = overlay_describe(&overlay, root, workshop_fd, user_namespace_fd, err);
    if (result == 0) {
        char target[32];
        (void)snprintf(target, sizeof target, "%d/root", workshop_fd);
        if (chdir("/proc/self/fd") < 0 ||
            mount("overlay", target, "overlay", 0, overlay.options) < 0)
            result = sandbox_fail(err, "cannot mount the overlay of %zu layers (%s)",
                                  root->layer_count, overlay.options);
        (void)chdir("/");
    }
    overlay_close(&overlay);
    return result;
}

/*
 * One layer and nothing above it: overlayfs wants at least two directories, a bind will do. The
 * restrictions of the layer's mount protect the host, they are not the workload's.
 */
static int bind_only_layer(const struct sandbox_root *root, int workshop_fd, int user_namespace_fd,
                           struct error *err)
{
    _cleanup_close_ int layer = open_layer(root->layers[0], user_namespace_fd, err);
    if (layer < 0)
        return -1;
    _cleanup_close_ int bind =
        open_tree(layer, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    _cleanup_close_ int target = openat(workshop_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const uint64_t host_only = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    if (bind < 0 || mount_set_attributes(bind, 0, host_only, false) < 0 || target < 0 ||
        path_attach(bind, target) < 0)
        return sandbox_fail(err, "cannot bind the layer %s", root->layers[0]);
    return 0;
}

/* Mounts the layers at the workshop's "root" and returns an O_PATH descriptor of the result. */
static int mount_layers(const struct sandbox_root *root, int workshop_fd, int user_namespace_fd,
                        struct error *err)
{
    int mounted = root->layer_count == 1 && !root->upper && !root->upper_in_memory
                      ? bind_only_layer(root, workshop_fd, user_namespace_fd, err)
                      : overlay_mount(root, workshop_fd, user_namespace_fd, err);
    if (mounted < 0)
        return -1;
    int fd = openat(workshop_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? sandbox_fail(err, "cannot open the mounted root") : fd;
}

static int make_private(struct error *err)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return sandbox_fail(err, "cannot detach the mount namespace from the host's");
    return 0;
}

/* The root of who sees no file: an empty directory, which the workshop has for masks. */
static int clone_empty(int workshop_fd, struct error *err)
{
    int fd = open_tree(workshop_fd, "empty", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    return fd < 0 ? sandbox_fail(err, "cannot make an empty root directory") : fd;
}

struct outside {
    const struct sandbox_root *root;
    int user_namespace_fd;
    int root_fd;
    struct error error;
};

/* Runs with the caller's memory and descriptors, but in a mount namespace of its own. */
static int make_outside_helper(void *argument)
{
    struct outside *outside = argument;
    struct error *err = &outside->error;
    if (make_private(err) < 0)
        return 0;
    _cleanup_close_ int workshop = make_workshop(outside->root, NULL, err);
    if (workshop < 0)
        return 0;
    _cleanup_close_ int mounted =
        mount_layers(outside->root, workshop, outside->user_namespace_fd, err);
    if (mounted < 0)
        return 0;
    outside->root_fd = open_tree(mounted, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (outside->root_fd < 0)
        (void)sandbox_fail(err, "cannot detach the root file system");
    return 0;
}

/*
 * Makes the root of layers for a child in a user namespace, as a detached mount. The overlay must
 * belong to the real root, whose trusted.overlay attributes mark whiteouts and opaque directories;
 * and layers can only be mounted where it shows to nobody. So a helper that shares our memory and
 * descriptors does it in a short-lived mount namespace. Returns the mount, or -1 with *err.
 */
int root_make_outside(const struct sandbox_request *request, int user_namespace_fd,
                      struct error *err)
{
    struct outside outside = { .root = request->root,
                               .user_namespace_fd = user_namespace_fd,
                               .root_fd = -1 };
    _cleanup_free_ char *stack = malloc(HELPER_STACK);
    if (!stack)
        return error_set(err, EXIT_OURS, "out of memory");
    pid_t helper = clone(make_outside_helper, stack + HELPER_STACK,
                         CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWNS | SIGCHLD, &outside);
    if (helper < 0)
        // cppcheck-suppress memleak ; released by its _cleanup_*
        return sandbox_fail(err, "cannot make a mount namespace for the layers");
    while (waitpid(helper, NULL, 0) < 0 && errno == EINTR)
        ;
    if (outside.root_fd < 0)
        *err = outside.error;
    return outside.root_fd;
}

/* Attaches a root that came as a detached mount. */
static int attach_root(int mount_fd, int place, struct error *err)
{
    if (place < 0 || path_attach(mount_fd, place) < 0)
        return sandbox_fail(err, "cannot mount the root file system");
    return mount_fd;
}

/* The same in the workshop. */
static int attach_root_aside(const struct sandbox *sandbox, int mount_fd, struct error *err)
{
    _cleanup_close_ int place =
        openat(sandbox->workshop_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return attach_root(mount_fd, place, err);
}

/* Where a user namespace's root may not go the caller does. Returns -1 with errno. */
static int open_directory(struct sandbox *sandbox)
{
    const struct plan *plan = sandbox->plan;
    const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    int fd = plan->root_resolved ? path_open_straight(plan->root_resolved, flags)
                                 : open(plan->root_path, flags);
    if (fd < 0 && errno == EACCES && sandbox->user_namespace)
        (void)child_ask(sandbox, SANDBOX_SOURCE, SANDBOX_STEP_ROOT, NULL, &fd);
    return fd;
}

/* A bundle's root: where it is on the host, and a detached clone of that. */
struct directory {
    int place, tree;
};

static void directory_close(struct directory *directory)
{
    cleanup_close(&directory->place);
    cleanup_close(&directory->tree);
}

static int clone_directory(int place)
{
    const unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE;
    return open_tree(place, "", flags);
}

/*
 * While the mounts are in their peer groups yet. linux.rootfsPropagation "slave": what the host
 * mounts in there later appears in the container, too; of "shared" only the container's own mount
 * namespaces are peers, as with runc.
 */
static int find_directory(struct sandbox *sandbox, struct directory *directory, struct error *err)
{
    struct mount_attr slave = { .propagation = MS_SLAVE };
    directory->place = open_directory(sandbox);
    bool found = directory->place >= 0;
    if (found && (sandbox->plan->root_propagation & MS_SLAVE)) {
        directory->tree = clone_directory(directory->place);
        found =
            directory->tree >= 0 && mount_setattr(directory->tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
                                                  &slave, sizeof slave) == 0;
    }
    return found ? 0
                 : sandbox_fail(err, "cannot use %s as the root file system",
                                sandbox->plan->root_path);
}

/*
 * A bundle's root lies where it is on the host until it is entered, as with other runtimes: a hook
 * that enters the mount namespace finds it there, with all that is mounted in it, and a mount of
 * the configuration may have a source in it. It is opened once: were it looked for a second time,
 * whoever may exchange a link on the way could have it cover directories of the host, and give
 * hooks, which are programs of the host, other programs to execute.
 */
static int attach_directory(const struct sandbox *sandbox, struct directory *directory,
                            struct error *err)
{
    if (directory->tree < 0)
        directory->tree = clone_directory(directory->place);
    if (directory->tree < 0)
        return sandbox_fail(err, "cannot use %s as the root file system", sandbox->plan->root_path);
    return attach_root(directory->tree, directory->place, err) < 0 ? -1 : take_fd(&directory->tree);
}

/* A root without files. */
static int attach_empty(const struct sandbox *sandbox, struct error *err)
{
    _cleanup_close_ int tree = clone_empty(sandbox->workshop_fd, err);
    return tree < 0 || attach_root_aside(sandbox, tree, err) < 0 ? -1 : take_fd(&tree);
}

/* The first thing in a new mount namespace: root_fd and what belongs to it. */
int root_prepare(struct sandbox *sandbox, struct error *err)
{
    const struct sandbox_root *root = sandbox->request->root;
    __attribute__((cleanup(directory_close))) struct directory directory = { -1, -1 };
    bool bundled = sandbox->given_root_fd < 0 && root->layer_count == 0 && sandbox->plan->root_path;
    if ((bundled && find_directory(sandbox, &directory, err) < 0) ||
        propagation_prepare(sandbox, err) < 0 || make_private(err) < 0)
        return -1;
    sandbox->workshop_fd = make_workshop(root, label_option(sandbox, "tmpfs"), err);
    if (sandbox->workshop_fd < 0)
        return -1;
    if (sandbox->given_root_fd >= 0)
        sandbox->root_fd = attach_root_aside(sandbox, sandbox->given_root_fd, err);
    else if (root->layer_count > 0)
        sandbox->root_fd = mount_layers(root, sandbox->workshop_fd, -1, err);
    else
        sandbox->root_fd =
            bundled ? attach_directory(sandbox, &directory, err) : attach_empty(sandbox, err);
    return sandbox->root_fd < 0 ? -1 : 0;
}

/*
 * pivot_root(2) with both directories ".": the old root lies on top of the new one and is taken
 * away at once, no directory for it is needed in the image.
 */
int root_enter(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)step;
    if (mounts_make_readonly(sandbox, err) < 0)
        return -1;
    if (fchdir(sandbox->root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return sandbox_fail(err, "cannot enter the root file system (pivot_root)");
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return sandbox_fail(err, "cannot leave the old root");
    /* Private is all already but for the mounts that ask for something else. "rslave" makes slaves
     * of those that are shared too, as with runc. */
    unsigned long propagation = sandbox->plan->root_propagation;
    if ((propagation & ~(unsigned long)(MS_PRIVATE | MS_REC)) != 0 &&
        mount(NULL, "/", NULL, propagation, NULL) < 0)
        return sandbox_fail(err, "cannot set the propagation of the root file system");
    cleanup_close(&sandbox->workshop_fd);
    sandbox->workshop_fd = -1;
    return 0;
}

int root_make_readonly(struct sandbox *sandbox, const struct plan_step *step, struct error *err)
{
    (void)step;
    if (mount_set_attributes(sandbox->root_fd, MOUNT_ATTR_RDONLY, 0, false) < 0)
        return sandbox_fail(err, "cannot make the root file system read-only");
    return 0;
}
