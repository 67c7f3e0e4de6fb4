/* The way to the host, in a file of its own: a test has another one. */
#include "guest.h"

#include "cleanup.h"

#include <errno.h>
#include <sys/socket.h>
/* linux/vm_sockets.h needs sys/socket.h before it. */
#include <linux/vm_sockets.h>

int stream_connect(uint32_t port, struct error *err)
{
    struct sockaddr_vm host = { .svm_family = AF_VSOCK,
                                .svm_port = port,
                                .svm_cid = VMADDR_CID_HOST };
    _cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a vsock socket in the guest");
    if (connect(fd, (const struct sockaddr *)&host, sizeof host) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot connect to port %u of the host",
                               port);
    return take_fd(&fd);
}
