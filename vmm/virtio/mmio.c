#include "vmm/virtio/mmio.h"

#include "error.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    VIRTIO_MMIO_MAGIC = 0x74726976, /* "virt" */
    VIRTIO_MMIO_TRANSPORT = 2,
    VIRTIO_VENDOR = 0x52425948, /* "HYBR" */
};

#define STATUS_KNOWN                                                                               \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |            \
     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)

int virtio_device_create(struct virtio_device *device, const struct guest_memory *memory,
                         struct error *err)
{
    device->features |= 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX;
    device->lock = (struct ticket_lock){ 0 };
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
        device->queues[i] = (struct queue){ .memory = memory, .max_size = device->ops->queue_size };
        device->doorbell_fds[i] = -1;
    }
    device->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool failed = device->interrupt_fd < 0;
    for (unsigned i = 0; i < device->ops->queue_count && !failed; i++) {
        device->doorbell_fds[i] = eventfd(0, EFD_CLOEXEC);
        failed = device->doorbell_fds[i] < 0;
    }
    if (failed)
        return error_set_errno(err, EXIT_OURS, errno, "cannot create an eventfd for %s",
                               device->ops->name);
    return 0;
}

void virtio_device_destroy(struct virtio_device *device)
{
    if (device->interrupt_fd >= 0)
        (void)close(device->interrupt_fd);
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
        if (device->doorbell_fds[i] >= 0)
            (void)close(device->doorbell_fds[i]);
    }
}

void virtio_device_lock(struct virtio_device *device)
{
    ticket_lock_take(&device->lock);
}

void virtio_device_unlock(struct virtio_device *device)
{
    ticket_lock_release(&device->lock);
}

bool virtio_device_live(const struct virtio_device *device)
{
    return (device->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
           !(device->status & (VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED));
}

static void virtio_device_interrupt(struct virtio_device *device, uint32_t cause)
{
    atomic_fetch_or(&device->interrupt_status, cause);
    uint64_t one = 1;
    (void)!write(device->interrupt_fd, &one, sizeof one); /* full means: is raised already */
}

void virtio_device_break(struct virtio_device *device)
{
    if (device->status & VIRTIO_CONFIG_S_NEEDS_RESET)
        return;
    device->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    if (device->status & VIRTIO_CONFIG_S_DRIVER_OK) /* 2.1.2: only then a notification */
        virtio_device_interrupt(device, VIRTIO_MMIO_INT_CONFIG);
}

int virtio_device_describe(const struct virtio_device *device, char *text, size_t size)
{
    int length = snprintf(text, size, "%s: status 0x%x interrupt 0x%x", device->ops->name,
                          device->status, atomic_load(&device->interrupt_status));
    for (unsigned i = 0; i < device->ops->queue_count; i++) {
        const struct queue *queue = &device->queues[i];
        if (!queue->ready || length < 0 || (size_t)length >= size)
            continue;
        uint16_t taken = queue->next_available, returned = queue->next_used;
        if (device->ops->standing_interrupts) /* another process serves it: by the ring alone */
            taken = returned = *(volatile uint16_t *)&queue->used->idx;
        int more = snprintf(text + length, size - (size_t)length,
                            ", queue %u: offered %u taken %u returned %u", i,
                            *(volatile uint16_t *)&queue->available->idx, taken, returned);
        length += more > 0 ? more : 0;
    }
    return length;
}

void virtio_device_publish(struct virtio_device *device, struct queue *queue)
{
    if (queue_publish(queue))
        virtio_device_interrupt(device, VIRTIO_MMIO_INT_VRING);
}

bool virtio_device_process(struct virtio_device *device, unsigned index)
{
    int outcome = 0;
    virtio_device_lock(device);
    if (index < device->ops->queue_count && virtio_device_live(device) &&
        device->queues[index].ready)
        outcome = device->ops->process(device, index);
    if (outcome < 0)
        virtio_device_break(device);
    virtio_device_unlock(device);
    return outcome > 0;
}

static void virtio_device_reset(struct virtio_device *device)
{
    if (device->ops->reset)
        device->ops->reset(device);
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
        queue_reset(&device->queues[i]);
    device->status = 0;
    device->driver_features = 0;
    device->device_features_select = device->driver_features_select = device->queue_select = 0;
    atomic_store(&device->interrupt_status, 0);
}

static bool virtio_features_acceptable(const struct virtio_device *device)
{
    return (device->driver_features & ~device->features) == 0 &&
           (device->driver_features & 1ULL << VIRTIO_F_VERSION_1);
}

/* Writes of Status (3.1.1): bits are only ever added, in their order; 0 resets. */
static void virtio_write_status(struct virtio_device *device, uint32_t value)
{
    if (value == 0) {
        virtio_device_reset(device);
        return;
    }
    uint32_t added = value & ~device->status & STATUS_KNOWN;
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && !virtio_features_acceptable(device))
        added &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK; /* the driver reads back that it is off */
    uint32_t status = device->status | added;
    const uint32_t before_ok =
        VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) && (status & before_ok) != before_ok) {
        device->status = status & ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
        virtio_device_break(device);
        return;
    }
    device->status = status;
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) && virtio_device_live(device)) {
        bool event_index = device->driver_features & 1ULL << VIRTIO_RING_F_EVENT_IDX;
        for (unsigned i = 0; i < device->ops->queue_count; i++)
            device->queues[i].event_index = event_index;
        if (device->ops->activate)
            device->ops->activate(device);
    }
}

