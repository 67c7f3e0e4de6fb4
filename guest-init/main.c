/*
 * hybrid-init: PID 1 of the guest. Mounts what it needs, tells the host that it is there, and does
 * what the frames of include/wire.h ask for, until the host says SHUTDOWN or is gone.
 */
#include "guest.h"
#include "log.h"

#include "cleanup.h"

#include <errno.h>
#include <fcntl.h>

/* The workload may fill its own cgroup, never take its PID 1 along. */
static void protect_from_oom(void)
{
    _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "-1000", 5) < 0)
        log_error("cannot protect hybrid-init from the OOM killer: %s", strerror(errno));
}

/* The kernel opens /dev/console for PID 1 only where its root has the node. */
static int open_standard_streams(struct error *err)
{
    int fd = open("/dev/null", O_RDWR); /* 0 to 2 stay open over execve by intention */
    while (fd >= 0 && fd < STDERR_FILENO)
        fd = dup(fd);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null");
    if (fd > STDERR_FILENO)
        (void)close(fd);
    return 0;
}

static int start(struct guest *guest, struct error *err)
{
    if (boot_mount_system(err) < 0 || open_standard_streams(err) < 0)
        return -1;
    protect_from_oom();
    if (serve_open_signals(guest, err) < 0)
        return -1;
    guest->control_fd = stream_connect(WIRE_CONTROL_PORT, err);
    return guest->control_fd < 0 ? -1 : 0;
}

int main(void)
{
    static struct guest guest = { .role = GUEST_OWN, .control_fd = -1, .signal_fd = -1 };
    struct error err;
    if (getpid() != 1) {
        (void)fprintf(stderr, "hybrid-init: runs only as PID 1 of a guest of hybrid-vmm\n");
        return EXIT_OURS;
    }
    if (start(&guest, &err) < 0 || serve(&guest, &err) < 0)
        log_error("%s", err.message);
    if (guest.role == GUEST_POD)
        pod_end(&guest);
    else
        workload_end(&guest.workload); /* it may hold the writable layer */
    boot_power_off(&guest.workload);
}
