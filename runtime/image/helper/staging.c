#include "runtime/image/helper/staging.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "directory.h"

/* Layers may hold setuid programs and secrets: nobody but root reads the store. */
enum { STORE_MODE = 0700 };

void staging_die_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(EXIT_OURS);
}

void staging_die_with_holder(int fd)
{
    struct pollfd holder = { .fd = fd, .events = POLLIN };
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || poll(&holder, 1, 0) != 0)
        _exit(EXIT_OURS);
}

/* What is made in a directory outlives a power cut once the directory above it is synced. */
static int sync_parent(int fd)
{
    _cleanup_close_ int parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return parent < 0 ? -1 : fsync(parent);
}

static int make_parents(const char *path, struct error *err)
{
    _cleanup_free_ char *copy = strdup(path);
    if (!copy)
        return error_set(err, EXIT_OURS, "out of memory");
    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(copy, 0755) == 0;
        _cleanup_close_ int fd = made ? open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if ((!made && errno != EEXIST) || (made && (fd < 0 || sync_parent(fd) < 0))) {
            int cause = errno;
            (void)error_set_errno(err, EXIT_OURS, cause, "cannot make directory %s", copy);
            return error_see_store(err, cause);
        }
        *slash = '/';
    }
    return 0;
}

int store_make_directory(const struct store *store, int dir_fd, const char *name, bool *made,
                         struct error *err)
{
    *made = mkdirat(dir_fd, name, STORE_MODE) == 0;
    if (!*made && errno != EEXIST) {
        int cause = errno;
        (void)error_set_errno(err, EXIT_OURS, cause, "cannot make %s in the image store %s", name,
                              store->path);
        return error_see_store(err, cause);
    }
    int follow = dir_fd == AT_FDCWD ? 0 : O_NOFOLLOW; /* the store itself may be anywhere */
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
    return fd >= 0 ? fd
                   : error_set_errno(err, EXIT_OURS, errno, "cannot open %s in the image store %s",
                                     name, store->path);
}

