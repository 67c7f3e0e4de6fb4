#include "disk_rate.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/plan/compose.h"

/*
 * What v1 offers for writing sees only what a process writes past the page cache: the kernel's own
 * threads write the rest, in nobody's name. A limit that hardly limits is none.
 */
static const struct {
    const char *v1_file, *v2_key;
} FILES[PLAN_DISK_RATES] = {
    [PLAN_DISK_READ_BYTES] = { "blkio.throttle.read_bps_device", "rbps" },
    [PLAN_DISK_WRITE_BYTES] = { NULL, "wbps" },
    [PLAN_DISK_READ_REQUESTS] = { "blkio.throttle.read_iops_device", "riops" },
    [PLAN_DISK_WRITE_REQUESTS] = { NULL, "wiops" },
};

/* Only whole disks have limits: "8:1" becomes "8:0". Returns 0, or -1 with errno. */
static int find_whole_disk(dev_t device, char *text, size_t size)
{
    char path[80];
    int length = snprintf(text, size, "%u:%u", major(device), minor(device));
    (void)snprintf(path, sizeof path, "/sys/dev/block/%s/partition", text);
    if (length < 0 || access(path, F_OK) < 0)
        return 0;
    (void)snprintf(path, sizeof path, "/sys/dev/block/%s/../dev", text);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : io_read_all(fd, text, size - 1);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return 0;
}

static int find_device(const char *path, const char *option, char *text, size_t size,
                       struct error *err)
{
    struct stat status;
    if (stat(path, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "%s: cannot look at %s", option, path);
    if (major(status.st_dev) == 0)
        return error_set(err, EXIT_OURS,
                         "%s: %s is on no block device (but in memory, on an overlay, a network or "
                         "a pool of devices), and cgroups limit nothing else; move it (--data), or "
                         "use --isolation=vm, which limits disks itself",
                         option, path);
    if (find_whole_disk(status.st_dev, text, size) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "%s: cannot find the disk of %s", option,
                               path);
    return 0;
}

static void make_one(struct disk_rate_settings *made, enum plan_rate rate, const char *device,
                     int64_t value)
{
    size_t i = made->count++;
    const char *note = FILES[rate].v1_file ? ""
                                           : " (of writing, only cgroup v2 counts all; "
                                             "--isolation=vm limits it anywhere)";
    (void)snprintf(made->what[i], sizeof made->what[i], "%s%s", rate_option(rate), note);
    (void)snprintf(made->v1_values[i], sizeof made->v1_values[i], "%s %" PRId64, device, value);
    (void)snprintf(made->v2_values[i], sizeof made->v2_values[i], "%s %s=%" PRId64, device,
                   FILES[rate].v2_key, value);
    made->settings[i] = (struct plan_cgroup_setting){ .what = made->what[i],
                                                      .controller = "blkio",
                                                      .v2_controller = "io",
                                                      .v1_file = FILES[rate].v1_file,
                                                      .v1_value = made->v1_values[i],
                                                      .v2_file = "io.max",
                                                      .v2_value = made->v2_values[i] };
}

int disk_rate_make(const struct plan_resources *resources, const char *path,
                   struct disk_rate_settings *made, struct error *err)
{
    char device[32] = "";
    made->count = 0;
    for (int i = 0; i < PLAN_DISK_RATES; i++) {
        enum plan_rate rate = (enum plan_rate)i;
        if (resources->rates[i] == 0)
            continue;
        if (!*device && find_device(path, rate_option(rate), device, sizeof device, err) < 0)
            return -1;
        make_one(made, rate, device, resources->rates[i]);
    }
    return 0;
}
