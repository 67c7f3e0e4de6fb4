/* What both isolations need of the host's kernel: tried where trying is harmless. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "doctor.h"
#include "io.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/scope.h"
#include "runtime/plan/compose.h"

#define AS_ROOT "run hybrid as root"

static void look_kernel(const struct runtime *runtime, struct finding *finding)
{
    struct utsname name;
    unsigned int major = 0, minor = 0;
    (void)runtime;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
    if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2)
        finding_set(finding, FINDING_NOTE, NULL, "its release cannot be read");
    else if (major < 6 || (major == 6 && minor < 1))
        finding_set(finding, FINDING_MISSING, "use Linux 6.1 or later", "Linux %s", name.release);
    else
        finding_set(finding, FINDING_GOOD, NULL, "Linux %s, %s", name.release, name.machine);
}

static void look_root(const struct runtime *runtime, struct finding *finding)
{
    (void)runtime;
    if (geteuid() != 0)
        finding_set(finding, FINDING_MISSING, AS_ROOT, "user %u is not root",
                    (unsigned int)geteuid());
    else if (cgroup_root_is_mapped())
        finding_set(finding, FINDING_MISSING, AS_ROOT " of the machine, outside of it",
                    "root of a user namespace: it may not mount images, nor mark cgroups");
    else
        finding_set(finding, FINDING_GOOD, NULL, "user 0");
}

static uint64_t effective_capabilities(void)
{
    char text[4096] = "";
    _cleanup_close_ int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || io_read_all(fd, text, sizeof text - 1) <= 0)
        return 0;
    const char *line = strstr(text, "\nCapEff:");
    return line ? strtoull(line + strlen("\nCapEff:"), NULL, 16) : 0;
}

/* Those that setting a workload up takes; what else root lacks, a workload cannot be given. */
static void look_capabilities(const struct runtime *runtime, struct finding *finding)
{
    static const char *const needed[] = { "CHOWN",     "DAC_OVERRIDE", "FOWNER",   "KILL",
                                          "SETGID",    "SETUID",       "MKNOD",    "SETPCAP",
                                          "SYS_ADMIN", "SYS_CHROOT",   "NET_ADMIN" };
    char missing[400] = "", lacking[400] = "";
    uint64_t have = effective_capabilities();
    (void)runtime;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!(have >> capability_from_name(needed[i]) & 1))
            (void)snprintf(missing + strlen(missing), sizeof missing - strlen(missing), " %s",
                           needed[i]);
    for (int i = 0; capability_name(i); i++)
        if (!(have >> i & 1))
            (void)snprintf(lacking + strlen(lacking), sizeof lacking - strlen(lacking), " %s",
                           capability_name(i) + strlen("CAP_"));
    if (*missing)
        finding_set(finding, FINDING_MISSING,
                    AS_ROOT ", with these capabilities if it runs in a container", "lacking:%s",
                    missing);
    else if (*lacking)
        finding_set(finding, FINDING_NOTE,
                    "workloads cannot be given them, nor limits beyond this process's own",
                    "root lacks:%s", lacking);
    else
        finding_set(finding, FINDING_GOOD, NULL, "all");
}

