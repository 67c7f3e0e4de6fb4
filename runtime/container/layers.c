#include "layers.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "loop.h"
#include "runtime/cgroup/cgroup.h"

#ifndef EROFS_SUPER_MAGIC_V1
#define EROFS_SUPER_MAGIC_V1 0xE0F5E1E2
#endif

enum { LAYER_PATH_SIZE = 4096, LOCK_NAME_SIZE = 256 };

/*
 * What the layer holds is the image's: on the host, its set-user-id programs and devices mean
 * nothing, and only root gets at it. (An overlay above does not take these flags over.)
 */
static const unsigned long layer_flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;

static bool is_mounted(const char *path)
{
    struct statfs status;
    return statfs(path, &status) == 0 &&
           (unsigned int)status.f_type == (unsigned int)EROFS_SUPER_MAGIC_V1;
}

/* Linux mounts an EROFS file as it is from 6.12 on; before, it asks for a block device. */
static int mount_layer(const char *file, const char *path, struct error *err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make %s", path);
    if (mount(file, path, "erofs", layer_flags, NULL) == 0)
        return 0;
    if (errno == ENOTBLK) {
        char device[32];
        _cleanup_close_ int loop = loop_attach(file, device, sizeof device, err);
        if (loop < 0) {
            (void)rmdir(path);
            return error_see_doctor(err, "filesystems");
        }
        if (cgroup_mount_device(device, path, "erofs", layer_flags) == 0)
            return 0;
    }
    int cause = errno;
    (void)rmdir(path);
    (void)error_set_errno(err, EXIT_OURS, cause, "cannot mount the layer %s%s", file,
                          cause == ENODEV ? " (this kernel has no EROFS: modprobe erofs)" : "");
    return error_see_doctor(err, "filesystems");
}

static void lock_name(char name[LOCK_NAME_SIZE], const char *id)
{
    (void)snprintf(name, LOCK_NAME_SIZE, "%s.lock", id);
}

/* Whether the lock file still is the one of that name: who unmounts also unlinks it. */
static bool is_current(int directory_fd, const char *name, int lock_fd)
{
    struct stat held, named;
    return fstat(lock_fd, &held) == 0 && fstatat(directory_fd, name, &named, 0) == 0 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

/*
 * Returns a descriptor with a shared lock on a layer that is mounted. Going from the exclusive lock
 * to the shared one is not atomic, so the state is looked at again under the shared lock.
 */
static int acquire_layer(int directory_fd, const char *file, const char *id, const char *path,
                         struct error *err)
{
    char name[LOCK_NAME_SIZE];
    lock_name(name, id);
    for (;;) {
        _cleanup_close_ int lock = openat(directory_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (lock < 0 || flock(lock, LOCK_SH) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot lock the layer %s", id);
        if (!is_current(directory_fd, name, lock))
            continue;
        if (is_mounted(path))
            return take_fd(&lock);
        if (flock(lock, LOCK_EX) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot lock the layer %s", id);
        if (!is_current(directory_fd, name, lock) || is_mounted(path))
            continue;
        if (mount_layer(file, path, err) < 0) {
            (void)unlinkat(directory_fd, name, 0);
            return -1;
        }
        if (flock(lock, LOCK_SH) == 0 && is_current(directory_fd, name, lock) && is_mounted(path))
            return take_fd(&lock);
    }
}

/* Unmounts if nobody else holds the lock. Closes it in any case. */
static void release_layer(int directory_fd, const char *id, int lock_fd)
{
    _cleanup_close_ int lock = lock_fd;
    char name[LOCK_NAME_SIZE];
    lock_name(name, id);
    if (flock(lock, LOCK_EX | LOCK_NB) < 0 || !is_current(directory_fd, name, lock))
        return;
    char path[LAYER_PATH_SIZE];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d/%s", directory_fd, id);
    (void)umount2(path, MNT_DETACH);
    (void)unlinkat(directory_fd, id, AT_REMOVEDIR);
    (void)unlinkat(directory_fd, name, 0);
}

static int open_directory(const char *root)
{
    char path[LAYER_PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/layers", root);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    (void)mkdir(root, 0700);
    (void)mkdir(path, 0700);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Adds one layer. Returns 0, or -1 with *err. */
static int add_layer(const char *root, const char *file, const char *id, struct layers *layers,
                     struct error *err)
{
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/layers/%s", root, id) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    int lock = acquire_layer(layers->directory_fd, file, id, path, err);
    if (lock < 0)
        return -1;
    layers->lock_fds[layers->count] = lock;
    layers->paths[layers->count] = take_pointer(&path);
    layers->count++;
    return 0;
}

int layers_acquire(const char *root, const char *const *files, const char *const *ids, size_t count,
                   struct layers *layers, struct error *err)
{
    *layers = (struct layers){ .directory_fd = -1 };
    char **paths = calloc(count + 1, sizeof *paths);
    int *lock_fds = calloc(count + 1, sizeof *lock_fds);
    if (!paths || !lock_fds) {
        free(paths);
        free(lock_fds);
        return error_set(err, EXIT_OURS, "out of memory");
    }
    layers->paths = paths;
    layers->lock_fds = lock_fds;
    layers->directory_fd = open_directory(root);
    int result = 0;
    if (layers->directory_fd < 0)
        result = error_set_errno(err, EXIT_OURS, errno, "cannot open %s/layers", root);
    for (size_t i = 0; i < count && result == 0; i++)
        result = add_layer(root, files[i], ids[i], layers, err);
    if (result < 0)
        layers_release(layers);
    return result;
}

void layers_release(struct layers *layers)
{
    for (size_t i = 0; i < layers->count; i++) {
        const char *path = layers->paths[i];
        const char *slash = path ? strrchr(path, '/') : NULL;
        if (slash)
            release_layer(layers->directory_fd, slash + 1, layers->lock_fds[i]);
        free(layers->paths[i]);
    }
    if (layers->paths)
        cleanup_close(&layers->directory_fd);
    free(layers->paths);
    free(layers->lock_fds);
    *layers = (struct layers){ .directory_fd = -1 };
}

void layers_reap(const char *root)
{
    char path[LAYER_PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/layers", root);
    _cleanup_closedir_ DIR *directory = opendir(path);
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char id[LOCK_NAME_SIZE];
        size_t length = strlen(entry->d_name);
        if (length <= strlen(".lock") || length >= sizeof id ||
            strcmp(entry->d_name + length - strlen(".lock"), ".lock") != 0)
            continue;
        (void)snprintf(id, sizeof id, "%.*s", (int)(length - strlen(".lock")), entry->d_name);
        int lock = openat(dirfd(directory), entry->d_name, O_RDWR | O_CLOEXEC);
        if (lock >= 0)
            release_layer(dirfd(directory), id, lock);
    }
}
