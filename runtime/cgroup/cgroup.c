#include "cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "hierarchy.h"

/* A name is a relative path that cannot leave its hierarchy. */
int cgroup_check_name(const char *name, struct error *err)
{
    const char *at = name;
    while (*at) {
        size_t length = strcspn(at, "/");
        bool bad = length == 0 || length > NAME_MAX || (length == 1 && at[0] == '.') ||
                   (length == 2 && at[0] == '.' && at[1] == '.');
        if (bad)
            break;
        at += length;
        if (*at == '/' && *++at == '\0')
            break;
        if (*at == '\0')
            return 0;
    }
    return error_set(err, EXIT_OURS, "refusing the cgroup path \"%s\"", name);
}

static struct cgroup *cgroup_new(const char *name, struct error *err)
{
    while (*name == '/')
        name++;
    if (cgroup_check_name(name, err) < 0)
        return NULL;
    struct cgroup *cgroup = calloc(1, sizeof *cgroup);
    if (cgroup)
        cgroup->name = strdup(name);
    if (!cgroup || !cgroup->name) {
        free(cgroup);
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    cgroup->v2_fd = cgroup->seat_fd = -1;
    return cgroup;
}

void cgroup_close(struct cgroup *cgroup)
{
    if (!cgroup)
        return;
    scope_leave(cgroup);
    for (size_t i = 0; i < cgroup->v1_count; i++) {
        cleanup_close(&cgroup->v1[i].fd);
        cleanup_close(&cgroup->task_fds[i]);
    }
    cleanup_close(&cgroup->v2_fd);
    free(cgroup->name);
    free(cgroup);
}

/* A cpuset of v1 that is empty, as all are at first, takes no process: it gets its parent's. */
static void fill_cpuset(int parent_fd, int directory_fd)
{
    static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char value[1024];
        if (cgroup_read_file(directory_fd, files[i], value, sizeof value) >= 0 &&
            strspn(value, "\n") == strlen(value) &&
            cgroup_read_file(parent_fd, files[i], value, sizeof value) > 0)
            (void)cgroup_write_file(directory_fd, files[i], value);
    }
}

/* Makes each directory of the path that is missing, and fills cpusets. Returns the last one, and in
 * *made whether it was missing; or -1 with errno. */
