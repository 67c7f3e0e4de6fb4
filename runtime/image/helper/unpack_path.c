#include "runtime/image/helper/unpack_path.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "runtime/image/document.h"

enum { PRINTABLE = 300 };

int unpack_fail(const char *path, int errnum, const char *action, struct error *err)
{
    char printable[PRINTABLE];
    document_printable(path, printable, sizeof printable);
    return error_set_errno(err, EXIT_OURS, errnum, "layer entry %s: %s", printable, action);
}

int unpack_refuse(const char *path, const char *reason, struct error *err)
{
    char printable[PRINTABLE];
    document_printable(path, printable, sizeof printable);
    return error_set(err, EXIT_OURS, "layer entry %s: %s", printable, reason);
}

/*
 * Links within the layer are followed as long as they stay below the root; a link out of it, or an
 * absolute one, ends with EXDEV. The kernel enforces this, there is no window.
 */
int unpack_open_directory(const struct unpack *unpack, const char *path, int flags)
{
    struct open_how how = { .flags = (uint64_t)(O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags),
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    return (int)syscall(SYS_openat2, unpack->root_fd, *path ? path : ".", &how, sizeof how);
}

void unpack_forget_parent(struct unpack *unpack)
{
    cleanup_close(&unpack->parent_fd);
    unpack->parent_fd = -1;
}

int unpack_remember_directory(struct unpack *unpack, const char *path, struct timespec mtime)
{
    if (unpack->directory_count == unpack->directory_room) {
        size_t room = unpack->directory_room ? unpack->directory_room * 2 : 256;
        void *grown = reallocarray(unpack->directories, room, sizeof *unpack->directories);
        if (!grown)
            return -1;
        unpack->directories = grown;
        unpack->directory_room = room;
    }
    char *copy = strdup(path);
    if (!copy)
        return -1;
    unpack->directories[unpack->directory_count++] = (struct unpack_directory){ copy, mtime };
    return 0;
}

/*
 * Directories that the layer leaves out get 0755, root and the epoch, as they have no entry to say
 * otherwise; the same layer thus always gives the same file.
 */
static int make_directory(struct unpack *unpack, int above, const char *name, const char *path)
{
    if (mkdirat(above, name, 0755) < 0)
        return errno == EEXIST ? 0 : -1;
    return unpack_remember_directory(unpack, path, (struct timespec){ 0 });
}

static int make_parents(struct unpack *unpack, char *path)
{
    _cleanup_close_ int above = unpack_open_directory(unpack, "", 0);
    char *start = path;
    for (char *slash = strchr(path, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        int result = above < 0 ? -1 : make_directory(unpack, above, start, path);
        int fd = result < 0 ? -1 : unpack_open_directory(unpack, path, 0);
        if (slash)
            *slash = '/';
        if (fd < 0)
            return -1;
        cleanup_close(&above);
        above = fd;
        if (!slash)
            return take_fd(&above);
        start = slash + 1;
    }
}

int unpack_open_parent(struct unpack *unpack, const char *path, const char **base,
                       struct error *err)
{
    char parent[ARCHIVE_MAX_PATH + 1];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    *base = slash ? slash + 1 : path;
    memcpy(parent, path, length);
    parent[length] = '\0';
    if (unpack->parent_fd >= 0 && strcmp(parent, unpack->parent) == 0)
        return unpack->parent_fd;
    unpack_forget_parent(unpack);
    int fd = unpack_open_directory(unpack, parent, 0);
    if (fd < 0 && errno == ENOENT)
        fd = make_parents(unpack, parent);
    if (fd < 0 && (errno == EXDEV || errno == ELOOP))
        return unpack_refuse(path, "a symbolic link in its path leaves the root of the image", err);
    if (fd < 0)
        return unpack_fail(path, errno, "cannot open its directory", err);
    memcpy(unpack->parent, parent, length + 1);
    unpack->parent_fd = fd;
    return fd;
}
