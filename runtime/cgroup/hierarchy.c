#include "hierarchy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cleanup.h"

#define CGROUP_MOUNT "/sys/fs/cgroup"

/*
 * The v1 hierarchies a workload gets a cgroup in: those with limits or counters we use, and
 * systemd's, by which tools find processes. The others are made when they are asked for: a cpuset
 * alone costs more than all the rest.
 */
static const struct {
    const char *directory;
    const char *options;
    bool on_demand;
} v1_table[] = {
    { "memory", "memory", false },
    { "pids", "pids", false },
    { "cpu", "cpu", false },
    { "cpuacct", "cpuacct", false },
    { "devices", "devices", false },
    { "freezer", "freezer", false },
    { "systemd", "name=systemd", false },
    { "cpuset", "cpuset", true },
    { "blkio", "blkio", true },
    { "hugetlb", "hugetlb", true },
    { "net_cls", "net_cls", true },
    { "net_prio", "net_prio", true },
    { "perf_event", "perf_event", true },
    { "rdma", "rdma", true },
    { "misc", "misc", true },
};

_Static_assert(sizeof v1_table / sizeof *v1_table == HIERARCHY_V1_COUNT, "as announced");

bool cgroup_root_is_mapped(void)
{
    unsigned int inside = 0, outside = 0, count = 0;
    _cleanup_fclose_ FILE *file = fopen("/proc/self/uid_map", "re");
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
    return file && fscanf(file, "%u %u %u", &inside, &outside, &count) == 3 &&
           (inside != 0 || outside != 0 || count != UINT32_MAX);
}

int cgroup_check_root(struct error *err)
{
    if (!cgroup_root_is_mapped())
        return 0;
    (void)error_set(err, EXIT_OURS,
                    "cannot make a cgroup as root of a user namespace, which hybrid is here (a "
                    "rootless engine?): it needs root of the machine; run the engine as root");
    return error_see_doctor(err, "root");
}

static bool is_file_system(int fd, long magic)
{
    struct statfs status;
    return fd >= 0 && fstatfs(fd, &status) == 0 && status.f_type == magic;
}

/* A directory below the cgroup mount, if it is the root of a file system of that kind. */
static int open_root(const char *path, int flags, long magic)
{
    _cleanup_close_ int fd = open(path, flags | O_PATH | O_DIRECTORY | O_CLOEXEC);
    return is_file_system(fd, magic) ? take_fd(&fd) : -1;
}

/*
 * Where v1 has the controllers that count, a v2 hierarchy beside it ("hybrid" layout) has nothing
 * to offer and is left alone.
 */
int hierarchy_open_v2(const struct cgroup *cgroup)
{
    static const char *const needed[] = { "memory", "pids", "cpu" };
    bool complete = true;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        complete = complete && cgroup_v1_fd(cgroup, needed[i]) >= 0;
    if (complete)
        return -1;
    return hierarchy_open_any_v2();
}

bool hierarchy_needs_v2(const struct cgroup *cgroup, const struct plan_resources *resources)
{
    for (size_t i = 0; i < resources->setting_count; i++) {
        const struct plan_cgroup_setting *setting = &resources->settings[i];
        if (setting->v2_file && cgroup_v1_fd(cgroup, setting->controller) < 0)
            return true;
    }
    return false;
}

int hierarchy_open_any_v2(void)
{
    int fd = open_root(CGROUP_MOUNT, 0, CGROUP2_SUPER_MAGIC);
    return fd >= 0 ? fd : open_root(CGROUP_MOUNT "/unified", 0, CGROUP2_SUPER_MAGIC);
}

/*
 * Co-mounted controllers are one directory "cpu,cpuacct" with a symbolic link for each name: the
 * link tells the mount options, and only the first name counts.
 */
static int follow_link(const char *path, const char *name, char options[CGROUP_OPTIONS_SIZE])
{
    ssize_t length = readlink(path, options, CGROUP_OPTIONS_SIZE - 1);
    if (length < 0)
        return -1;
    options[length] = '\0';
    size_t first = strcspn(options, ",");
    if (strchr(options, '/') || strncmp(options, name, first) != 0 || name[first] != '\0')
        return -1;
    return open_root(path, 0, CGROUP_SUPER_MAGIC);
}

int hierarchy_open_v1(size_t n, char options[CGROUP_OPTIONS_SIZE])
{
    if (n >= HIERARCHY_V1_COUNT)
        return -2;
    char path[64];
    (void)snprintf(path, sizeof path, CGROUP_MOUNT "/%s", v1_table[n].directory);
    (void)snprintf(options, CGROUP_OPTIONS_SIZE, "%s", v1_table[n].options);
    int fd = open_root(path, O_NOFOLLOW, CGROUP_SUPER_MAGIC);
    return fd < 0 && errno == ENOTDIR ? follow_link(path, v1_table[n].directory, options) : fd;
}

int hierarchy_open_freezer(void)
{
    char options[CGROUP_OPTIONS_SIZE];
    size_t n = 0;
    while (n < HIERARCHY_V1_COUNT && strcmp(v1_table[n].directory, "freezer") != 0)
        n++;
    int fd = hierarchy_open_v1(n, options);
    return fd >= 0 ? fd : hierarchy_open_any_v2();
}

bool hierarchy_has(const char *options, const char *controller)
{
    size_t length = strlen(controller);
    for (const char *at = options; *at; at += *at == ',') {
        size_t n = strcspn(at, ",");
        if (n == length && strncmp(at, controller, n) == 0)
            return true;
        at += n;
    }
    return false;
}

bool hierarchy_is_wanted(const char *options, const struct plan_resources *resources)
{
    size_t n = 0;
    while (n < HIERARCHY_V1_COUNT &&
           !(v1_table[n].on_demand && hierarchy_has(options, v1_table[n].options)))
        n++;
    if (n == HIERARCHY_V1_COUNT || resources->every_controller ||
        (hierarchy_has(options, "cpuset") && (resources->cpuset_cpus || resources->cpuset_mems)))
        return true;
    for (size_t i = 0; i < resources->setting_count; i++)
        if (hierarchy_has(options, resources->settings[i].controller))
            return true;
    return false;
}

int cgroup_v1_fd(const struct cgroup *cgroup, const char *controller)
{
    for (size_t i = 0; i < cgroup->v1_count; i++)
        if (hierarchy_has(cgroup->v1[i].options, controller))
            return cgroup->v1[i].fd;
    return -1;
}

int cgroup_write_file(int directory_fd, const char *file, const char *value)
{
    _cleanup_close_ int fd = openat(directory_fd, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n;
    do
        n = write(fd, value, strlen(value));
    while (n < 0 && errno == EINTR);
    return n < 0 ? -1 : 0;
}

ssize_t cgroup_read_file(int directory_fd, const char *file, char *text, size_t size)
{
    _cleanup_close_ int fd = openat(directory_fd, file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    return n;
}

uint64_t cgroup_read_key(int directory_fd, const char *file, const char *key)
{
    char text[4096];
    if (cgroup_read_file(directory_fd, file, text, sizeof text) < 0)
        return 0;
    size_t length = strlen(key);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));)
        if (strncmp(line, key, length) == 0 && line[length] == ' ')
            return strtoull(line + length + 1, NULL, 10);
    return 0;
}
