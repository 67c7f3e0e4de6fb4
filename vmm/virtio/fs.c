#include "vmm/virtio/fs.h"

#include "error.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* More than QUEUE_MAX_SIZE: no chain is popped here, the device has no `process`. */
enum { FS_QUEUE_SIZE = 1024 };

/* What the driver may choose of that which the back end offers. */
#define FS_RING_FEATURES                                                                           \
    (1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX |                                \
     1ULL << VIRTIO_RING_F_INDIRECT_DESC)

static void fs_wake(const struct fs *fs)
{
    uint64_t one = 1;
    (void)!write(fs->wake_fd, &one, sizeof one);
}

/* The queues that the driver made ready; mmio.c has checked that each lies in RAM as a whole. */
static void fs_collect_rings(struct fs *fs)
{
    fs->ring_count = 0;
    for (uint32_t i = 0; i < FS_QUEUES; i++) {
        const struct queue *queue = &fs->device.queues[i];
        if (!queue->ready)
            continue;
        fs->rings[fs->ring_count++] = (struct vhost_user_ring){
            .index = i,
            .size = queue->size,
            .descriptors = queue->descriptor_address,
            .available = queue->driver_address,
            .used = queue->device_address,
            .kick_fd = fs->device.doorbell_fds[i],
            .call_fd = fs->device.interrupt_fd,
        };
    }
}

static void fs_activate(struct virtio_device *device)
{
    struct fs *fs = device->context;
    (void)pthread_mutex_lock(&fs->lock);
    fs_collect_rings(fs);
    fs->features = device->driver_features;
    fs->wanted = true;
    bool lost = fs->lost;
    (void)pthread_mutex_unlock(&fs->lock);
    if (lost)
        virtio_device_break(device);
    else
        fs_wake(fs);
}

static void fs_reset(struct virtio_device *device)
{
    struct fs *fs = device->context;
    (void)pthread_mutex_lock(&fs->lock);
    if (fs->wanted) {
        fs->wanted = false;
        fs_wake(fs);
        while (!fs->lost && (fs->running || fs->busy))
            (void)pthread_cond_wait(&fs->changed, &fs->lock);
    }
    (void)pthread_mutex_unlock(&fs->lock);
}

static const struct virtio_device_ops FS_OPS = {
    .name = "fs",
    .device_id = VIRTIO_ID_FS,
    .queue_count = FS_QUEUES,
    .queue_size = FS_QUEUE_SIZE,
    .standing_interrupts = VIRTIO_MMIO_INT_VRING,
    .activate = fs_activate,
    .reset = fs_reset,
};

int fs_create(struct fs *fs, const struct guest_memory *memory, int fd, const char *tag,
              int timeout, struct error *err)
{
    size_t length = strlen(tag);
    *fs = (struct fs){ .memory = memory,
                       .config = { .num_request_queues = 1 },
                       .wake_fd = -1,
                       .peer = { .fd = fd },
                       .device = { .ops = &FS_OPS, .context = fs, .interrupt_fd = -1 } };
    (void)pthread_mutex_init(&fs->lock, NULL);
    (void)pthread_cond_init(&fs->changed, NULL);
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
        fs->device.doorbell_fds[i] = -1;
    if (length == 0 || length > sizeof fs->config.tag)
        return error_set(err, EXIT_OURS, "the tag \"%.64s\" of a share must have 1 to %zu bytes",
                         tag, sizeof fs->config.tag);
    memcpy(fs->config.tag, tag, length);
    fs->device.config = &fs->config;
    fs->device.config_size = sizeof fs->config;
    fs->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fs->wake_fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot create an eventfd for fs");
    if (vhost_user_open(&fs->peer, fd, timeout, err) < 0 ||
        virtio_device_create(&fs->device, memory, err) < 0)
        return -1;
    /* Only what the back end can do; without VERSION_1 no driver gets beyond FEATURES_OK. */
    fs->device.features = fs->peer.features & FS_RING_FEATURES;
    return 0;
}

void fs_destroy(struct fs *fs)
{
    virtio_device_destroy(&fs->device);
    if (fs->wake_fd >= 0)
        (void)close(fs->wake_fd);
    if (fs->peer.fd >= 0)
        (void)close(fs->peer.fd);
    fs->wake_fd = fs->peer.fd = -1;
}

/* The back end is of no more use. A driver that waits in fs_reset goes on first: it has the lock
 * of the device. */
static void fs_lose(struct fs *fs)
{
    (void)close(fs->peer.fd);
    fs->peer.fd = -1;
    (void)pthread_mutex_lock(&fs->lock);
    fs->lost = true;
    (void)pthread_cond_broadcast(&fs->changed);
    (void)pthread_mutex_unlock(&fs->lock);
    virtio_device_lock(&fs->device);
    virtio_device_break(&fs->device);
    virtio_device_unlock(&fs->device);
}

/* Brings the rings into the state that the driver wants. Returns 0, or -1 if the back end fails. */
static int fs_follow_driver(struct fs *fs)
{
    struct error err; /* what the back end did is told by how it ends */
    struct vhost_user_ring rings[FS_QUEUES];
    (void)pthread_mutex_lock(&fs->lock);
    bool wanted = fs->wanted, running = fs->running;
    unsigned count = fs->ring_count;
    uint64_t features = fs->features;
    memcpy(rings, fs->rings, sizeof rings);
    fs->busy = true;
    (void)pthread_mutex_unlock(&fs->lock);
    int result = 0;
    if (wanted && !running)
        result = vhost_user_start(&fs->peer, fs->memory, features, rings, count, &err);
    else if (!wanted && running)
        result = vhost_user_stop(&fs->peer, rings, count, &err);
    if (result < 0)
        return -1;
    (void)pthread_mutex_lock(&fs->lock);
    fs->running = wanted; /* if the driver wants it otherwise by now, there is word of it */
    fs->busy = false;
    (void)pthread_cond_broadcast(&fs->changed);
    (void)pthread_mutex_unlock(&fs->lock);
    return 0;
}

void fs_serve(struct fs *fs)
{
    for (;;) {
        uint64_t count;
        struct pollfd watched[] = { { .fd = fs->wake_fd, .events = POLLIN },
                                    { .fd = fs->peer.fd, .events = POLLIN } };
        if (ppoll(watched, 2, NULL, NULL) < 0) { /* see vhost_user_read */
            if (errno == EINTR)
                continue;
            break;
        }
        if (watched[0].revents) {
            (void)!read(fs->wake_fd, &count, sizeof count);
            if (fs_follow_driver(fs) < 0)
                break;
            continue; /* what is at the socket may have been an answer */
        }
        if (watched[1].revents) /* it says nothing unasked: this is its end, or no vhost-user */
            break;
    }
    fs_lose(fs);
}