int store_open_directory(const struct store *store, int dir_fd, const char *name, struct error *err)
{
    bool made;
    _cleanup_close_ int fd = store_make_directory(store, dir_fd, name, &made, err);
    if (fd >= 0 && made && sync_parent(fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync %s in the image store %s", name,
                               store->path);
    return take_fd(&fd);
}

int store_open(const char *path, struct store *store, struct error *err)
{
    *store = (struct store){ path, -1, -1, -1, -1, -1, -1 };
    if (make_parents(path, err) < 0)
        return -1;
    store->fd = store_open_directory(store, AT_FDCWD, path, err);
    if (store->fd < 0)
        return -1;
    _cleanup_close_ int blobs = store_open_directory(store, store->fd, "blobs", err);
    if (blobs < 0 || (store->blobs_fd = store_open_directory(store, blobs, "sha256", err)) < 0 ||
        (store->layers_fd = store_open_directory(store, store->fd, "layers", err)) < 0 ||
        (store->images_fd = store_open_directory(store, store->fd, "images", err)) < 0 ||
        (store->tmp_fd = store_open_directory(store, store->fd, "tmp", err)) < 0 ||
        (store->index_fd = store_open_directory(store, store->fd, "index", err)) < 0) {
        store_close(store);
        return -1;
    }
    return 0;
}

void store_close(struct store *store)
{
    const int fds[] = { store->fd,       store->blobs_fd,  store->layers_fd,
                        store->index_fd, store->images_fd, store->tmp_fd };
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        cleanup_close(&fds[i]);
}

int store_lock(const struct store *store, struct error *err)
{
    int fd = openat(store->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        int cause = errno;
        (void)error_set_errno(err, EXIT_OURS, cause, "cannot open %s/lock", store->path);
        return error_see_store(err, cause);
    }
    while (flock(fd, LOCK_EX) < 0) {
        if (errno == EINTR)
            continue;
        (void)close(fd);
        return error_set_errno(err, EXIT_OURS, errno, "cannot lock %s/lock", store->path);
    }
    return fd;
}

/* Nothing here is deep: what earlier versions unpacked had at most 256 directories in a row. */
static int remove_content(int dir_fd, const char *name)
{
    _cleanup_closedir_ DIR *directory = directory_open(dir_fd, name);
    if (!directory)
        return -1;
    for (const struct dirent *entry; (entry = directory_next(directory));)
        if (tree_remove(dirfd(directory), entry->d_name) < 0)
            return -1;
    return errno == 0 ? 0 : -1;
}

int tree_remove(int dir_fd, const char *name)
{
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    return remove_content(dir_fd, name) < 0 ? -1 : unlinkat(dir_fd, name, AT_REMOVEDIR);
}

int staging_visit_left(const struct store *store,
                       int (*visit)(void *context, const char *name, struct error *err),
                       void *context, struct error *err)
{
    _cleanup_closedir_ DIR *directory = directory_open(store->tmp_fd, ".");
    if (!directory)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read %s/tmp", store->path);
    for (const struct dirent *entry; (entry = directory_next(directory));) {
        _cleanup_close_ int lock =
            openat(store->tmp_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (lock >= 0 ? flock(lock, LOCK_EX | LOCK_NB) < 0 : errno != ENOTDIR && errno != ELOOP)
            continue;
        if (visit(context, entry->d_name, err) < 0)
            return -1;
    }
    return errno == 0 ? 0
                      : error_set_errno(err, EXIT_OURS, errno, "cannot read %s/tmp", store->path);
}

int staging_remove_left(const struct store *store, const char *name, struct error *err)
{
    if (tree_remove(store->tmp_fd, name) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot remove %s/tmp/%s", store->path, name);
    return 0;
}

struct sweep {
    const struct store *store;
    bool swept;
};

static int sweep_one(void *context, const char *name, struct error *err)
{
    struct sweep *sweep = context;
    sweep->swept = true;
    return staging_remove_left(sweep->store, name, err);
}

int staging_begin(const struct store *store, struct staging *staging, bool *swept,
                  struct error *err)
{
    uint64_t number;
    *staging = (struct staging){ .store = store, .fd = -1 };
    _cleanup_close_ int lock = store_lock(store, err);
    struct sweep sweep = { .store = store };
    if (lock < 0 || staging_visit_left(store, sweep_one, &sweep, err) < 0)
        return -1;
    *swept = sweep.swept;
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return error_set_errno(err, EXIT_OURS, errno, "cannot get random bytes");
    (void)snprintf(staging->name, sizeof staging->name, "%016" PRIx64, number);
    if (mkdirat(store->tmp_fd, staging->name, STORE_MODE) < 0) {
        int cause = errno;
        (void)error_set_errno(err, EXIT_OURS, cause, "cannot make %s/tmp/%s", store->path,
                              staging->name);
        return error_see_store(err, cause);
    }
    staging->fd = openat(store->tmp_fd, staging->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (staging->fd < 0 || flock(staging->fd, LOCK_EX | LOCK_NB) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot lock %s/tmp/%s", store->path,
                               staging->name);
    return 0;
}

int store_refuse_link(const char *name, int errnum, struct error *err)
{
    if (errnum == EMLINK)
        return error_set(err, EXIT_OURS,
                         "%s of the image store is part of as many images as its file system "
                         "allows links to a file; remove some with `hybrid rmi`, or keep the store "
                         "on another file system (--data)",
                         name);
    (void)error_set_errno(err, EXIT_OURS, errnum, "cannot keep %s of the image store", name);
    return error_see_store(err, errnum);
}

int staging_hold(const struct staging *staging, int dir_fd, const char *name, struct error *err)
{
    if (linkat(dir_fd, name, staging->fd, name, 0) == 0 || errno == EEXIST)
        return 1;
    return errno == ENOENT ? 0 : store_refuse_link(name, errno, err);
}

int staging_end(struct staging *staging, struct error *err)
{
    if (staging->fd < 0)
        return 0;
    int result = tree_remove(staging->store->tmp_fd, staging->name);
    if (result < 0)
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot remove %s/tmp/%s",
                              staging->store->path, staging->name);
    cleanup_close(&staging->fd);
    staging->fd = -1;
    return result;
}
