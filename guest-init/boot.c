/* The guest's own file systems and clock. None of these mounts is seen by the workload. */
#include "guest.h"
#include "log.h"

#include "cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <time.h>

#define BOOT_SCRATCH "/scratch"

const char BOOT_UPPER[] = BOOT_SCRATCH "/upper";
const char BOOT_WORK[] = BOOT_SCRATCH "/work";

enum { CLOCK_TOLERANCE_MILLISECONDS = 100 };

struct boot_mount {
    const char *target, *type, *options;
    unsigned long flags;
};

/* The mount points are directories of guest-root.erofs. */
static const struct boot_mount SYSTEM[] = {
    { "/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
    { "/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
    { "/dev", "devtmpfs", NULL, MS_NOSUID | MS_NOEXEC },
    { "/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
    { "/layers", "tmpfs", "mode=0755,size=1m", MS_NOSUID | MS_NODEV | MS_NOEXEC },
};

/* What wakes an idle guest most often. */
static const struct {
    const char *path, *value;
} QUIET[] = {
    { "/proc/sys/vm/compaction_proactiveness", "0" }, /* looks for fragments twice a second */
    { "/proc/sys/vm/stat_interval", "10" },           /* sums up statistics, in seconds */
};

static void quieten_kernel(void)
{
    for (size_t i = 0; i < sizeof QUIET / sizeof QUIET[0]; i++) {
        _cleanup_close_ int fd = open(QUIET[i].path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, QUIET[i].value, strlen(QUIET[i].value)) < 0)
            log_error("cannot write %s: %s", QUIET[i].path, strerror(errno));
    }
}

int boot_mount_system(struct error *err)
{
    for (size_t i = 0; i < sizeof SYSTEM / sizeof SYSTEM[0]; i++) {
        const struct boot_mount *entry = &SYSTEM[i];
        if (mount(entry->type, entry->target, entry->type, entry->flags, entry->options) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot mount %s on %s", entry->type,
                                   entry->target);
    }
    quieten_kernel();
    return 0;
}

/* Layer i is partition i + 2: the first is the root that hybrid-init itself lives on. */
static int mount_layer(struct workload *workload, size_t index, struct error *err)
{
    char device[32], target[32];
    (void)snprintf(device, sizeof device, "/dev/vda%zu", index + 2);
    (void)snprintf(target, sizeof target, "/layers/%zu", index);
    char **layers = workload->layers;
    layers[index] = strdup(target);
    if (!layers[index]) // fanalyzer: version 12 loses what is stored at a variable's index
        return error_set(err, EXIT_OURS, "out of memory");
    if (mkdir(target, 0755) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make %s in the guest", target);
    if (mount(device, target, "erofs", MS_RDONLY | MS_NOATIME, NULL) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot mount layer %zu of the image (%s) in the guest", index,
                               device);
    return 0;
}

/* The upper directory becomes "/" of the workload: it looks as the image's own root does. */
static int make_upper(const struct workload *workload, size_t layer_count, struct error *err)
{
    const char *const *layers = (const char *const *)workload->layers;
    if (mkdir(BOOT_UPPER, 0755) == 0)
        return sandbox_imitate_root(BOOT_UPPER, layers, layer_count, &workload->plan, err);
    if (errno == EEXIST)
        return 0; /* kept from before: the workload may have changed it */
    return error_set_errno(err, EXIT_OURS, errno, "cannot make %s in the guest", BOOT_UPPER);
}

static int mount_scratch(struct workload *workload, const struct wire_config *config,
                         struct error *err)
{
    if (config->process.flags & WIRE_SCRATCH_DISK) {
        if (mount("/dev/vdb", BOOT_SCRATCH, "ext4", MS_NOATIME, "noinit_itable") < 0)
            return error_set_errno(err, EXIT_OURS, errno,
                                   "cannot mount the writable layer (/dev/vdb, ext4) in the guest");
    } else {
        char options[64];
        /* Half of the workload's memory: "no space left" comes before the OOM killer. */
        (void)snprintf(options, sizeof options, "mode=0755,nr_inodes=0,size=%llu",
                       (unsigned long long)config->memory_limit / 2);
        if (mount("tmpfs", BOOT_SCRATCH, "tmpfs", MS_NOATIME, options) < 0)
            return error_set_errno(err, EXIT_OURS, errno,
                                   "cannot mount a tmpfs for the writable layer in the guest");
    }
    workload->scratch_mounted = true;
    if (mkdir(BOOT_WORK, 0755) < 0 && errno != EEXIST)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make %s in the guest", BOOT_WORK);
    return make_upper(workload, config->layer_count, err);
}

int boot_mount_layers(struct workload *workload, const struct wire_config *config,
                      struct error *err)
{
    if (config->layer_count > UINT16_MAX)
        return error_set(err, EXIT_OURS, "the host named %u layers", config->layer_count);
    workload->layers = calloc(config->layer_count + 1, sizeof *workload->layers);
    if (!workload->layers)
        return error_set(err, EXIT_OURS, "out of memory");
    workload->layer_count = config->layer_count;
    for (size_t i = 0; i < workload->layer_count; i++) {
        if (mount_layer(workload, i, err) < 0)
            return -1;
    }
    return workload->layer_count == 0 ? 0 : mount_scratch(workload, config, err);
}

int boot_mount_shares(struct error *err)
{
    if (mount(WIRE_SHARE_TAG, WIRE_SHARE_DIRECTORY, "virtiofs", 0, NULL) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot mount the host's files (virtiofs) in the guest");
    return 0;
}

int boot_mount_shm(uint64_t size, struct error *err)
{
    char options[64];
    (void)snprintf(options, sizeof options, "mode=1777,size=%llu", (unsigned long long)size);
    if ((mkdir(WIRE_SHM_DIRECTORY, 0755) < 0 && errno != EEXIST) ||
        mount("shm", WIRE_SHM_DIRECTORY, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot mount a tmpfs for the pod's shared memory in the guest");
    return 0;
}

int boot_set_clock(int64_t seconds, uint32_t nanoseconds, struct error *err)
{
    struct timespec now, host = { .tv_sec = seconds, .tv_nsec = nanoseconds };
    (void)clock_gettime(CLOCK_REALTIME, &now);
    int64_t off = ((int64_t)host.tv_sec - now.tv_sec) * 1000 +
                  ((int64_t)host.tv_nsec - now.tv_nsec) / 1000000;
    /* kvm-clock is usually better than a time that has travelled. */
    if (llabs(off) <= CLOCK_TOLERANCE_MILLISECONDS)
        return 0;
    if (clock_settime(CLOCK_REALTIME, &host) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot set the guest's clock");
    return 0;
}

void boot_power_off(const struct workload *workload)
{
    if (workload->scratch_mounted && umount2(BOOT_SCRATCH, 0) < 0)
        log_error("cannot unmount the writable layer: %s", strerror(errno));
    sync();
    /* With `reboot=k` this is a write to port 0x64, the machine's ordinary end. */
    (void)reboot(RB_AUTOBOOT);
    for (;;)
        (void)pause();
}
