/*
 * The front end's side of the vhost-user protocol, as far as a device needs it whose queues another
 * process serves ("Vhost-user Protocol" of QEMU's documentation, docs/interop/vhost-user.rst).
 *
 * The other process is trusted with the guest's memory, and with nothing else: what it answers is
 * checked, every wait is bounded, and the addresses in these messages are the guest's own, so that
 * it learns nothing of where things lie in this process.
 */
#ifndef HYBRID_VMM_VIRTIO_VHOST_USER_H
#define HYBRID_VMM_VIRTIO_VHOST_USER_H

#include "vmm/memory.h"

#include <stdbool.h>
#include <stdint.h>

struct vhost_user {
    int fd;            /* a connected stream socket; the caller's */
    int timeout;       /* milliseconds for one answer */
    uint64_t features; /* that the back end offers */
    bool acknowledges; /* it answers every request */
    bool has_memory;   /* it has been given the guest's memory */
};

/* One queue: guest physical addresses that were checked to lie in RAM, and two eventfds. */
struct vhost_user_ring {
    uint32_t index, size;
    uint64_t descriptors, available, used;
    int kick_fd; /* the guest notifies */
    int call_fd; /* the back end interrupts */
};

/* Greets the back end and learns its features. Returns 0, or -1 with err. */
int vhost_user_open(struct vhost_user *peer, int fd, int timeout, struct error *err);

/*
 * Hands over the guest's memory, the features that the driver chose and the rings, and starts them.
 * Returns 0, or -1 with err: the connection is of no more use then.
 */
int vhost_user_start(struct vhost_user *peer, const struct guest_memory *memory, uint64_t features,
                     const struct vhost_user_ring *rings, unsigned count, struct error *err);

/* Returns once the back end has let go of the rings: 0, or -1 with err, as above. */
int vhost_user_stop(struct vhost_user *peer, const struct vhost_user_ring *rings, unsigned count,
                    struct error *err);

#endif
