/*
 * The virtio file system device (Virtual I/O Device 1.2, section 5.11): registers here, queues in a
 * virtiofsd, which is another process and serves them straight out of the guest's memory.
 *
 * Threads: the driver's register accesses (vCPUs) only leave word of what they want; a thread of
 * the device's own speaks vhost-user. A driver that resets the device waits until the back end has
 * let go of the rings, since it may use their memory for something else then: as long as the
 * protocol's bounded waits take, at most.
 */
#ifndef HYBRID_VMM_VIRTIO_FS_H
#define HYBRID_VMM_VIRTIO_FS_H

#include "vmm/virtio/mmio.h"
#include "vmm/virtio/vhost_user.h"

#include <linux/virtio_fs.h>
#include <pthread.h>

enum { FS_QUEUES = 2 }; /* high priority, requests */

struct fs {
    struct virtio_device device;
    struct virtio_fs_config config;
    const struct guest_memory *memory;
    struct vhost_user peer; /* of the device's thread, once that runs */
    int wake_fd;            /* eventfd, owned: there is word for the thread */
    pthread_mutex_t lock;   /* of what follows */
    pthread_cond_t changed;
    bool wanted, running; /* the rings: as the driver wants it, as it is */
    bool busy;            /* the thread changes that just now */
    bool lost;            /* the back end: for good */
    uint64_t features;    /* that the driver chose */
    struct vhost_user_ring rings[FS_QUEUES];
    unsigned ring_count;
};

/*
 * fd: a stream socket connected to a virtiofsd, the device's from now on. tag: the name the guest
 * mounts it by, 1 to 36 bytes. The memory is shared (memory_create_shared). Greets the back end;
 * timeout: milliseconds for each of its answers. Returns 0, or -1 with err; fs_destroy is safe in
 * both cases.
 */
int fs_create(struct fs *fs, const struct guest_memory *memory, int fd, const char *tag,
              int timeout, struct error *err);
void fs_destroy(struct fs *fs);

/*
 * The thread's work; returns when the back end is lost. The device needs a reset then, which does
 * not help any more. The back end is hung up on, so that it ends and whoever started it notices.
 */
void fs_serve(struct fs *fs);

#endif