/* Whether a process can be born in one, as a workload's is. Returns 0 or an errno. */
static int try_namespace(int flag)
{
    struct clone_args arguments = { .flags = (uint64_t)(unsigned int)flag, .exit_signal = SIGCHLD };
    long child = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child < 0)
        return errno;
    if (child == 0)
        _exit(0);
    while (waitpid((pid_t)child, NULL, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

static void look_namespaces(const struct runtime *runtime, struct finding *finding)
{
    static const struct {
        const char *name;
        int flag;
        bool optional;
    } kinds[] = {
        { "mount", CLONE_NEWNS, false },    { "pid", CLONE_NEWPID, false },
        { "network", CLONE_NEWNET, false }, { "ipc", CLONE_NEWIPC, false },
        { "uts", CLONE_NEWUTS, false },     { "cgroup", CLONE_NEWCGROUP, false },
        { "user", CLONE_NEWUSER, true },
    };
    int cause = 0;
    const char *name = NULL;
    bool optional = true;
    (void)runtime;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int result = try_namespace(kinds[i].flag);
        if (result == 0 || (name && kinds[i].optional))
            continue;
        cause = result;
        name = kinds[i].name;
        optional = kinds[i].optional;
        if (!optional)
            break;
    }
    if (!name)
        finding_set(finding, FINDING_GOOD, NULL, "mount pid network ipc uts cgroup user");
    else
        finding_set(finding, optional ? FINDING_NOTE : FINDING_MISSING,
                    optional ? "--userns does not work; see /proc/sys/user/max_user_namespaces"
                    : cause == EPERM  ? AS_ROOT ", with CAP_SYS_ADMIN"
                    : cause == ENOSYS ? "allow clone3 in the container that hybrid itself runs in"
                                      : "see /proc/sys/user, and the kernel's configuration",
                    "cannot make one of kind %s: %s", name, strerror(cause));
}

/* Controllers of options that few use, which this host lacks: " cpuset io". */
static void list_missing_controllers(char *text, size_t size)
{
    static const char *const names[][2] = { { "cpuset", "cpuset" }, { "blkio", "io" } };
    char there[512] = "", path[64], wanted[16];
    _cleanup_close_ int fd = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : io_read_all(fd, there + 1, sizeof there - 3);
    *text = '\0';
    if (length > 0) {
        there[0] = ' ';
        there[1 + strcspn(there + 1, "\n")] = ' ';
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup/%s", names[i][0]);
        (void)snprintf(wanted, sizeof wanted, " %s ", names[i][1]);
        if (fd < 0 ? access(path, F_OK) < 0 : !strstr(there, wanted))
            (void)snprintf(text + strlen(text), size - strlen(text), " %s", names[i][1]);
    }
}

static const char *cgroup_mode(void)
{
    struct statfs status;
    if (statfs("/sys/fs/cgroup", &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC)
        return "v2";
    if (statfs("/sys/fs/cgroup/unified", &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC)
        return "v1, and v2 beside it";
    return access("/sys/fs/cgroup/memory", F_OK) == 0 ? "v1" : "none";
}

/* What to do about a cgroup that could not be made. What the message says of it is cut off. */
static const char *remedy_of_cgroup(struct error *err)
{
    char *crowd = strstr(err->message, "; " CGROUP_CROWD_REMEDY);
    if (crowd)
        *crowd = '\0';
    return crowd                                        ? CGROUP_CROWD_REMEDY
           : geteuid() == 0 && !cgroup_root_is_mapped() ? "mount /sys/fs/cgroup writable, with "
                                                          "these controllers"
                                                        : AS_ROOT " of the machine";
}

/* Makes one with every limit, as a workload has it, and removes it again. */
static void look_cgroup(const struct runtime *runtime, struct finding *finding)
{
    struct plan_resources resources = {
        .memory_limit = 64 << 20,
        .memory_swap = -1,
        .memory_reservation = -1,
        .cpu_shares = -1,
        .cpu_quota = 100000,
        .cpu_period = 100000,
        .pids_limit = 100,
    };
    char name[64], lacking[64];
    struct error err = { 0 };
    list_missing_controllers(lacking, sizeof lacking);
    (void)snprintf(name, sizeof name, "hybrid-doctor-%d", (int)getpid());
    struct cgroup *cgroup = cgroup_create(name, runtime->root, &resources, &err);
    bool made = cgroup != NULL;
    const char *systemd = cgroup_scope_host_has_systemd() && cgroup_scope_has_tools()
                              ? "; systemd makes its own for --systemd-cgroup"
                              : "";
    cgroup_close(cgroup);
    (void)cgroup_remove(name, NULL);
    if (made && *lacking)
        finding_set(finding, FINDING_NOTE,
                    "limits of theirs are refused; on v2 delegate them, on v1 mount them",
                    "%s, with memory, cpu and pids, but not%s%s", cgroup_mode(), lacking, systemd);
    else if (made)
        finding_set(finding, FINDING_GOOD, NULL, "%s, with memory, cpu, pids, cpuset and io%s",
                    cgroup_mode(), systemd);
    else {
        const char *remedy = remedy_of_cgroup(&err);
        finding_set(finding, FINDING_MISSING, remedy, "%s: %s", cgroup_mode(), doctor_plain(&err));
    }
}

static void look_seccomp(const struct runtime *runtime, struct finding *finding)
{
    static const uint32_t actions[] = { SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
                                        SECCOMP_RET_LOG, SECCOMP_RET_USER_NOTIF };
    (void)runtime;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &actions[i]) < 0) {
            finding_set(finding, i < 2 ? FINDING_MISSING : FINDING_NOTE,
                        "use a kernel with CONFIG_SECCOMP_FILTER", "action %#x: %s", actions[i],
                        strerror(errno));
            return;
        }
    finding_set(finding, FINDING_GOOD, NULL, "filters, with errno, kill, log and notify");
}

static void look_limits(const struct runtime *runtime, struct finding *finding)
{
    enum { FILES = 1024 };
    struct rlimit files;
    (void)runtime;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_max < FILES)
        finding_set(finding, FINDING_NOTE, "raise it: ulimit -Hn 4096",
                    "%llu open files at most: too few for images of many layers",
                    (unsigned long long)files.rlim_max);
    else
        finding_set(finding, FINDING_GOOD, NULL, "%llu open files",
                    (unsigned long long)files.rlim_max);
}

const struct check host_checks[] = {
    { "kernel", NEEDED_BY_BOTH, look_kernel },
    { "root", NEEDED_BY_BOTH, look_root },
    { "capabilities", NEEDED_BY_BOTH, look_capabilities },
    { "namespaces", NEEDED_BY_BOTH, look_namespaces },
    { "cgroup", NEEDED_BY_BOTH, look_cgroup },
    { "filesystems", NEEDED_BY_CONTAINER, doctor_look_file_systems },
    { "seccomp", NEEDED_BY_BOTH, look_seccomp },
    { "limits", NEEDED_BY_BOTH, look_limits },
    { 0 },
};
