#include "salvage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "pod_machine.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/launch/signals.h"

static bool has_file(const char *directory, const char *name)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s", directory, name);
    return length < (int)sizeof path && (access(path, F_OK) == 0 || errno != ENOENT);
}

/* Takes the lock, if there is a file for it. Returns 0, or -1 with *err. */
static int lock_remains(const struct runtime *runtime, const char *id, const char *directory,
                        int *lock, struct error *err)
{
    if (!has_file(directory, "lock"))
        return 0;
    int locked = workload_lock_soon(runtime, id, lock, err);
    if (locked <= 0)
        return locked;
    return error_set(err, EXIT_OURS,
                     "%s is not removed: a process holds %s/lock, and no monitor answers that "
                     "could be told to end; find it (fuser %s/lock), end it, and try again",
                     id, directory, directory);
}

static void tell(const struct runtime *runtime, const char *id, const char *cgroups)
{
    struct error text;
    (void)error_set(&text, EXIT_OURS,
                    "the state of %s could not be read; removed were its directories%s%s; if "
                    "processes of it ran outside of that, they were not found, and hooks of its "
                    "end were not run",
                    id,
                    *cgroups ? " and, with all processes in them, its cgroups"
                             : ", and no cgroup bears its mark",
                    cgroups);
    runtime->warn(text.message);
}

/*
 * Removes all that bear its mark: of a sandbox, also that of its pod's machine. cgroups: their
 * names, each after a blank, are added as far as there is room.
 */
static int remove_cgroups(const char *directory, char *cgroups, size_t size, struct error *err)
{
    char name[PATH_MAX];
    char last[PATH_MAX] = "";
    for (;;) {
        if (cgroup_find(directory, name, err) < 0)
            return -1;
        if (!*name)
            return 0;
        if (strcmp(name, last) == 0)
            return error_set(err, EXIT_OURS, "cannot remove the cgroup %s: it is there again",
                             name);
        if (cgroup_remove(name, err) < 0)
            return -1;
        size_t length = strlen(cgroups);
        (void)snprintf(cgroups + length, size - length, " %s", name);
        (void)snprintf(last, sizeof last, "%s", name);
    }
}

/*
 * First what runs in the cgroups: once the process of a sandbox has ended, the keeper of its
 * machine need not be waited for. That one is in none of them, and it makes none any more.
 */
static int remove_remains(const struct runtime *runtime, const char *id, const char *directory,
                          struct error *err)
{
    char cgroups[256] = "";
    if (remove_cgroups(directory, cgroups, sizeof cgroups, err) < 0 ||
        pod_end_machine(directory, NULL, err) < 0 ||
        remove_cgroups(directory, cgroups, sizeof cgroups, err) < 0 ||
        workload_clean_unknown(runtime, id, err) < 0)
        return -1;
    struct state state = { .id = (char *)id };
    if (workload_remove(runtime, &state, err) < 0)
        return -1;
    tell(runtime, id, cgroups);
    return 0;
}

int engine_salvage(const struct runtime *runtime, const char *id, struct error *err)
{
    struct error why = { 0 };
    _cleanup_close_ int lock = -1;
    _cleanup_free_ char *directory = state_directory(runtime->root, id, err);
    if (!directory)
        return -1;
    int damaged = state_check_id(id, &why) < 0 ? 0 : state_is_damaged(runtime->root, id, err);
    if (damaged <= 0)
        return damaged < 0 ? -1 : 1;
    /* A monitor writes a state that can be read before it ends, or removes the directory (--rm). */
    if (workload_kill_by_monitor(runtime, id, err) < 0)
        return -1;
    int locked = lock_remains(runtime, id, directory, &lock, err);
    if (state_is_absent(runtime->root, id))
        return 0;
    damaged = locked < 0 ? -1 : state_is_damaged(runtime->root, id, err);
    if (damaged < 0)
        return -1;
    return damaged == 0 ? 1 : remove_remains(runtime, id, directory, err);
}
