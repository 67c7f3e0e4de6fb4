/* The controllers of cgroup v2, which each cgroup has to hand on to those below it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "hierarchy.h"

bool controllers_are_there(int directory_fd, const struct plan_resources *resources)
{
    bool cpu = resources->cpu_quota > 0 || resources->cpu_shares > 0;
    bool cpuset = resources->cpuset_cpus || resources->cpuset_mems;
    for (size_t i = 0; i < resources->setting_count; i++) {
        const char *file = resources->settings[i].v2_file;
        if (file && faccessat(directory_fd, file, F_OK, 0) < 0)
            return false;
    }
    if (resources->every_controller && faccessat(directory_fd, "io.stat", F_OK, 0) < 0)
        return false;
    return faccessat(directory_fd, "memory.max", F_OK, 0) == 0 &&
           faccessat(directory_fd, "pids.max", F_OK, 0) == 0 &&
           (!cpu || faccessat(directory_fd, "cpu.max", F_OK, 0) == 0) &&
           (!cpuset || faccessat(directory_fd, "cpuset.cpus", F_OK, 0) == 0);
}

bool controllers_enable(int root_fd, const char *name)
{
    static const char *const controllers[] = { "+memory", "+io",   "+hugetlb", "+rdma",
                                               "+misc",   "+pids", "+cpu",     "+cpuset" };
    bool crowded = false;
    _cleanup_free_ char *path = strdup(name);
    _cleanup_close_ int at = path ? fcntl(root_fd, F_DUPFD_CLOEXEC, 0) : -1;
    char *rest = path;
    for (char *component; at >= 0 && (component = strsep(&rest, "/"));) {
        /* One by one: a controller that this host lacks must not take the others along. */
        for (size_t i = 0; i < sizeof controllers / sizeof *controllers && !crowded; i++)
            crowded = cgroup_write_file(at, "cgroup.subtree_control", controllers[i]) < 0 &&
                      errno == EBUSY;
        int next = openat(at, component, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        (void)close(at);
        at = next;
    }
    return crowded;
}
