/*
 * Entries that come and go while a virtiofsd serves. It can make or mount nothing itself; for the
 * moment that it takes, a process of ours enters its mount namespace, where it sees what the other
 * sees, and the place of the entries, which is read-only there, by a mount of its own that is
 * attached nowhere. The Landlock rule of the directory holds for what is mounted below it.
 */
#include "shares.h"

#include "cleanup.h"
#include "share_jail.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct change {
    uint32_t first;
    const int *mounts; /* NULL: they are taken away */
    size_t count;
};

static int enter(const struct share_server *server)
{
    return setns(server->process.pidfd, CLONE_NEWNS) < 0 ? -1 : chdir(SHARE_JAIL_DIRECTORY);
}

/* The directory of the entries as one that can be written to; -1 with errno. */
static int open_place(void)
{
    struct mount_attr writable = { .attr_clr = MOUNT_ATTR_RDONLY };
    _cleanup_close_ int place = open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (place < 0 || mount_setattr(place, "", AT_EMPTY_PATH, &writable, sizeof writable) < 0)
        return -1;
    return take_fd(&place);
}

static int take_away(int place, size_t number)
{
    char name[24];
    (void)snprintf(name, sizeof name, "%zu", number);
    if (umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
        return -1;
    return unlinkat(place, name, AT_REMOVEDIR) < 0 && errno == ENOTDIR ? unlinkat(place, name, 0)
                                                                       : 0;
}

static int change_entries(const struct share_server *server, const struct change *change)
{
    _cleanup_close_ int place = enter(server) < 0 ? -1 : open_place();
    if (place < 0)
        return -1;
    for (size_t i = 0; i < change->count; i++) {
        size_t number = change->first + i;
        if ((change->mounts ? share_jail_add(place, AT_FDCWD, number, change->mounts[i])
                            : take_away(place, number)) < 0)
            return -1;
    }
    return 0;
}

/* In a process of its own, which a namespace is entered for. 0, or -1 with errno. */
static int carry_out(const struct share_server *server, const struct change *change)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(change_entries(server, change) < 0 ? (errno > 0 && errno < 256 ? errno : EIO) : 0);
    if (pid < 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

int share_server_add(const struct share_server *server, uint32_t first, const int *mounts,
                     size_t count, struct error *err)
{
    const struct change change = { first, mounts, count };
    return carry_out(server, &change) == 0
               ? 0
               : error_set_errno(err, EXIT_OURS, errno, "cannot give virtiofsd a directory more");
}

int share_server_remove(const struct share_server *server, uint32_t first, size_t count,
                        struct error *err)
{
    const struct change change = { first, NULL, count };
    return carry_out(server, &change) == 0
               ? 0
               : error_set_errno(err, EXIT_OURS, errno, "cannot take a directory from virtiofsd");
}