static void virtio_write_features(struct virtio_device *device, uint32_t value)
{
    if ((device->status & VIRTIO_CONFIG_S_FEATURES_OK) || device->driver_features_select > 1)
        return;
    unsigned shift = 32 * device->driver_features_select;
    device->driver_features &= ~(0xffffffffULL << shift);
    device->driver_features |= (uint64_t)value << shift;
}

static struct queue *virtio_selected_queue(struct virtio_device *device)
{
    return device->queue_select < device->ops->queue_count ? &device->queues[device->queue_select]
                                                           : NULL;
}

static void virtio_write_half(uint64_t *address, bool high, uint32_t value)
{
    unsigned shift = high ? 32 : 0;
    *address = (*address & ~(0xffffffffULL << shift)) | (uint64_t)value << shift;
}

/*
 * The registers of the selected queue. They count only until the queue is ready, and none does
 * after DRIVER_OK: a size or an address that changes under a device in operation would escape the
 * checks of queue_activate.
 */
static void virtio_write_queue(struct virtio_device *device, uint64_t offset, uint32_t value)
{
    struct queue *queue = virtio_selected_queue(device);
    if (!queue || (device->status & VIRTIO_CONFIG_S_DRIVER_OK))
        return;
    if (offset == VIRTIO_MMIO_QUEUE_READY && value == 0) {
        queue->ready = false;
        return;
    }
    if (queue->ready)
        return;
    switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
        queue->size = value;
        break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        virtio_write_half(&queue->descriptor_address, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
        virtio_write_half(&queue->driver_address, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
        break;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        virtio_write_half(&queue->device_address, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
        break;
    case VIRTIO_MMIO_QUEUE_READY:
        if (queue_activate(queue) < 0)
            virtio_device_break(device);
        break;
    default:
        break;
    }
}

static void virtio_write_locked(struct virtio_device *device, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        device->device_features_select = value;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        device->driver_features_select = value;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        virtio_write_features(device, value);
        break;
    case VIRTIO_MMIO_QUEUE_SEL:
        device->queue_select = value;
        break;
    case VIRTIO_MMIO_STATUS:
        virtio_write_status(device, value);
        break;
    default:
        virtio_write_queue(device, offset, value);
        break;
    }
}

void virtio_mmio_write(struct virtio_device *device, uint64_t offset, const void *data,
                       uint32_t length)
{
    /* 4.2.2.2: registers are 32 bits wide and aligned; the configuration space is read-only. */
    if (length != 4 || offset % 4 != 0 || offset >= VIRTIO_MMIO_CONFIG)
        return;
    uint32_t value;
    memcpy(&value, data, sizeof value);
    if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
        atomic_fetch_and(&device->interrupt_status, ~value);
        return;
    }
    if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
        /* Comes here only for a queue that does not exist, the others are ioeventfds. */
        return;
    }
    virtio_device_lock(device);
    virtio_write_locked(device, offset, value);
    virtio_device_unlock(device);
}

static uint32_t virtio_read_locked(struct virtio_device *device, uint64_t offset)
{
    const struct queue *queue = virtio_selected_queue(device);
    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES:
        return device->device_features_select > 1
                   ? 0
                   : (uint32_t)(device->features >> (32 * device->device_features_select));
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
        return queue ? queue->max_size : 0;
    case VIRTIO_MMIO_QUEUE_READY:
        return queue && queue->ready;
    case VIRTIO_MMIO_STATUS:
        return device->status;
    case VIRTIO_MMIO_SHM_LEN_LOW: /* no shared memory: length and address read as all ones */
    case VIRTIO_MMIO_SHM_LEN_HIGH:
    case VIRTIO_MMIO_SHM_BASE_LOW:
    case VIRTIO_MMIO_SHM_BASE_HIGH:
        return 0xffffffff;
    default:
        return 0;
    }
}

static uint32_t virtio_read_register(struct virtio_device *device, uint64_t offset)
{
    switch (offset) {
    case VIRTIO_MMIO_MAGIC_VALUE:
        return VIRTIO_MMIO_MAGIC;
    case VIRTIO_MMIO_VERSION:
        return VIRTIO_MMIO_TRANSPORT;
    case VIRTIO_MMIO_DEVICE_ID:
        return device->ops->device_id;
    case VIRTIO_MMIO_VENDOR_ID:
        return VIRTIO_VENDOR;
    case VIRTIO_MMIO_INTERRUPT_STATUS:
        return atomic_load(&device->interrupt_status) | device->ops->standing_interrupts;
    default:
        break;
    }
    virtio_device_lock(device);
    uint32_t value = virtio_read_locked(device, offset);
    virtio_device_unlock(device);
    return value;
}

void virtio_mmio_read(struct virtio_device *device, uint64_t offset, void *data, uint32_t length)
{
    memset(data, 0, length);
    if (offset >= VIRTIO_MMIO_CONFIG) {
        uint64_t at = offset - VIRTIO_MMIO_CONFIG;
        if (at < device->config_size) {
            size_t left = device->config_size - (size_t)at;
            memcpy(data, (const char *)device->config + at, length < left ? length : left);
        }
        return;
    }
    if (length != 4 || offset % 4 != 0)
        return;
    uint32_t value = virtio_read_register(device, offset);
    memcpy(data, &value, sizeof value);
}