static int make_directories(int root_fd, const char *name, bool cpuset, bool *made)
{
    _cleanup_free_ char *path = strdup(name);
    _cleanup_close_ int at = path ? fcntl(root_fd, F_DUPFD_CLOEXEC, 0) : -1;
    char *rest = path;
    for (char *component; at >= 0 && (component = strsep(&rest, "/"));) {
        *made = mkdirat(at, component, 0755) == 0;
        int next = *made || errno == EEXIST
                       ? openat(at, component, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                       : -1;
        if (next >= 0 && cpuset)
            fill_cpuset(at, next);
        (void)close(at);
        at = next;
    }
    return take_fd(&at);
}

/* Adds the directory of one v1 hierarchy; takes the descriptor. */
static int add_v1(struct cgroup *cgroup, const char *options, int directory_fd)
{
    if (cgroup->v1_count == CGROUP_MAX_V1) {
        (void)close(directory_fd);
        errno = E2BIG;
        return -1;
    }
    size_t i = cgroup->v1_count++;
    struct v1_directory *directory = &cgroup->v1[i];
    directory->fd = directory_fd;
    (void)snprintf(directory->options, sizeof directory->options, "%s", options);
    cgroup->task_hierarchies[i] = directory->options;
    cgroup->task_fds[i] = openat(directory_fd, "tasks", O_WRONLY | O_CLOEXEC);
    return cgroup->task_fds[i] < 0 ? -1 : 0;
}

static int refuse_shared(const struct cgroup *cgroup, const char *what, struct error *err)
{
    return error_set(err, EXIT_OURS,
                     "%s the cgroup %s already; a container needs one of its own: choose another "
                     "linux.cgroupsPath",
                     what, cgroup->name);
}

/* The container's first process would stop in there on its way, and who makes it would wait. */
static int refuse_frozen(const struct cgroup *cgroup, struct error *err)
{
    return error_set(err, EXIT_OURS,
                     "the cgroup %s is frozen, or one above it: nothing can start in there; thaw "
                     "it, or choose another linux.cgroupsPath",
                     cgroup->name);
}

/* Whether the directory is still the one of that name: it may have been removed before its lock. */
static bool is_current(int root_fd, const char *name, int fd)
{
    struct stat ours, current;
    return fstat(fd, &ours) == 0 && fstatat(root_fd, name, &current, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_ino == current.st_ino;
}

/*
 * Makes the name this container's alone, by the directory of its first hierarchy. Of several that
 * want it, whoever locks that directory has it, until a process of the container is in there or its
 * maker has given up. What somebody else has, in whichever hierarchy, is left as it is. Returns 1
 * if the directory must be made again, 0, or -1 with *err.
 */
static int claim(struct cgroup *cgroup, int root_fd, int fd, bool made, const char *owner,
                 struct error *err)
{
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? refuse_shared(cgroup, "another container is being made in", err)
                   : error_set_errno(err, EXIT_OURS, errno, "cannot lock the cgroup %s",
                                     cgroup->name);
    if (!is_current(root_fd, cgroup->name, fd))
        return 1;
    /* Of a scope this was asked before there was one: now our own process is in there. */
    bool populated = !*cgroup->unit && cgroup_name_is_populated(cgroup->name);
    if (populated || cgroup_name_is_frozen(cgroup->name, fd, made)) {
        if (made)
            (void)unlinkat(root_fd, cgroup->name, AT_REMOVEDIR);
        return populated ? refuse_shared(cgroup, "there are processes in", err)
                         : refuse_frozen(cgroup, err);
    }
    cgroup->claimed = true;
    if ((owner && fsetxattr(fd, CGROUP_OWNER, owner, strlen(owner), 0) < 0) ||
        (*cgroup->unit && fsetxattr(fd, CGROUP_UNIT, cgroup->unit, strlen(cgroup->unit), 0) < 0)) {
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot mark the cgroup %s", cgroup->name);
        return error_see_doctor(err, "cgroup");
    }
    return 0;
}

/* Makes the directory in one hierarchy. Returns the descriptor, or -1 with *err. */
static int make_directory(struct cgroup *cgroup, int root_fd, const char *owner, bool cpuset,
                          struct error *err)
{
    for (;;) {
        bool made = false;
        _cleanup_close_ int fd = make_directories(root_fd, cgroup->name, cpuset, &made);
        if (fd < 0) {
            (void)error_set_errno(err, EXIT_OURS, errno, "cannot make the cgroup %s", cgroup->name);
            return error_see_doctor(err, "cgroup");
        }
        int again = cgroup->claimed ? 0 : claim(cgroup, root_fd, fd, made, owner, err);
        if (again <= 0)
            return again < 0 ? -1 : take_fd(&fd);
    }
}

static bool has_v1(const struct cgroup *cgroup, const char *options)
{
    for (size_t i = 0; i < cgroup->v1_count; i++)
        if (strcmp(cgroup->v1[i].options, options) == 0)
            return true;
    return false;
}

/* Makes what it has not got yet of the directories in v1 hierarchies. */
static int create_v1(struct cgroup *cgroup, const char *owner,
                     const struct plan_resources *resources, struct error *err)
{
    char options[CGROUP_OPTIONS_SIZE];
    int root;
    for (size_t n = 0; (root = hierarchy_open_v1(n, options)) != -2; n++) {
        _cleanup_close_ int root_fd = root;
        bool cpuset = hierarchy_has(options, "cpuset");
        if (root_fd < 0 || has_v1(cgroup, options) || !hierarchy_is_wanted(options, resources))
            continue;
        int fd = make_directory(cgroup, root_fd, owner, cpuset, err);
        if (fd < 0)
            return -1;
        if (add_v1(cgroup, options, fd) < 0)
            return error_set_errno(err, EXIT_OURS, errno,
                                   "cannot make the cgroup %s in the hierarchy %s", cgroup->name,
                                   options);
    }
    return 0;
}

static void pass_controllers(struct cgroup *cgroup, int root_fd,
                             const struct plan_resources *resources)
{
    if (!controllers_are_there(cgroup->v2_fd, resources))
        cgroup->crowded = controllers_enable(root_fd, cgroup->name);
}

static int create_v2(struct cgroup *cgroup, const char *owner,
                     const struct plan_resources *resources, struct error *err)
{
    if (cgroup->v2_fd >= 0)
        return 0;
    /* Where v2 is beside v1, systemd looks there for a scope's processes. */
    bool needed = *cgroup->unit || hierarchy_needs_v2(cgroup, resources);
    _cleanup_close_ int root_fd = needed ? hierarchy_open_any_v2() : hierarchy_open_v2(cgroup);
    if (root_fd < 0)
        return 0;
    cgroup->v2_fd = make_directory(cgroup, root_fd, owner, false, err);
    if (cgroup->v2_fd < 0)
        return -1;
    pass_controllers(cgroup, root_fd, resources);
    return 0;
}

static struct cgroup *create(struct cgroup *cgroup, const char *owner,
                             const struct plan_resources *resources, struct error *err)
{
    if (create_v1(cgroup, owner, resources, err) == 0 &&
        create_v2(cgroup, owner, resources, err) == 0) {
        if (cgroup->v1_count > 0 || cgroup->v2_fd >= 0)
            return (!cgroup_is_frozen(cgroup) || refuse_frozen(cgroup, err) == 0) &&
                           resources_apply(cgroup, resources, err) == 0
                       ? cgroup
                       : NULL;
        (void)error_set(err, EXIT_OURS,
                        "no cgroups: mount them on /sys/fs/cgroup (mount -t cgroup2 cgroup2 "
                        "/sys/fs/cgroup)");
        (void)error_see_doctor(err, "cgroup");
    }
    return NULL;
}

struct cgroup *cgroup_create(const char *name, const char *owner,
                             const struct plan_resources *resources, struct error *err)
{
    struct cgroup *cgroup = cgroup_check_root(err) < 0 ? NULL : cgroup_new(name, err);
    if (!cgroup || create(cgroup, owner, resources, err))
        return cgroup;
    if (cgroup->claimed)
        cgroup_remove_empty(cgroup->name);
    cgroup_close(cgroup);
    return NULL;
}

static struct cgroup *create_scope(struct cgroup *cgroup, const struct cgroup_scope *scope,
                                   const char *owner, const struct plan_resources *resources,
                                   struct error *err)
{
    struct error ignored;
    struct plan_resources completed = *resources;
    if (cgroup_scope_check_host(err) < 0 || resources_complete(cgroup, &completed, err) < 0)
        return NULL;
    /* A unit of that name systemd refuses itself, and says which; of cgroups it takes any. */
    if (cgroup_name_is_populated(cgroup->name) && !scope_is_at(cgroup->name)) {
        (void)refuse_shared(cgroup, "there are processes in", err);
        return NULL;
    }
    if (scope_start(cgroup, scope, &completed, err) < 0)
        return NULL;
    (void)snprintf(cgroup->unit, sizeof cgroup->unit, "%s", scope->unit);
    if (create(cgroup, owner, resources, err))
        return cgroup;
    scope_leave(cgroup);
    (void)scope_stop(scope->unit, &ignored);
    cgroup_remove_empty(cgroup->name);
    return NULL;
}

struct cgroup *cgroup_create_in_scope(const struct cgroup_scope *scope, const char *owner,
                                      const struct plan_resources *resources, struct error *err)
{
    struct cgroup *cgroup = cgroup_check_root(err) < 0 ? NULL : cgroup_new(scope->path, err);
    if (!cgroup || create_scope(cgroup, scope, owner, resources, err))
        return cgroup;
    cgroup_close(cgroup);
    return NULL;
}

int cgroup_settle(struct cgroup *cgroup, struct error *err)
{
    if (!cgroup || cgroup->seat_pid <= 0)
        return 0;
    scope_leave(cgroup);
    return resources_settle(cgroup, err);
}

/* Whether it is a scope's, and which. */
static void read_unit(struct cgroup *cgroup)
{
    int fd = cgroup->v1_count > 0 ? cgroup->v1[0].fd : cgroup->v2_fd;
    ssize_t length = fgetxattr(fd, CGROUP_UNIT, cgroup->unit, sizeof cgroup->unit - 1);
    cgroup->unit[length > 0 ? length : 0] = '\0';
}

struct cgroup *cgroup_open(const char *name, struct error *err)
{
    struct cgroup *cgroup = cgroup_new(name, err);
    if (!cgroup)
        return NULL;
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    char options[CGROUP_OPTIONS_SIZE];
    int root;
    for (size_t n = 0; (root = hierarchy_open_v1(n, options)) != -2; n++) {
        _cleanup_close_ int root_fd = root;
        int fd = root_fd < 0 ? -1 : openat(root_fd, cgroup->name, flags);
        if (fd >= 0)
            (void)add_v1(cgroup, options, fd);
    }
    _cleanup_close_ int v2_root = hierarchy_open_any_v2();
    if (v2_root >= 0)
        cgroup->v2_fd = openat(v2_root, cgroup->name, flags);
    if (cgroup->v1_count > 0 || cgroup->v2_fd >= 0) {
        read_unit(cgroup);
        return cgroup;
    }
    (void)error_set(err, EXIT_OURS, "there is no cgroup %s", cgroup->name);
    cgroup_close(cgroup);
    return NULL;
}

/* What is new must be empty: processes of somebody else's would get the limits too. */
static int refuse_populated(const struct cgroup *cgroup, size_t first_v1, bool v2,
                            struct error *err)
{
    bool populated = v2 && cgroup_tree_is_populated(cgroup->v2_fd);
    for (size_t i = first_v1; i < cgroup->v1_count && !populated; i++)
        populated = cgroup_tree_is_populated(cgroup->v1[i].fd);
    return populated ? refuse_shared(cgroup, "processes of others are in", err) : 0;
}

/*
 * The first limit of a controller that is joined on demand needs its hierarchy; one that could not
 * be handed on when the cgroup was made is asked for again. The processes come last: they never are
 * in there without the limits.
 */
int cgroup_set_resources(struct cgroup *cgroup, const struct plan_resources *resources,
                         struct error *err)
{
    const size_t had_v1 = cgroup->v1_count;
    const bool had_v2 = cgroup->v2_fd >= 0;
    _cleanup_close_ int root_fd = had_v2 ? hierarchy_open_any_v2() : -1;
    if (root_fd >= 0)
        pass_controllers(cgroup, root_fd, resources);
    cgroup->claimed = true; /* whose name it is was settled when it was made */
    if (create_v1(cgroup, NULL, resources, err) < 0 ||
        (hierarchy_needs_v2(cgroup, resources) && create_v2(cgroup, NULL, resources, err) < 0) ||
        refuse_populated(cgroup, had_v1, !had_v2 && cgroup->v2_fd >= 0, err) < 0 ||
        resources_apply(cgroup, resources, err) < 0)
        return -1;
    return cgroup_gather(cgroup, err);
}

const char *cgroup_name(const struct cgroup *cgroup)
{
    return cgroup->name;
}

int cgroup_birth_fd(const struct cgroup *cgroup)
{
    return cgroup->v2_fd;
}

size_t cgroup_task_fds(const struct cgroup *cgroup, const int **fds,
                       const char *const **hierarchies)
{
    *fds = cgroup->task_fds;
    *hierarchies = cgroup->task_hierarchies;
    return cgroup->v1_count;
}

int cgroup_add_process(struct cgroup *cgroup, pid_t pid, struct error *err)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%d", (int)pid);
    for (size_t i = 0; i <= cgroup->v1_count; i++) {
        int fd = i < cgroup->v1_count ? cgroup->v1[i].fd : cgroup->v2_fd;
        if (fd >= 0 && cgroup_write_file(fd, "cgroup.procs", text) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot move process %d into cgroup %s",
                                   (int)pid, cgroup->name);
    }
    return 0;
}

uint64_t cgroup_oom_kills(const struct cgroup *cgroup)
{
    int v1_fd = cgroup_v1_fd(cgroup, "memory");
    if (v1_fd >= 0)
        return cgroup_read_key(v1_fd, "memory.oom_control", "oom_kill");
    return cgroup->v2_fd >= 0 ? cgroup_read_key(cgroup->v2_fd, "memory.events", "oom_kill") : 0;
}

bool cgroup_read_number(const struct cgroup *cgroup, const struct cgroup_file *file,
                        uint64_t *number)
{
    int v1_fd = cgroup_v1_fd(cgroup, file->controller);
    int fd = v1_fd >= 0 ? v1_fd : cgroup->v2_fd;
    const char *name = v1_fd >= 0 ? file->v1_file : file->v2_file;
    const char *key = v1_fd >= 0 ? file->v1_key : file->v2_key;
    char text[32];
    if (fd < 0 || faccessat(fd, name, R_OK, 0) < 0)
        return false;
    if (key)
        *number = cgroup_read_key(fd, name, key);
    else if (cgroup_read_file(fd, name, text, sizeof text) <= 0)
        return false;
    else if (strncmp(text, "max", 3) == 0)
        *number = UINT64_MAX;
    else
        *number = strtoull(text, NULL, 10);
    if (v1_fd < 0 && *number != UINT64_MAX)
        *number *= file->v2_factor;
    return true;
}

int cgroup_read_stats(const struct cgroup *cgroup, struct cgroup_stats *stats, struct error *err)
{
    static const struct cgroup_file memory = { "memory", "memory.usage_in_bytes",
                                               NULL,     "memory.current",
                                               NULL,     1 };
    static const struct cgroup_file pids = {
        "pids", "pids.current", NULL, "pids.current", NULL, 1
    };
    static const struct cgroup_file cpu = { "cpuacct",  "cpuacct.usage", NULL,
                                            "cpu.stat", "usage_usec",    1000 };
    uint64_t nanoseconds = 0;
    (void)err;
    *stats = (struct cgroup_stats){ 0 };
    (void)cgroup_read_number(cgroup, &memory, &stats->memory_bytes);
    (void)cgroup_read_number(cgroup, &pids, &stats->pids);
    (void)cgroup_read_number(cgroup, &cpu, &nanoseconds);
    stats->cpu_microseconds = nanoseconds / 1000;
    return 0;
}
