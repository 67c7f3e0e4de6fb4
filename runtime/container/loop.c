#include "loop.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include "cleanup.h"
#include "runtime/cgroup/cgroup.h"

enum { LOOP_ATTEMPTS = 64 };

int loop_attach(const char *file, char *device, size_t size, struct error *err)
{
    _cleanup_close_ int backing = open(file, O_RDONLY | O_CLOEXEC);
    if (backing < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open the layer %s", file);
    _cleanup_close_ int control = cgroup_open_device("/dev/loop-control", O_RDWR);
    if (control < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot open /dev/loop-control (modprobe loop), and this kernel "
                               "cannot mount %s without",
                               file);
    struct loop_config config = {
        .fd = (unsigned int)backing,
        .info = { .lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR },
    };
    /* Somebody else may take the free device first: EBUSY, and the next one is asked for. */
    for (int attempt = 0; attempt < LOOP_ATTEMPTS; attempt++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            break;
        (void)snprintf(device, size, "/dev/loop%d", number);
        _cleanup_close_ int loop = cgroup_open_device(device, O_RDONLY);
        if (loop < 0)
            break;
        if (ioctl(loop, LOOP_CONFIGURE, &config) == 0)
            return take_fd(&loop);
        if (errno != EBUSY)
            break;
    }
    return error_set_errno(err, EXIT_OURS, errno, "cannot attach %s to a loop device", file);
}
